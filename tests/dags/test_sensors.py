"""Each of a training's three conditions false in turn: the task stays deferred and says why; then true."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

AS_OF = datetime(2013, 6, 18)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A loop's published state, changed by the tests; the ledger is a real one."""
    from ratchet.ledger.store import Ledger, migrate
    from ratchet.loop import load_loop
    from ratchet.published import publish
    from ratchet.settings import load_settings

    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    monkeypatch.setenv("RATCHET_SENSOR_POLL_SECONDS", "0.1")
    settings = load_settings()
    loop = load_loop(settings.loops_dir / "flights.yml")
    migrate(settings.ledger_url)

    class World:
        def __init__(self) -> None:
            self.settings, self.loop, self.ledger = settings, loop, Ledger(settings.ledger_url)

        def open_request(self) -> None:
            self.ledger.append(
                loop="flights", kind="trigger", key="trigger:x", as_of=AS_OF,
                payload={"action": "request", "tier": "routine", "reason": "old", "evidence": {}},
            )  # fmt: skip

        def publish_build(self, *, settled: bool = True, blocked: date | None = None) -> None:
            first, last = date(2013, 1, 1), date(2013, 6, 17)
            days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
            verdicts = {day.isoformat(): "block" if day == blocked else "pass" for day in days}
            publish(
                settings, "flights", "partitions",
                {"as_of": AS_OF if settled else AS_OF - timedelta(days=30), "features": {"verdicts": verdicts}},
            )  # fmt: skip
            maturity = [
                {"departure_date": day.isoformat(), "n_units": 900, "n_in_window": 850 if settled else 10,
                 "n_late_report": 5, "n_without_outcome": 45}
                for day in days
            ]  # fmt: skip
            publish(settings, "flights", "label_maturity", {"as_of": AS_OF, "days": maturity})

    return World()


def context(run_type: str = "asset_triggered", **params: Any) -> dict[str, Any]:
    return {"params": params, "dag_run": SimpleNamespace(run_type=run_type), "triggering_asset_events": {}}


def deferred(condition: str) -> Any:
    from airflow.sdk.exceptions import TaskDeferred

    from ratchet.airflow.sensors import ConditionSensor

    sensor = ConditionSensor(task_id=f"wait_for_{condition}", loop="flights", condition=condition)
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(context())
    return caught.value.trigger


def look(trigger: Any, until: Callable[[], bool] = lambda: False) -> list[Any]:
    """The trigger's events, once it ends or `until` holds; a minute is more than either needs."""

    async def run() -> list[Any]:
        events: list[Any] = []

        async def collect() -> None:
            events.extend([event async for event in trigger.run()])

        looking, end = asyncio.create_task(collect()), time.monotonic() + 60
        while not looking.done() and not until():
            assert time.monotonic() < end, "it neither fired nor waited as it should"
            await asyncio.sleep(0.02)
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        return events

    return asyncio.run(run())


def make_false(world: Any, condition: str) -> str:
    """Make `condition` the only false one; a part of the reason that must be given."""
    if condition == "request":
        world.publish_build()
        return "no retrain request"
    world.open_request()
    if condition == "labels":
        world.publish_build(settled=False)
        return "settled"
    world.publish_build(blocked=date(2013, 3, 3))
    return "2013-03-03"


def make_true(world: Any, condition: str) -> None:
    if condition == "request":
        world.open_request()
    else:
        world.publish_build()


@pytest.mark.parametrize("condition", ["request", "labels", "gates"])
def test_waits_says_why_and_then_goes_on(
    world: Any, condition: str, caplog: pytest.LogCaptureFixture
) -> None:
    reason = make_false(world, condition)
    trigger = deferred(condition)
    with caplog.at_level(logging.INFO, logger="ratchet.trigger"):
        said = look(trigger, until=lambda: any(reason in record.message for record in caplog.records))
    assert said == [], "it fired although the condition is false"
    assert any(reason in record.message for record in caplog.records), caplog.text
    make_true(world, condition)
    events = look(trigger)
    assert len(events) == 1
    assert events[0].payload["reason"]


