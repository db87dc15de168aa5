"""The loop file and the dbt project say the same about features, label and windows; both ways, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
DBT = ROOT / "dbt"
KEYS = ["loop", "unit_id", "departure_date", "scheduled_departure_at", "predict_at"]


def _yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def loop() -> dict[str, Any]:
    return _yaml(ROOT / "loops" / "flights.yml")


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    return _yaml(DBT / "dbt_project.yml")["vars"]


def _columns(model: str) -> list[str]:
    tree = _yaml(DBT / "models" / "features" / f"{model}.yml")
    return [column["name"] for column in tree["models"][0]["columns"]]


def _differences(sql: list[str], contract: list[str]) -> list[str]:
    """What one side has and the other lacks, and where the order parts; empty when they agree."""
    found = [f"only in the model: {name}" for name in sql if name not in contract]
    found += [f"only in the loop file: {name}" for name in contract if name not in sql]
    if not found and sql != contract:
        found = [
            f"order: {a} in the model, {b} in the loop file"
            for a, b in zip(sql, contract, strict=True)
            if a != b
        ]
    return found


def _features(loop: dict[str, Any]) -> list[str]:
    return [*loop["features"]["numeric"], *loop["features"]["categorical"]]


@pytest.mark.parametrize(
    ("model", "after"),
    [
        ("ftr_flights__pre_departure", []),
        ("ftr_flights__published", []),
        ("trn_flights", ["label", "label_received_at", "label_source"]),
    ],
)
def test_feature_columns_are_those_of_the_loop_file_in_its_order(
    loop: dict[str, Any], model: str, after: list[str]
) -> None:
    features = _features(loop)
    assert len(features) >= 10
    assert _differences(_columns(model), [*KEYS, *features, *after]) == []


def test_the_log_of_what_was_scored_has_the_loop_files_features_in_its_order(loop: dict[str, Any]) -> None:
    features, numeric = _features(loop), loop["features"]["numeric"]
    tree = _yaml(DBT / "models" / "staging" / "sources" / "served_features.yml")
    columns = tree["sources"][0]["tables"][0]["columns"]
    own = [c for c in columns if not (c["config"]["meta"] or {}).get("added_by_landing")]
    assert _differences([c["name"] for c in own], ["unit_id", *features, "event_at", "received_at"]) == []
    types = {c["name"]: c["data_type"] for c in own}
    assert {name: types[name] for name in features} == {
        name: "double" if name in numeric else "varchar" for name in features
    }
    # A value is logged as it was scored, however strange: a limit would hide the skew.
    limits = {"min", "max", "allowed", "key"}
    assert [c["name"] for c in own if c["name"] in features and limits & set(c["config"]["meta"])] == []
    for folder, model in (
        ("staging", "stg_served_features__features"),
        ("intermediate", "int_features_served"),
    ):
        names = [c["name"] for c in _yaml(DBT / "models" / folder / f"{model}.yml")["models"][0]["columns"]]
        assert _differences([name for name in names if name in features], features) == [], model


def test_a_missing_an_extra_and_a_misplaced_column_are_each_named() -> None:
    assert _differences(["a"], ["a", "b"]) == ["only in the loop file: b"]
    assert _differences(["a", "c"], ["a"]) == ["only in the model: c"]
    assert _differences(["b", "a"], ["a", "b"])[0] == "order: b in the model, a in the loop file"


def test_the_loops_table_is_the_model(loop: dict[str, Any]) -> None:
    assert (DBT / "models" / "features" / f"{loop['features']['table']}.sql").is_file()


def test_nothing_known_only_afterwards_is_a_feature_column(loop: dict[str, Any]) -> None:
    never = loop["features"]["never"]
    assert len(never) >= 5
    for model in ("ftr_flights__pre_departure", "ftr_flights__published", "trn_flights"):
        assert set(never).isdisjoint(_columns(model)), model


def test_label_and_windows_are_the_loop_files(loop: dict[str, Any], variables: dict[str, Any]) -> None:
    rating = next(rail for rail in loop["guardrails"] if rail["metric"] == "rating")
    numbers = {name: value for name, value in variables.items() if isinstance(value, int)}
    assert numbers == {
        "flights_lead_hours": loop["prediction"]["lead_hours"],
        "flights_lookback_days": loop["reach"]["lookback_days"],
        "flights_amend_days": loop["reach"]["amend_days"],
        "flights_ahead_days": loop["reach"]["ahead_days"],
        "flights_label_threshold_minutes": loop["label"]["threshold"],
        "flights_label_maturity_hours": loop["label"]["maturity_hours"],
        "flights_feedback_maturity_hours": rating["maturity_hours"],
        "flights_complaints_days": loop["feedback"]["learn"]["days"],
        "flights_complaints_min_answers": loop["feedback"]["learn"]["min_answers"],
        "flights_claims_min_answers": loop["feedback"]["learn"]["labels"]["min_answers"],
        "flights_profile_cuts": 9,
        "flights_sample_per_day": 200,
    }
    learn, categories = loop["feedback"]["learn"], loop["feedback"]["taxonomy"]["categories"]
    assert variables["flights_complaints"] == learn["complaints"]
    assert variables["flights_complaints_by"] == learn["by"]
    assert variables["flights_claims_min_agreement"] == learn["labels"]["min_agreement"]
    for side in ("positive", "negative"):
        named = [name for name, category in categories.items() if category.get("claims") == side]
        assert variables[f"flights_claims_{side}"] == named != []
    assert variables["flights_decision_threshold"] == loop["gates"]["evaluation"]["decision_threshold"]


def test_the_sources_of_the_models_are_the_loop_files(
    loop: dict[str, Any], variables: dict[str, Any]
) -> None:
    about_units = set(variables["flights_unit_sources"])
    whole = set(variables["flights_reference_sources"])
    declared = loop["sources"]
    assert whole <= {name for name, entry in declared.items() if entry.get("reference")}
    assert about_units == set(declared) - {"schedule", "weather", "planes", "airports"}, (
        "a source about flights that the reach of a build does not know would change facts that nobody rebuilds"
    )


def test_the_curve_of_maturity_shows_every_window(loop: dict[str, Any], variables: dict[str, Any]) -> None:
    ages = variables["flights_maturity_ages_hours"]
    assert ages == sorted(set(ages))
    assert {loop["label"]["maturity_hours"], 24 * loop["reach"]["amend_days"]} <= set(ages)


def test_histograms_cover_the_loop_files_features_and_categories(
    loop: dict[str, Any], variables: dict[str, Any]
) -> None:
    assert variables["flights_numeric_features"] == loop["features"]["numeric"]
    assert variables["flights_categorical_features"] == loop["features"]["categorical"]
    assert variables["flights_cohort_dimensions"] == loop["cohorts"]["dimensions"]
    assert list(variables["flights_categorical_features"]) == list(loop["features"]["categorical"])


def test_the_longest_window_fits_into_the_lookback(loop: dict[str, Any]) -> None:
    sql = (DBT / "models" / "intermediate" / "int_lateness_windowed.sql").read_text(encoding="utf-8")
    assert "'length': '28 days'" in sql
    # Predictions of a local date begin after its first UTC hour, never a whole day earlier.
    assert loop["reach"]["lookback_days"] >= max(28, loop["feedback"]["learn"]["days"]) + 1
