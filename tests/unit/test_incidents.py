"""Incidents: planted ones name the right first cause, a quiet stretch is silent, silence is not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from ratchet.incidents.judge import Event, Incident, Incidents, Mute, judge_incidents
from ratchet.incidents.signals import Signal, signals_of
from ratchet.loop import Loop, load_loop

START = datetime(2013, 7, 1)
WEATHER = (
    "temperature_f",
    "dew_point_f",
    "humidity_pct",
    "wind_speed_mph",
    "pressure_mb",
    "visibility_miles",
)


def loop() -> Loop:
    return load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")


def quiet_day() -> dict[str, Signal]:
    """What a day's health record says when nothing is wrong."""
    told = [
        Signal(f"drift:{name}", "drift", "ok", 0.05, 0.15, importance=0.05, feature=name) for name in WEATHER
    ]
    told += [
        Signal(f"missing:{name}", "data", "ok", 0.0, 0.1, importance=0.05, feature=name) for name in WEATHER
    ]
    told += [Signal("drift:carrier", "drift", "ok", 0.02, 0.15, importance=0.2, feature="carrier")]
    told += [
        Signal(f"{w}:{s}", "data", "ok", source=s)
        for s in ("weather", "schedule", "outcomes")
        for w in ("freshness", "volume")
    ]
    told += [
        Signal(n, "quality", "ok")
        for n in (
            "quality:log_loss",
            "quality:worse-than-constant",
            "calibration",
            "labels:cohort=origin:EWR",
            "not-measured:quality",
        )
    ]
    told += [Signal(n, "operations", "ok") for n in ("latency:p95", "leak:memory", "error:rate")]
    told += [Signal("complaints:late", "users", "ok"), Signal("rating", "users", "ok")]
    return {signal.name: signal for signal in told}  # fmt: skip


def days(
    *planted: dict[str, Signal],
    before: Incidents | None = None,
    start: datetime = START,
    mutes: tuple[Mute, ...] = (),
) -> tuple[Incidents, list[tuple[int, Event]]]:
    """Judge a day for each of `planted`, which replaces signals of a quiet day; what is open, what happened when."""
    state, events = before or Incidents(), []
    for n, changed in enumerate(planted):
        signals = list({**quiet_day(), **changed}.values())
        state, happened = judge_incidents(loop(), state, signals, start + timedelta(days=n), mutes=mutes)
        # What is recorded has to give the same state again.
        state = Incidents.from_json(json.loads(json.dumps(state.to_json(), allow_nan=False)))
        events += [(n, event) for event in happened]
    return state, events


def bad(name: str, value: float = 1.0, limit: float = 0.5, **more: object) -> dict[str, Signal]:
    known = quiet_day().get(name)
    family = more.pop("family", known.family if known else "data")
    made = known or Signal(name, str(family), "ok")
    return {name: replace(made, state="alert", value=value, limit=limit, evidence="planted", **more)}  # type: ignore[arg-type]