@pytest.mark.parametrize("condition", ["request", "labels", "gates"])
def test_the_other_two_do_not_wait(world: Any, condition: str) -> None:
    from ratchet.airflow.sensors import ConditionSensor

    make_false(world, condition)
    others = {"request": ["gates"], "labels": ["request", "gates"], "gates": ["request", "labels"]}[condition]
    for other in others:
        if condition == "request":
            continue  # without a request there is no window to judge
        sensor = ConditionSensor(task_id="wait", loop="flights", condition=other)
        assert sensor.execute(context())


def test_a_wait_that_passes_its_deadline_says_what_was_missing_and_fails(world: Any) -> None:
    """Through what the triggerer keeps of it: the clock, not a number of looks, ends the wait."""
    from airflow.sdk.exceptions import AirflowFailException
    from airflow.sdk.module_loading import import_string

    from ratchet.airflow.sensors import ConditionSensor

    reason = make_false(world, "labels")
    hours = world.loop.triggers.labels.wait_hours
    before = time.time()
    path, arguments = deferred("labels").serialize()
    assert before + hours * 3600 <= arguments["deadline"] <= time.time() + hours * 3600
    waited = time.monotonic() + 0.4
    early = look(import_string(path)(**arguments), until=lambda: time.monotonic() > waited)
    assert early == [], "it gave up before its deadline"

    late = import_string(path)(**{**arguments, "deadline": time.time() + 0.5})
    began = time.time()
    (event,) = look(late)
    assert time.time() - began >= 0.5 and set(event.payload) == {"missing"}
    assert reason in event.payload["missing"]
    sensor = ConditionSensor(task_id="wait_for_labels", loop="flights", condition="labels")
    with pytest.raises(AirflowFailException) as failed:
        sensor.resume(context(), event.payload)
    said = str(failed.value)
    assert "waited too long for labels" in said and reason in said and "ratchet close-request" in said


def test_what_holds_by_the_deadline_goes_on(world: Any) -> None:
    """A look comes before the end: a triggerer that was down past the deadline does not fail what is ready."""
    from airflow.sdk.exceptions import AirflowSkipException

    from ratchet.airflow.sensors import ConditionSensor

    make_false(world, "labels")
    trigger = deferred("labels")
    trigger.deadline = time.time() - 3_600
    make_true(world, "labels")
    (event,) = look(trigger)
    sensor = ConditionSensor(task_id="wait_for_labels", loop="flights", condition="labels")
    assert sensor.resume(context(), event.payload) == event.payload["reason"]
    with pytest.raises(AirflowSkipException, match="is closed"):
        sensor.resume(context(), {"closed": "request trigger:x is closed"})


def test_nothing_published_is_not_ready(world: Any) -> None:
    from ratchet.stages.conditions import check
    from ratchet.stages.jobs import Wanted

    world.open_request()
    for condition in ("labels", "gates"):
        readiness = check(world.settings, world.loop, condition, Wanted())
        assert not readiness.ready
        assert "no build" in readiness.reason


def test_the_trigger_can_be_made_again_from_what_it_serialises(world: Any) -> None:
    from airflow.sdk.module_loading import import_string

    trigger = deferred("request")
    path, arguments = trigger.serialize()
    assert import_string(path)(**arguments).serialize() == (path, arguments)


