"""`ratchet explain prediction`: what was known is kept apart from what came later, and every part is there."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from tests.integration.small_world import LATE_DAY, SmallWorld
from typer.testing import CliRunner, Result

from ratchet.stages.explain import NoPrediction, explain_prediction
from ratchet.warehouse.connect import open_warehouse


def a_prediction(world: SmallWorld, hour: int = 17) -> str:
    """One that was made at that hour (UTC) of the first served day."""
    moment = datetime.combine(LATE_DAY, datetime.min.time()) + timedelta(hours=hour)
    with open_warehouse(world.settings, purpose="test", read_only=True) as warehouse:
        found = warehouse.scalar(
            "select prediction_id from marts.fct_predictions where predicted_at >= ? and label is not null "
            "order by predicted_at, prediction_id limit 1",
            (moment,),
        )
    assert found
    return str(found)


def ratchet(world: SmallWorld, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    from ratchet.cli import app

    monkeypatch.setenv("RATCHET_HOME", str(world.settings.home))
    monkeypatch.setenv("COLUMNS", "80")
    return CliRunner().invoke(app, ["explain", "prediction", *arguments])


def received(rows: list[dict[str, Any]]) -> list[str]:
    return [str(row["received_at"]) for row in rows]


def test_one_prediction_end_to_end(made_world: SmallWorld) -> None:
    found = explain_prediction(made_world.settings, made_world.loop, a_prediction(made_world))
    made = found["prediction"]["predicted_at"]
    known = [found[name]["chosen"] for name in ("schedule", "weather")] + found["outcomes"]["latest_known"]
    assert len(known) == 7
    assert max(received(known)) < made
    later = found["outcomes"]["later"] + found["weather"]["later"] + found["schedule"]["later"]
    assert found["outcomes"]["n_later"] >= len(found["outcomes"]["later"]) > 0
    assert min(received(later)) >= made
    windows, values = found["outcomes"]["windows"], {v["feature"]: v for v in found["features"]["values"]}
    assert values["origin_flights_6h"]["today"] == windows["origin_6h"]["n"] > 0
    assert values["dest_late_share_28d"]["today"] == windows["dest_28d"]["late"] / windows["dest_28d"]["n"]
    assert len(values) == len(made_world.loop.features.columns)
    assert found["features"]["n_different"] == 0 and all(v["same"] for v in values.values())
    assert found["outcome"]["fact"]["outcome_state"] == "arrived"
    assert len(found["outcome"]["reported"]) >= 1
    assert {(g["border"], g["table"]) for g in found["gates"]} >= {
        ("landing", "predictions"), ("landing", "served_features"), ("landing", "schedule"), ("landing", "weather"),
        ("features", "ftr_flights__pre_departure"),
    }  # fmt: skip
    assert {g["verdict"] for g in found["gates"]} <= {"pass", "warn"}
    assert found["model"]["version"] == 1 and len(found["model"]["snapshots"]) == 1


def test_late_rows_make_it_different_and_a_later_schedule_is_not_known_then(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = a_prediction(world)
    before = explain_prediction(world.settings, world.loop, prediction)
    world.deliver_late()
    day = date(2013, 1, 13)
    chosen = before["schedule"]["chosen"]
    with open_warehouse(world.settings, purpose="test") as warehouse:
        columns = [
            c for c in warehouse.frame("select * from raw.schedule limit 0").columns if c != "received_at"
        ]
        warehouse.execute(
            f"insert into raw.schedule (received_at, {', '.join(columns)}) select timestamp '2013-01-12 12:00:00', "
            f"{', '.join(columns)} from raw.schedule where flight_id = ?",
            (chosen["unit_id"],),
        )
    assert world.land_and_build(LATE_DAY, day - timedelta(days=1))
    after = explain_prediction(world.settings, world.loop, prediction)
    different = {v["feature"] for v in after["features"]["values"] if v["same"] is False}
    assert different and different <= {v["feature"] for v in before["features"]["values"]}
    assert "temperature_f" in different or "pressure_mb" in different
    assert received(after["schedule"]["later"]) == ["2013-01-12T12:00:00"]
    assert after["schedule"]["chosen"]["received_at"] == chosen["received_at"]
    shown = ratchet(world, monkeypatch, prediction)
    assert shown.exit_code == 0, shown.output
    for text in ("Known then", "Not known then", "different", "skew", "What happened", "Gates", "snapshot"):
        assert text in shown.output, text
    assert max(map(len, shown.output.splitlines())) <= 80


def test_the_json_is_what_was_found(made_world: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = a_prediction(made_world, hour=2)
    told = ratchet(made_world, monkeypatch, prediction, "--json")
    assert told.exit_code == 0
    assert json.loads(told.stdout) == json.loads(
        json.dumps(explain_prediction(made_world.settings, made_world.loop, prediction))
    )


@pytest.mark.parametrize("wrong", ["nobody", "", "x'; drop table raw.predictions; --"])
def test_an_unknown_id_says_how_to_find_one(
    made_world: SmallWorld, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    with pytest.raises(NoPrediction):
        explain_prediction(made_world.settings, made_world.loop, wrong)
    told = ratchet(made_world, monkeypatch, "--", wrong)
    assert told.exit_code == 1
    assert "The newest are" in told.output
    assert a_prediction(made_world)
