"""`ratchet backfill`: the plan before, the run, a run that died, and what it must not do."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from typing import Any

import pytest
from tests.integration.small_world import LAST, LATE_DAY, SmallWorld, quiet, unwrapped
from typer.testing import CliRunner, Result

from ratchet.ledger.store import Ledger
from ratchet.stages import backfill as stage
from ratchet.stages.backfill import Told, run_backfill
from ratchet.stages.backfill_plan import BackfillRefused, checked_range, plan_backfill
from ratchet.stages.timings import estimate, remember
from ratchet.warehouse.connect import open_warehouse

DAY = str(LATE_DAY)


def ratchet(world: SmallWorld, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    from ratchet.cli import app

    monkeypatch.setenv("RATCHET_HOME", str(world.settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner().invoke(app, list(arguments))


def kinds(world: SmallWorld) -> list[str]:
    """What was decided; gates are evidence."""
    return [e.kind for e in Ledger(world.settings.ledger_url).entries("flights") if e.kind != "gate"]


def features(world: SmallWorld) -> dict[str, float]:
    with open_warehouse(world.settings, purpose="test", read_only=True) as warehouse:
        found = warehouse.frame(
            "select unit_id, temperature_f from features.ftr_flights__published order by 1"
        )
    assert len(found) > 8000
    return dict(found.itertuples(index=False))


def test_the_plan_says_what_lands_and_what_it_touches(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = plan_backfill(world.settings, world.loop, LATE_DAY, LATE_DAY)
    assert nothing.does_nothing and len(nothing.files) >= 4
    world.deliver_late()
    shutil.rmtree(world.day_of("outcomes", LAST))
    plan = plan_backfill(world.settings, world.loop, LATE_DAY, LAST + timedelta(days=1))
    (new,) = plan.to_land
    assert (new.source, new.received_date, new.state, new.rows, plan.rows) == (
        "weather",
        LATE_DAY,
        "new",
        12,
        12,
    )
    assert plan.missing["weather"] == [LAST + timedelta(days=1)], (
        "a day that landed and lost its file is not missing"
    )
    assert plan.reach == (date(2013, 1, 1), LATE_DAY + timedelta(days=world.loop.reach.lookback_days))
    assert plan.changes_features and len(plan.snapshots) == 1 and plan.served > 1000
    assert plan.seconds["landing"] and plan.seconds["build"]
    told = ratchet(world, monkeypatch, "backfill", "--from", DAY, "--to", DAY, "--dry-run")
    assert told.exit_code == 0, told.output
    for text in (
        "at most",
        "facts and features",
        plan.snapshots[0][:12],
        "no open rollout",
        "skew",
        "by past runs",
    ):
        assert text in unwrapped(told.output), text
    as_json = json.loads(
        ratchet(world, monkeypatch, "backfill", "--from", DAY, "--to", DAY, "--dry-run", "--json").stdout
    )
    assert (as_json["rows_to_land"], as_json["files_to_land"]) == (12, 1)
    assert plan_backfill(world.settings, world.loop, LATE_DAY, LATE_DAY).to_land == (new,), (
        "a plan lands nothing"
    )


def test_a_changed_file_is_planned_as_one(world: SmallWorld) -> None:
    (path,) = world.day_of("weather", LATE_DAY).glob("*.csv")
    path.write_text(path.read_text(encoding="utf-8").replace("44.06", "44.07"), encoding="utf-8")
    (file,) = plan_backfill(world.settings, world.loop, LATE_DAY, LATE_DAY).to_land
    assert (file.state, file.name) == ("changed", path.name)


def test_a_backfill_lands_builds_and_decides_nothing(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, decided = features(world), kinds(world)
    world.deliver_late()
    done = ratchet(world, monkeypatch, "backfill", "--from", DAY, "--to", DAY, "--yes")
    assert done.exit_code == 0, done.output
    assert "landed 12 +" in unwrapped(done.output)
    assert "temperature_f" in done.output or "features differ from what was served" in done.output
    assert "No trigger was fired" in unwrapped(done.output)
    after = features(world)
    assert after.keys() == before.keys()
    assert sum(after[unit] != before[unit] for unit in after) > 100
    assert kinds(world) == decided
    again = ratchet(world, monkeypatch, "backfill", "--from", DAY, "--to", DAY, "--yes")
    assert again.exit_code == 0
    assert "nothing changed" in unwrapped(again.output)
    assert features(world) == after


def test_a_backfill_that_died_is_finished_by_the_next(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deliver_late()

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    tell = Told(quiet, quiet)
    before = features(world)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "build", dies)
        with pytest.raises(KeyboardInterrupt):
            run_backfill(world.settings, world.loop, LATE_DAY, LATE_DAY, tell)
    assert features(world) == before, "nothing is half visible"
    plan = plan_backfill(world.settings, world.loop, LATE_DAY, LATE_DAY)
    assert (len(plan.to_land), plan.dirty_before, plan.does_nothing) == (0, 1, False)
    done = run_backfill(world.settings, world.loop, LATE_DAY, LATE_DAY, tell)
    assert done["built"]["dirty"] == 1
    assert done["dirty"] == 0
    assert done["skew"]["state"] == "skew"


def test_who_holds_the_warehouse_is_said_while_it_waits(
    made_world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.warehouse.protocol import WarehouseLocked

    said: list[str] = []
    stage._say_who_holds(made_world.settings, said.append)
    assert said == []

    def held(*_: Any) -> None:
        raise WarehouseLocked("held")

    monkeypatch.setattr(stage, "acquire", held)
    monkeypatch.setattr(stage, "holder", lambda _: "process 7 (landing flights)")
    stage._say_who_holds(made_world.settings, said.append)
    assert said == ["waiting for the warehouse, which process 7 (landing flights) has; at most 600 s"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "2013-01-12", "--to", "2013-01-11"), "swap them"),
        (("--from", "2012-01-12", "--to", "2013-01-11"), "outside the data"),
        (("--from", "yesterday", "--to", "2013-01-11"), "is no date"),
        (("--from", "2013-02-30", "--to", "2013-03-01"), "is no date"),
        (("--from", "2013-01-11", "--to", "2013-01-11", "--loop", "trains"), "there is no loop"),
        (("--from", "2013-01-11", "--to", "2013-01-11", "--json"), "--json can't ask"),
        (("--from", "2013-06-11", "--to", "2013-06-11", "--yes"), "no file of"),
    ],
)
def test_a_bad_argument_is_named(
    made_world: SmallWorld, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    done = ratchet(made_world, monkeypatch, "backfill", *arguments)
    assert done.exit_code == 1
    assert message in unwrapped(done.output)


def test_a_range_of_one_day_at_the_edge_passes(made_world: SmallWorld) -> None:
    checked_range(made_world.loop, date(2012, 12, 1), date(2014, 1, 31))
    with pytest.raises(BackfillRefused):
        checked_range(made_world.loop, date(2012, 11, 30), date(2013, 1, 1))


def test_an_estimate_is_the_past_rate_and_never_below_the_quickest_run(world: SmallWorld) -> None:
    settings, loop = world.settings, world.loop
    assert estimate(settings, loop, "walking", 10) is None
    remember(settings, loop, "walking", 0, 5.0)
    assert estimate(settings, loop, "walking", 10) is None, "a run over nothing says nothing"
    remember(settings, loop, "walking", 100, 10.0)
    remember(settings, loop, "walking", 300, 30.0)
    assert [estimate(settings, loop, "walking", n) for n in (0, 1, 1000)] == [0.0, 10.0, 100.0]
