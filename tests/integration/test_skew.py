"""What was served against today's features: late rows that a prediction should have known show, later ones do not."""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime, timedelta

import pandas as pd
import pytest
from tests.integration.small_world import LAST, LATE_DAY, SERVED, SmallWorld, quiet

from ratchet.published import read
from ratchet.stages.score import score
from ratchet.stages.served_log import folder_of, is_sampled, with_log
from ratchet.stages.skew import judge_skew, late_partitions, measure_skew, told
from ratchet.stages.status import status_of
from ratchet.warehouse.connect import open_warehouse

AS_OF = datetime(2013, 1, 13)
WEATHER = {"temperature_f", "dew_point_f", "humidity_pct", "wind_speed_mph", "wind_gust_mph", "precipitation_in",
           "pressure_mb", "visibility_miles"}  # fmt: skip


def test_what_was_served_equals_todays_features_until_something_lands_late(world: SmallWorld) -> None:
    found = measure_skew(world.settings, world.loop, AS_OF, quiet)
    assert (found["state"], found["problems"], found["dates"]) == ("none", [], [])
    assert found["n_compared"] == found["n_served"] > 1000
    world.deliver_late()
    assert world.land_and_build(LATE_DAY, LATE_DAY)
    found = measure_skew(world.settings, world.loop, AS_OF, quiet)
    assert found["state"] == "skew"
    assert {f["feature"] for f in found["features"]} <= WEATHER
    assert {"temperature_f", "pressure_mb"} <= {f["feature"] for f in found["features"]}
    (late,) = found["landed_after_serving"]
    assert (late["source"], late["received_date"], late["was_known"]) == (
        "weather",
        LATE_DAY.isoformat(),
        True,
    )
    with open_warehouse(world.settings, purpose="test", read_only=True) as warehouse:
        by_hand = warehouse.frame(
            "select count(*) as n, max(abs(s.temperature_f - f.temperature_f)) as furthest "
            "from raw.served_features s inner join features.ftr_flights__pre_departure f on s.unit_id = f.unit_id "
            "where s.temperature_f is distinct from f.temperature_f"
        )
    temperature = next(f for f in found["features"] if f["feature"] == "temperature_f")
    assert temperature["n_different"] == by_hand["n"].iloc[0] > 100
    assert temperature["max_abs_difference"] == by_hand["furthest"].iloc[0]
    line = dict(status_of(world.settings, world.loop)["lines"])["skew"]
    assert "1 partition of weather landed or grew after serving" in line
    assert read(world.settings, "flights", "skew") == json.loads(json.dumps(found))


def test_rows_received_after_the_predictions_make_no_skew(world: SmallWorld) -> None:
    folder = world.day_of("weather", LAST + timedelta(days=2))
    folder.mkdir(parents=True)
    header = "origin,event_at,received_at,temperature_f\n"
    rows = [
        f"{o},2013-01-11T{h:02d}:00:00Z,2013-01-14T01:00:00Z,99\n"
        for o in ("EWR", "JFK", "LGA")
        for h in range(24)
    ]
    (folder / "late.csv").write_text(header + "".join(rows))
    world.land_and_build(LAST + timedelta(days=2), LAST + timedelta(days=2))
    found = measure_skew(world.settings, world.loop, AS_OF, quiet)
    assert (found["state"], found["n_compared"] > 1000) == ("none", True)


def test_a_second_run_scores_and_logs_nothing(world: SmallWorld) -> None:
    before = {p: p.read_bytes() for p in world.settings.landing_dir.rglob("*.parquet")}
    assert score(world.settings, world.loop, *SERVED, quiet)["units"] == 0
    assert {p: p.read_bytes() for p in world.settings.landing_dir.rglob("*.parquet")} == before


