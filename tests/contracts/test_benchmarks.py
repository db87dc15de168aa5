"""What a benchmark reports: a missed target fails, and so does a run that measured nothing."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path

import pytest
from benchmarks.report import Figure, Report
from rich.console import Console

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
