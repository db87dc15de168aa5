"""The dbt project keeps its own rules: layers, grains, contracts, unit tests, one YAML each, portable SQL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from ruamel.yaml import YAML

from ratchet.warehouse import ops
from ratchet.warehouse.duckdb import DuckDBWarehouse

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "dbt" / "models"
SOURCES = MODELS / "staging" / "sources"
LAYERS = ("staging", "intermediate", "marts", "features", "experiments", "monitoring")
#: What a model of a layer may read. Nothing reads experiments or monitoring.
READS = {
    "staging": set(),
    "intermediate": {"staging", "intermediate"},
    "marts": {"staging", "intermediate", "marts"},
    "features": {"staging", "intermediate", "marts", "features"},
    "experiments": {"marts"},
    # Staging too: it counts the rows that became no fact.
    "monitoring": {"staging", "intermediate", "marts", "features"},
}
#: Spellings of one engine; differences belong in macros/cross_db.
ENGINE_WORDS = re.compile(
    r"\b(asof|arg_max|arg_min|qualify|isnan|read_csv|target\.type|epoch_ms)\b|::", re.IGNORECASE
)
REF = re.compile(r"ref\('(\w+)'\)")


def _yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def _layer(path: Path) -> str:
    return path.relative_to(MODELS).parts[0]


def _models() -> dict[str, Path]:
    found = {path.stem: path for path in sorted(MODELS.rglob("*.sql"))}
    assert len(found) >= 20, f"looked at {len(found)} models"
    return found


MODEL_NAMES = sorted(_models())


def _broken_reads(name: str, layer: str, sql: str, layer_of: dict[str, str]) -> list[str]:
    return [
        f"{name} ({layer}) reads {read} ({layer_of[read]})"
        for read in REF.findall(sql)
        if layer_of[read] not in READS[layer]
    ]


def test_models_read_only_the_layers_before_them() -> None:
    models = _models()
    layer_of = {name: _layer(path) for name, path in models.items()}
    assert set(layer_of.values()) == set(LAYERS)
    broken = [
        line
        for name, path in models.items()
        for line in _broken_reads(name, layer_of[name], path.read_text(encoding="utf-8"), layer_of)
    ]
    assert broken == []


def test_a_model_that_reads_backwards_is_named() -> None:
    layers = {"mon_x": "monitoring", "fct_x": "marts"}
    assert _broken_reads("fct_x", "marts", "select * from {{ ref('mon_x') }}", layers) == [
        "fct_x (marts) reads mon_x (monitoring)"
    ]


def test_only_staging_reads_raw_tables() -> None:
    readers = {name for name, path in _models().items() if "source('raw'" in path.read_text(encoding="utf-8")}
    assert len(readers) >= 7
    # What a partition reaches, and where else a flight may be, does not depend on whether its gate lets it through.
    others = {name for name in readers if not name.startswith("stg_")}
    assert others == {"int_departures_reached", "int_units_moved"}


def test_every_staging_model_asks_the_landing_gate() -> None:
    staged = {name: path for name, path in _models().items() if name.startswith("stg_")}
    assert len(staged) >= 7
    ungated = [
        name
        for name, path in staged.items()
        if "passed_landing_gate(" not in path.read_text(encoding="utf-8")
    ]
    assert ungated == []


def test_no_model_speaks_one_engines_dialect() -> None:
    found = {name: ENGINE_WORDS.findall(path.read_text(encoding="utf-8")) for name, path in _models().items()}
    assert {name: words for name, words in found.items() if words} == {}
    assert ENGINE_WORDS.search("from a asof join b") and ENGINE_WORDS.search("x::date")


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_each_model_has_its_yaml_a_grain_and_unit_tests(name: str) -> None:
    path = _models()[name]
    tree = _yaml(path.with_suffix(".yml"))
    (model,) = tree["models"]
    assert model["name"] == name
    assert model["description"].startswith("One row per ")
    assert all(column["description"] for column in model["columns"])
    if _layer(path) not in ("staging", "intermediate"):
        untyped = [column["name"] for column in model["columns"] if not column.get("data_type")]
        assert untyped == [], "an enforced contract types every column"
    units = tree["unit_tests"]
    assert units
    assert all(unit["model"] == name and unit["name"].startswith(f"{name}__") for unit in units)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_last_select_writes_out_the_columns_of_the_yaml(name: str) -> None:
    path = _models()[name]
    last = path.read_text(encoding="utf-8").rsplit("\nselect\n", 1)[1]
    written = [line.strip().rstrip(",") for line in last.split("\nfrom ")[0].splitlines()]
    names = [re.sub(r"^.* as ", "", column) for column in written]
    declared = [column["name"] for column in _yaml(path.with_suffix(".yml"))["models"][0]["columns"]]
    assert names == declared


def test_each_incremental_model_has_its_grain_tested() -> None:
    views = (
        "staging",
        "ftr_flights__published",
        "trn_flights",
        "mon_feature_histograms",
        "mon_partition_rows",
        "mon_rows_unplaced",
        "mon_feature_sample",
        "mon_labelled_sample",
        "mon_feed_age_daily",
        "mon_feedback_daily",
        "mon_weights_daily",
        "exp_exposure_daily",
        "int_feeds_landed",
        "int_departures_reached",
        "int_rows_unplaced",
    )
    stored = {n: p for n, p in _models().items() if _layer(p) not in views and n not in views}
    assert len(stored) >= 10
    untested = []
    for name, path in stored.items():
        tests = _yaml(path.with_suffix(".yml"))["models"][0].get("data_tests") or []
        if not any("unique_combination" in test for test in tests):
            untested.append(name)
    assert untested == []


def test_sources_are_those_of_the_loop_files() -> None:
    loops = [_yaml(path) for path in sorted((ROOT / "loops").glob("*.yml"))]
    assert loops
    wanted = {source for loop in loops for source in loop["sources"]}
    assert {path.stem for path in SOURCES.glob("*.yml")} - {"ops", "published", "quarantine"} == wanted


def test_published_tables_are_those_that_are_staged() -> None:
    """A view may read published tables only: what is staged was judged by nobody."""
    stored = {
        name
        for name, path in _models().items()
        if _layer(path) not in ("staging", "intermediate")
        and "materialized='view'" not in path.read_text(encoding="utf-8")
    }
    declared = {
        table["name"]: source["schema"]
        for source in _yaml(SOURCES / "published.yml")["sources"]
        for table in source["tables"]
    }
    assert declared
    assert set(declared) <= stored
    looked_at = 0
    for name, path in _models().items():
        sql = path.read_text(encoding="utf-8")
        if _layer(path) in ("marts", "features", "experiments") and "materialized='view'" in sql:
            body = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
            assert set(REF.findall(body)) & stored == set(), f"{name} reads what is not published yet"
            looked_at += 1
    assert looked_at >= 2


def test_daily_sources_have_a_freshness_and_every_source_its_received_clock() -> None:
    loops = [_yaml(path) for path in sorted((ROOT / "loops").glob("*.yml"))]
    looked_at = 0
    for loop in loops:
        for source, entry in loop["sources"].items():
            (table,) = _yaml(SOURCES / f"{source}.yml")["sources"][0]["tables"]
            assert table["config"]["loaded_at_field"] == "received_at", source
            freshness = table["config"]["freshness"]
            assert (freshness is None) == bool(entry.get("reference")), source
            looked_at += 1
    assert looked_at >= 8


def test_book_keeping_tables_are_as_documented() -> None:
    connection = duckdb.connect()
    ops.ensure(DuckDBWarehouse(connection))
    created: dict[str, list[tuple[str, str]]] = {}
    for schema, table, column, data_type in connection.execute(
        "select table_schema, table_name, column_name, lower(data_type) from information_schema.columns "
        "order by table_schema, table_name, ordinal_position"
    ).fetchall():
        created.setdefault(f"{schema}.{table}", []).append((column, data_type))
    documented = {
        f"{group['schema']}.{table['name']}": [(c["name"], c["data_type"]) for c in table["columns"]]
        for path in (SOURCES / "ops.yml", SOURCES / "quarantine.yml")
        for group in _yaml(path)["sources"]
        for table in group["tables"]
    }
    assert len(documented) >= 7
    assert documented == created


def test_each_exposure_is_a_dag_of_a_loop() -> None:
    exposures = _yaml(MODELS / "exposures.yml")["exposures"]
    assert len(exposures) == 6
    for exposure in exposures:
        loop, stage = exposure["name"].split("__")
        assert (ROOT / "loops" / f"{loop}.yml").is_file(), exposure["name"]
        assert (ROOT / "dags" / f"{stage}.py").is_file(), exposure["name"]


def test_dbt_sends_no_statistics_and_writes_no_target_by_itself() -> None:
    project = _yaml(ROOT / "dbt" / "dbt_project.yml")
    assert project["flags"]["send_anonymous_usage_stats"] is False
    assert "target-path" not in project and "log-path" not in project
    assert not (ROOT / "dbt" / "__init__.py").exists()
