"""Both sides of the seam between suites and tables: loops, dbt YAML and suites name the same things."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ratchet.landing.contract import ADDED_BY_LANDING, load_contract
from ratchet.loop import load_loops
from ratchet.quality.gates import gate_landing  # noqa: F401  (importing the gates must not import the library)
from ratchet.quality.suites import PARTITION_COLUMNS, SuiteError, load_suites, parse_suite, suite_for
from ratchet.settings import load_settings
from ratchet.warehouse import ops

SETTINGS = load_settings({})
LOOPS = load_loops(SETTINGS.loops_dir)
SUITES = load_suites(SETTINGS)
SOURCES = sorted({(name, source) for name, loop in LOOPS.items() for source in loop.sources})


def model_columns(table: str) -> set[str]:
    """Columns that dbt declares for the model `table`."""
    found = [
        {column["name"] for column in model["columns"]}
        for path in (SETTINGS.dbt_dir / "models").rglob(f"{table}.yml")
        for model in YAML(typ="safe").load(path.read_text(encoding="utf-8")).get("models", [])
        if model["name"] == table
    ]
    assert len(found) == 1, f"{table} is declared {len(found)} times in dbt"
    return found[0]


@pytest.mark.parametrize(("name", "source"), SOURCES)
def test_every_source_of_a_loop_has_a_contract_and_a_landing_suite(name: str, source: str) -> None:
    contract = load_contract(SETTINGS.dbt_dir, source)
    suite = suite_for(SUITES, "landing", source)
    assert suite is not None, f"loops/{name}.yml has source {source}, expectations/suites has no suite for it"
    known = {*contract.names, *ADDED_BY_LANDING}
    for rule in suite.rules:
        beyond = set(rule.columns) - known
        assert beyond <= set(PARTITION_COLUMNS) and (not beyond or rule.grain == "partition"), rule.title
    assert suite.partition_column == "received_date"
    assert suite.volume.reference == LOOPS[name].sources[source].reference


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_every_loop_has_a_feature_and_a_training_suite(name: str) -> None:
    loop = LOOPS[name]
    features = suite_for(SUITES, "features", loop.features.table)
    training = suite_for(SUITES, "training", f"trn_{name}")
    assert features is not None
    assert training is not None
    for suite in (features, training):
        used = {column for rule in suite.rules for column in rule.columns}
        assert used <= model_columns(suite.table), suite.name
    judged = {column for rule in features.rules for column in rule.columns}
    assert set(loop.features.columns) <= judged, "a feature that no rule looks at"


def test_no_suite_is_of_a_table_that_nobody_has() -> None:
    tables = {("landing", source) for _, source in SOURCES}
    tables |= {("features", loop.features.table) for loop in LOOPS.values()}
    tables |= {("training", f"trn_{name}") for name in LOOPS}
    assert {(suite.border, suite.table) for suite in SUITES.values()} == tables
    assert len(SUITES) >= 10


def test_a_snapshot_with_a_forbidden_column_can_not_fit_the_set() -> None:
    for name in LOOPS:
        suite = suite_for(SUITES, "training", f"trn_{name}")
        assert suite is not None
        rules = [rule for rule in suite.rules if rule.type == "expect_table_columns_to_match_set"]
        assert [(rule.severity, rule.kwargs["exact_match"]) for rule in rules] == [("critical", True)]


@pytest.mark.parametrize("name", sorted(SUITES))
def test_library_accepts_every_expectation_and_its_severity(name: str) -> None:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    for rule in SUITES[name].rules:
        built: Any = ExpectationConfiguration(
            type=rule.type, kwargs=dict(rule.kwargs), severity=rule.severity, meta={"reason": rule.reason}
        ).to_domain_obj()
        assert built.severity == rule.severity


def declared_ops() -> Iterator[tuple[str, set[str]]]:
    folder = SETTINGS.dbt_dir / "models" / "staging" / "sources"
    for path in (folder / "ops.yml", folder / "quarantine.yml"):
        for group in YAML(typ="safe").load(path.read_text(encoding="utf-8"))["sources"]:
            for table in group["tables"]:
                yield (
                    f"{group.get('schema', group['name'])}.{table['name']}",
                    {c["name"] for c in table["columns"]},
                )


def test_dbt_declares_the_book_keeping_tables_as_they_are(tmp_path: Path) -> None:
    from ratchet.warehouse.connect import open_warehouse

    with open_warehouse(load_settings({"RATCHET_HOME": str(tmp_path)}), purpose="test") as wh:
        ops.ensure(wh)
        built = {table: set(wh.frame(f"select * from {table} limit 0").columns) for table in ops.tables()}
    declared = dict(declared_ops())
    assert set(declared) <= set(built)
    for table, columns in declared.items():
        assert columns == built[table], table


def test_raw_tables_have_the_columns_that_dbt_declares() -> None:
    for _, source in SOURCES:
        path = SETTINGS.dbt_dir / "models" / "staging" / "sources" / f"{source}.yml"
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        declared = {
            c["name"]
            for g in tree["sources"]
            for t in g["tables"]
            if t["name"] == source
            for c in t["columns"]
        }
        assert declared == {*load_contract(SETTINGS.dbt_dir, source).names, *ADDED_BY_LANDING}


GOOD = """
name: t
meta: {border: landing, table: t, partition_column: received_date}
expectations:
  - type: expect_column_values_to_not_be_null
    kwargs: {column: a}
    severity: critical
    meta: {reason: without it nothing can be joined}
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("severity: critical", "severity: warning"), "none critical"),
        (("severity: critical", "severity: blocker"), "severity 'blocker'"),
        (("    severity: critical\n", ""), "severity None"),
        (("reason: without it nothing can be joined", "reason: x"), "must say why"),
        (("not_be_null", "be_lovely"), "can't be attributed"),
        (("border: landing", "border: anywhere"), "meta.border"),
        ((", partition_column: received_date", ""), "partition_column"),
        (("{column: a}", "{column: a, row_condition: b > 1}"), "row_condition"),
        (("name: t\n", "name: t\nextra: 1\n"), "unknown key extra"),
        (("kwargs:", "kwarg:"), "unknown key kwarg"),
        (("{reason:", "{grain: partition, reason:"), "grain partition"),
        (("expectations:", "expectations: ["), "not YAML"),
    ],
)
def test_suite_that_can_not_block_or_be_read_is_refused(change: tuple[str, str], message: str) -> None:
    assert len(parse_suite(GOOD, "t.yml").rules) == 1
    assert change[0] in GOOD
    with pytest.raises(SuiteError, match=message):
        parse_suite(GOOD.replace(*change), "t.yml")


def test_suite_without_expectations_and_folder_without_suites_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="0 expectations"):
        parse_suite(GOOD.split("expectations:")[0], "t.yml")
    (tmp_path / "loops").mkdir()
    with pytest.raises(SuiteError, match="no suite"):
        load_suites(load_settings({"RATCHET_ROOT": str(tmp_path)}))


def test_importing_the_gates_does_not_import_the_library() -> None:
    import subprocess
    import sys

    code = (
        "import ratchet.quality.gates, ratchet.quality.docs, sys; print('great_expectations' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(SETTINGS.root / "plugins"), "PATH": ""},
    )
    assert done.stdout.strip() == "False"
