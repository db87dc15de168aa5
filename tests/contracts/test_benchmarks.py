"""What a benchmark reports: a missed target fails, and so does a run that measured nothing."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import cast

import pytest
from benchmarks.bare import Statement, same_rows
from benchmarks.data import SCALE, SHORT
from benchmarks.report import Figure, Report, write_docs
from rich.console import Console
from tests.engines import ENGINES

from ratchet.warehouse.protocol import Warehouse

ROOT = Path(__file__).parents[2]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=120)


def report(*figures: Figure) -> Report:
    made = Report("a bench", {"scale": 1})
    for figure in figures:
        made.add(figure, quiet())
    return made


def test_a_target_is_an_upper_or_a_lower_limit() -> None:
    assert Figure("ratio", 1.2, "times", 1.2).met
    assert not Figure("ratio", 1.21, "times", 1.2).met
    assert Figure("rate", 50_000, "rows/s", 50_000, "higher").met
    assert not Figure("rate", 49_999, "rows/s", 50_000, "higher").met
    assert not Figure("ratio", math.nan, "times", 1.2).met, "what was not measured meets nothing"
    assert Figure("told", 7, "s").met is None


@pytest.mark.parametrize(
    ("figures", "code", "met"),
    [
        ((Figure("a", 1, "s", 2), Figure("b", 9, "s")), 0, "targets: 1 of 1 met"),
        ((Figure("a", 1, "s", 2), Figure("b", 9, "s", 2)), 1, "targets: 1 of 2 met"),
        ((Figure("b", 9, "s"),), 1, "targets: 0 of 0 met"),
        ((), 1, "targets: 0 of 0 met"),
    ],
)
def test_a_missed_target_and_an_empty_run_fail(
    tmp_path: Path, figures: tuple[Figure, ...], code: int, met: str
) -> None:
    console, path = quiet(), tmp_path / "bench" / "data.json"
    assert report(*figures).finish(path, console) == code
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().rstrip().endswith(met)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert [figure["met"] for figure in written["figures"]] == [figure.met for figure in figures]


def test_every_bench_is_a_verb_of_the_makefile_and_explained() -> None:
    verbs = re.findall(r"^(bench-[a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert verbs
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert [verb for verb in verbs if f"make {verb}" not in page] == []


def test_the_table_of_a_run_goes_between_the_marks_of_its_section(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- measured: duckdb -->\nold\n<!-- end: duckdb -->\nafter\n", encoding="utf-8")
    made = report(Figure("ratio", 1.234, "times", 1.2, note="of two"), Figure("told", 12345.6, "s"))
    for _ in range(2):
        write_docs(made, page, "duckdb")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- measured: duckdb -->\n")
    assert text.endswith("\n<!-- end: duckdb -->\nafter\n")
    assert "\nold\n" not in text
    assert text.count("| ratio | 1.23 times | <= 1.2 | missed | of two |") == 1
    assert "| told | 12,346 s |  |  |  |" in text
    assert "Targets: 0 of 1 met." in text
    with pytest.raises(ValueError, match="measured: postgres"):
        write_docs(made, page, "postgres")


def test_the_page_has_a_place_for_each_engine() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for engine in SHORT:
        assert page.count(f"<!-- measured: {engine} -->") == page.count(f"<!-- end: {engine} -->") == 1
    assert set(SHORT) == set(SCALE) == set(ENGINES)


def test_bare_sql_that_made_other_rows_than_dbt_is_no_measure() -> None:
    class Counts:
        def scalar(self, sql: str, _: object = ()) -> int:
            return 7 if "bare_" in sql else 8

    model = Statement('"w"."marts"."t"', '"w"."bare_marts"."t"', "select 1", "build_marts")
    with pytest.raises(AssertionError, match="8 rows by dbt, 7 bare"):
        same_rows(cast(Warehouse, Counts()), model, "whole")