FELT = bad("quality:log_loss", 0.08, 0.03) | bad("complaints:late", 0.2, 0.1)
PLANTED = {
    "the unit of a feature changes": (
        bad("drift:temperature_f", 0.8, 0.15) | bad("drift:humidity_pct", 0.2, 0.15) | FELT,
        "drift:temperature_f", "drift"),
    "a feed stops": (
        {k: v for name in WEATHER for k, v in (bad(f"missing:{name}") | bad(f"drift:{name}")).items()}
        | bad("freshness:weather", 30, 6) | FELT, "freshness:weather", "feed"),
    "a category is renamed": (
        bad("category:carrier=XX", 0.15, 0.001, source="schedule", feature="carrier", importance=0.2)
        | bad("drift:carrier", 0.5, 0.15)
        | bad("quality:cohort=carrier:AA", 0.1, 0.03, family="quality", cohort="carrier:AA"),
        "category:carrier=XX", "feed"),
    "labels of a cohort flip": (
        bad("labels:cohort=origin:EWR", 0.7, 0.2, cohort="origin:EWR") | bad("calibration", 0.2, 0.05) | FELT
        | bad("drift:humidity_pct", 0.2, 0.15), "labels:cohort=origin:EWR", "labels"),
    "latency doubles": (
        bad("latency:p95", 100, 50) | bad("complaints:slow", 0.2, 0.1, family="users"), "latency:p95", "latency"),
    "a slow leak": (bad("leak:memory", 3.0, 1.0), "leak:memory", "operations"),
    "a stale feed": (bad("freshness:weather", 12, 6), "freshness:weather", "feed"),
    "outcomes stop": (
        bad("freshness:outcomes", 72, 24)
        | {"not-measured:quality": Signal("not-measured:quality", "quality", "unknown", evidence="no labels")},
        "freshness:outcomes", "feed"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_incident_is_one_incident_with_its_first_cause_on_top(name: str) -> None:
    planted, cause, kind = PLANTED[name]
    state, events = days({}, planted, planted, planted)
    opened = [(n, e) for n, e in events if e.what == "opened" and e.severity != "note"]
    about = [i for i in state.open if i.cause == cause]
    assert len(about) == 1, [i.title for i in state.open]
    assert about[0].kind == kind
    assert about[0].causes[0]["name"] == cause
    assert about[0].severity != "note"
    assert about[0].runbook == f"docs/runbooks/{kind}.md"
    assert (Path(__file__).parents[2] / about[0].runbook).exists()
    assert max(n for n, _ in opened) <= 2, "found within two days"
    assert state.open[0].id == about[0].id, "it is ranked first"
    assert len(opened) == 1, "whatever else alerts is part of it, or a note"


def test_a_quiet_stretch_is_silent_and_the_count_is_not_of_nothing() -> None:
    state, events = days(*[{} for _ in range(60)])
    assert (state.open, events) == ((), [])
    told = [e.what for _, e in days(*[FELT for _ in range(60)])[1]]
    assert (told.count("opened"), set(told)) == (1, {"opened", "updated"}), "sixty bad days are one incident"


def test_missing_values_of_most_features_are_the_feeds_even_if_nobody_saw_it_stop() -> None:
    gone = {k: v for name in WEATHER for k, v in bad(f"missing:{name}").items()}
    state, _ = days(gone, gone)
    assert [i.cause for i in state.open] == ["feed:weather"]
    one, _ = days(bad("missing:temperature_f"), bad("missing:temperature_f"))
    assert [i.cause for i in one.open] == ["missing:temperature_f"]


def test_flicker_opens_nothing_that_is_not_at_once_and_closes_nothing() -> None:
    slow = bad("latency:p95", 100, 50)
    assert days(slow, {}, slow, {}, slow, {})[1] == []
    _, events = days(slow, slow, {}, slow, {}, {}, slow, {}, {}, {}, {})
    assert [(n, e.what) for n, e in events] == [(1, "opened"), (9, "closed")]


def test_a_feed_that_stops_comes_short_or_sends_old_rows_is_told_with_its_first_alert() -> None:
    for name in ("freshness:weather", "volume:weather", "stale:weather"):
        _, events = days(bad(name, 30, 6, source="weather"))
        assert [(n, e.what) for n, e in events] == [(0, "opened")], name


def test_two_measurements_of_a_day_count_once() -> None:
    signals = list({**quiet_day(), **bad("latency:p95", 100, 50)}.values())
    state, events = judge_incidents(loop(), Incidents(), signals, START)
    state, again = judge_incidents(loop(), state, signals, START + timedelta(hours=5))
    assert (events, again, state.open) == ((), (), ())


def test_an_incident_does_not_close_while_its_signal_is_not_measured() -> None:
    state, _ = days(bad("freshness:weather", 12, 6))
    unmeasured = {
        name: replace(s, state="unknown") for name, s in quiet_day().items() if name == "freshness:weather"
    }
    state, events = days(*[unmeasured] * 6, before=state, start=START + timedelta(days=1))
    assert [e.what for _, e in events if e.what == "closed"] == []
    state, happened = judge_incidents(loop(), state, [], START + timedelta(days=30))
    assert (len(state.open) >= 1, happened) == (True, ())
    state, events = days({}, {}, {}, {}, before=state, start=START + timedelta(days=31))
    assert [e.what for _, e in events] == ["closed"]


def test_not_measured_is_an_incident_but_not_of_a_model_that_has_just_begun() -> None:
    lost = {
        "not-measured:quality": Signal("not-measured:quality", "quality", "unknown", evidence="no labels")
    }
    state, _ = days(lost)
    assert [(i.cause, i.kind, i.severity) for i in state.open] == [
        ("not-measured:quality", "not-measured", "high")
    ]
    signals = list({**quiet_day(), **lost}.values())
    young, _ = judge_incidents(loop(), Incidents(), signals, START, serving_since=START - timedelta(days=3))
    assert young.open == ()
    other = [replace(s, state="unknown") if s.name == "volume:weather" else s for s in quiet_day().values()]
    begun = START - timedelta(days=3)
    assert judge_incidents(loop(), Incidents(), other, START, began=begun)[0].open == ()
    assert len(judge_incidents(loop(), Incidents(), other, START, serving_since=begun)[0].open) == 1
    old, _ = judge_incidents(loop(), Incidents(), signals, START, serving_since=START - timedelta(days=22))
    assert len(old.open) == 1


def test_drift_that_nobody_feels_is_a_note_and_is_raised_once_quality_feels_it() -> None:
    drift = bad("drift:temperature_f", 0.6, 0.15)
    state, events = days(drift, drift, drift | FELT)
    assert [(e.what, e.severity) for _, e in events] == [("opened", "note"), ("raised", "critical")]
    assert state.open[0].is_felt
    unused = bad("drift:temperature_f", 0.6, 0.15, importance=0.0)
    state, _ = days(unused | FELT)
    assert {i.cause: i.severity for i in state.open} == {
        "drift:temperature_f": "note",
        "quality:log_loss": "critical",
    }


def test_a_cause_that_is_found_later_takes_its_effect_in() -> None:
    state, events = days(FELT, FELT | bad("freshness:weather", 30, 6))
    assert [e.what for _, e in events] == ["opened", "updated"]
    assert [(i.cause, i.opened_on) for i in state.open] == [("freshness:weather", "2013-07-01")]


def test_two_incidents_that_turn_out_to_be_one_are_merged_into_the_older() -> None:
    first, _ = days(bad("freshness:weather", 12, 6))
    second, _ = days(FELT, start=START + timedelta(days=1))
    both = Incidents((*first.open, *second.open), {**first.streaks, **second.streaks})
    state, events = days(FELT | bad("freshness:weather", 12, 6), before=both, start=START + timedelta(days=2))
    assert [e.what for _, e in events] == ["merged", "raised"]
    assert [i.id for i in state.open] == [first.open[0].id]


def test_muting_holds_until_its_end_and_the_incident_stays_visible() -> None:
    state, _ = days(FELT)
    mute = Mute(state.open[0].id, date(2013, 7, 4), "the fix is rolling out", "dana")
    state, events = days(FELT, FELT, before=state, start=START + timedelta(days=1), mutes=(mute,))
    assert {e.what for _, e in events} <= {"updated"}
    assert (state.open[0].muted_until, state.open[0].mute_reason) == ("2013-07-04", "the fix is rolling out")
    state, events = days(FELT, FELT, before=state, start=START + timedelta(days=4), mutes=(mute,))
    assert [e.what for _, e in events] == ["unmuted"]
    assert state.open[0].muted_until is None


def test_rank_is_impact_by_risk_by_time_and_weights_are_powers() -> None:
    plain_loop = loop()
    state, _ = days(FELT)
    one = state.open[0]
    assert one.rank == pytest.approx(
        one.impact * one.risk * (one.hours_to_fix / (one.hours_to_fix + 24)), abs=1e-5
    )
    alerts = plain_loop.monitoring.alerts
    weights = alerts.weights.model_copy(update={"risk": 0.0, "time_to_fix": 0.0})
    monitoring = plain_loop.monitoring.model_copy(
        update={"alerts": alerts.model_copy(update={"weights": weights})}
    )
    weighed = plain_loop.model_copy(update={"monitoring": monitoring})
    signals = list({**quiet_day(), **FELT}.values())
    state, _ = judge_incidents(weighed, Incidents(), signals, START)
    assert state.open[0].rank == pytest.approx(one.impact)


def test_a_signal_that_is_told_twice_or_in_an_unknown_state_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        judge_incidents(loop(), Incidents(), [Signal("a", "data", "ok"), Signal("a", "data", "alert")], START)
    with pytest.raises(ValueError, match="state 'fine'"):
        Signal.from_json({"name": "a", "state": "fine"})


def test_a_record_without_signals_gives_those_that_its_numbers_say() -> None:
    estimate = {"value": 0.05, "low": 0.04, "high": 0.06, "clusters": 14, "units": 9000}
    record = {
        "status": "degraded", "reasons": ["made up"], "above_reference": estimate, "over_constant": estimate,
        "calibration_error": 0.02, "calibration_error_low": 0.01,
        "drift": [{"feature": "temperature_f", "drifting": True, "js_distance": 0.4, "alert_days": 6, "days": 7}],
    }  # fmt: skip
    found = {s.name: s for s in signals_of(loop(), record)}
    assert found["quality:log_loss"].state == "alert"
    assert found["drift:temperature_f"].source == "weather"
    assert found["quality:worse-than-constant"].state == found["calibration"].state == "ok"
    lost = {s.name: s.state for s in signals_of(loop(), {**record, "status": "unknown"})}
    assert lost["not-measured:quality"] == "unknown"
    assert "quality:log_loss" not in lost
    assert signals_of(loop(), {**record, "signals": [{"name": "x", "state": "warn"}]}) == [
        Signal("x", "", "warn")
    ]


def test_an_incident_reads_back_as_it_was_written() -> None:
    state, _ = days(FELT | bad("freshness:weather", 30, 6))
    written = json.loads(json.dumps(state.open[0].to_json()))
    assert Incident.from_json(written) == state.open[0]


def test_quality_is_blamed_on_drift_only_where_the_model_is_known_to_use_the_input() -> None:
    unknown = bad("drift:temperature_f", 0.6, 0.15, importance=None)
    state, _ = days(unknown | FELT)
    assert {i.cause: i.severity for i in state.open} == {
        "drift:temperature_f": "note",
        "quality:log_loss": "critical",
    }
    used = bad("drift:temperature_f", 0.6, 0.15, importance=0.1)
    assert [i.cause for i in days(used | FELT)[0].open] == ["drift:temperature_f"]