def test_a_run_that_died_before_its_predictions_scores_what_was_logged(world: SmallWorld) -> None:
    """The features were rebuilt in between; what is in the log is what the second run scores."""
    settings, loop = world.settings, world.loop
    for day in SERVED:
        for path in world.day_of("predictions", day).glob("*.parquet"):
            path.unlink()
    logged = {
        path: path.read_bytes()
        for path in (settings.landing_dir / "flights/served_features").rglob("*.parquet")
    }
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("update features.ftr_flights__pre_departure set temperature_f = -100")
        units = warehouse.frame(
            "select * from features.ftr_flights__published where predict_at >= '2013-01-11' order by unit_id limit 5"
        )
    assert (units["temperature_f"] == -100).all()
    units["received_at"] = units["predict_at"] + timedelta(seconds=1)
    scored = with_log(settings, loop, units)
    kept = pd.concat([pd.read_parquet(path) for path in logged]).set_index("unit_id")
    assert (
        scored["temperature_f"].tolist() == kept.loc[units["unit_id"], "temperature_f"].astype(float).tolist()
    )
    assert {path: path.read_bytes() for path in logged} == logged
    assert folder_of(settings, loop, SERVED[0]).is_dir()


def test_the_sample_is_drawn_by_the_unit_alone(made_world: SmallWorld) -> None:
    units = [f"unit-{n}" for n in range(4000)]
    loop = made_world.loop
    half = loop.model_copy(
        update={"monitoring": loop.monitoring.model_copy(update={"served_features_sample": 0.5})}
    )
    drawn = is_sampled(half, units)
    assert is_sampled(loop, units).all()
    assert 1850 < drawn.sum() < 2150
    assert is_sampled(half, units[::-1]).tolist() == drawn.tolist()[::-1]
    low = int.from_bytes(hashlib.sha256(b"flights|served_features|unit-0").digest()[:8], "big") / 2**64
    assert drawn[0] == (low < 0.5)


def sums(**changes: object) -> pd.DataFrame:
    row = {"departure_date": date(2013, 1, 11), "feature": "a", "n_served": 100, "n_not_logged": 0, "n_gone": 0,
           "n_compared": 100, "n_different": 0, "max_abs_difference": 0.0}  # fmt: skip
    return pd.DataFrame([{**row, **changes}, {**row, **changes, "feature": "b", "n_different": 0}])


@pytest.mark.parametrize(
    ("days", "sample", "state", "problem"),
    [
        (sums(), 1.0, "none", ""),
        (sums(n_different=3), 1.0, "skew", ""),
        (sums().iloc[:0], 1.0, "unknown", ""),
        (sums(n_compared=0, n_not_logged=100), 1.0, "unknown", "100 of 100 served units have no log"),
        (sums(n_compared=99, n_not_logged=1), 1.0, "none", "1 of 100"),
        (sums(n_compared=48, n_not_logged=52), 0.5, "none", ""),
        (sums(n_compared=5, n_not_logged=95), 0.5, "none", "leaves out about 50"),
        (sums(n_compared=98, n_gone=2), 1.0, "none", "2 of 100 served units have no feature row today"),
    ],
)
def test_nothing_compared_is_not_no_skew(days: pd.DataFrame, sample: float, state: str, problem: str) -> None:
    found = judge_skew(days, sample)
    assert found["state"] == state
    assert problem in "; ".join(found["problems"])
    assert bool(problem) == bool(found["problems"])
    assert told({**found, "landed_after_serving": []})


def test_only_partitions_that_features_look_at_are_named(made_world: SmallWorld) -> None:
    served = date(2013, 3, 10)
    before = [{"source": "weather", "received_date": "2013-03-09", "n_rows": 1, "digest": "a"}]
    landed = [
        {"source": "weather", "received_date": "2013-03-09", "n_rows": 2, "digest": "b"},
        {"source": "weather", "received_date": "2013-03-12", "n_rows": 2, "digest": "b"},
        {"source": "outcomes", "received_date": "2013-03-08", "n_rows": 2, "digest": "c"},
        {"source": "outcomes", "received_date": "2012-03-08", "n_rows": 2, "digest": "c"},
        {"source": "feedback", "received_date": "2013-03-08", "n_rows": 2, "digest": "c"},
    ]
    found = late_partitions(made_world.loop, [served], landed, {served: before})
    assert [(p["source"], p["received_date"], p["was_known"]) for p in found] == [
        ("outcomes", "2013-03-08", False),
        ("weather", "2013-03-09", True),
    ]
    assert late_partitions(made_world.loop, [served], landed, {}) == []