def test_a_second_bootstrap_is_refused(world: Any) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from ratchet.airflow.sensors import ConditionSensor
    from ratchet.stages.conditions import check
    from ratchet.stages.jobs import JobClosed, Wanted, job_for

    first, later = Wanted("bootstrap", AS_OF), Wanted("bootstrap", AS_OF + timedelta(days=7))
    assert check(world.settings, world.loop, "request", first).ready
    job = job_for(world.settings, world.loop, first)
    world.ledger.append(
        loop="flights", kind="bootstrap", key=job.request, as_of=AS_OF,
        payload={"request": job.request, "model_version": 1},
    )  # fmt: skip
    assert job_for(world.settings, world.loop, first) == job, "a retry of the same one goes on"
    with pytest.raises(JobClosed, match="has had a champion since"):
        job_for(world.settings, world.loop, later)
    sensor = ConditionSensor(task_id="wait", loop="flights", condition="request")
    by_hand = context("manual", mode="bootstrap", apply=True, as_of="2013-06-25T00:00:00")
    with pytest.raises(AirflowSkipException, match="has had a champion since"):
        sensor.execute(by_hand)


def test_labels_that_never_came_are_waited_for(world: Any) -> None:
    """A closed window without outcomes is settled, but there is nothing to judge on."""
    from ratchet.published import publish, read
    from ratchet.stages.conditions import check
    from ratchet.stages.jobs import Wanted

    world.open_request()
    world.publish_build()
    days = (read(world.settings, "flights", "label_maturity") or {})["days"]
    silent = [
        {**day, "n_in_window": 0, "n_without_outcome": 900} if day["departure_date"] > "2013-06-01" else day
        for day in days
    ]
    publish(world.settings, "flights", "label_maturity", {"as_of": AS_OF, "days": silent})
    readiness = check(world.settings, world.loop, "labels", Wanted())
    assert not readiness.ready
    assert "feed of outcomes" in readiness.reason


def test_a_held_outcome_partition_is_waited_for(world: Any) -> None:
    from ratchet.published import publish, read
    from ratchet.stages.conditions import check
    from ratchet.stages.jobs import Wanted

    world.open_request()
    world.publish_build()
    held = {
        "border": "landing",
        "table_name": "outcomes",
        "partition_date": "2013-06-15",
        "reason": "few rows",
    }
    summary = read(world.settings, "flights", "partitions") or {}
    publish(world.settings, "flights", "partitions", {**summary, "blocked": [held]})
    readiness = check(world.settings, world.loop, "gates", Wanted())
    assert not readiness.ready
    assert "outcomes 2013-06-15" in readiness.reason
    # A hole of long ago was accepted by an earlier training; it must not stop all later ones.
    old = {**held, "partition_date": "2013-02-09"}
    publish(world.settings, "flights", "partitions", {**summary, "blocked": [old]})
    assert check(world.settings, world.loop, "gates", Wanted()).ready


def test_an_answered_request_ends_the_wait(world: Any) -> None:
    """A run whose request was closed meanwhile is skipped; it does not take the next one's place."""
    from airflow.sdk.exceptions import AirflowSkipException

    from ratchet.airflow.sensors import ConditionSensor
    from ratchet.ledger.state import fold
    from ratchet.stages.requests import NoOpenRequest, close

    world.open_request()
    world.publish_build(blocked=date(2013, 3, 3))
    event = SimpleNamespace(extra={"as_of": AS_OF.isoformat(), "request": "trigger:x"})
    started = {**context(), "triggering_asset_events": {"request": [event]}}
    sensor = ConditionSensor(task_id="wait", loop="flights", condition="request")
    assert "trigger:x" in sensor.execute(started)
    assert "cannot succeed" in close(world.settings, world.loop, "cannot succeed")
    assert fold(world.ledger.entries("flights")).request is None
    for condition in ("request", "labels", "gates"):
        with pytest.raises(AirflowSkipException, match="is closed"):
            ConditionSensor(task_id="wait", loop="flights", condition=condition).execute(started)
    with pytest.raises(NoOpenRequest):
        close(world.settings, world.loop, "again")


def test_a_dry_run_answers_no_request(world: Any) -> None:
    from ratchet.stages.jobs import Wanted, job_for

    world.open_request()
    world.publish_build()
    job = job_for(world.settings, world.loop, Wanted(is_dry=True))
    assert job.request == f"dry:retrain:{AS_OF.isoformat()}"
    assert job.as_of == AS_OF
