"""The days of a trigger backtest: recorded health, and between records the day sums as they were known.

Two clocks: on each day only departures count whose label windows were closed by then, as in the live record; their sums
hold what was received in that window, so that they are the same today. The model is the one that served on that day,
held to its own evaluation. Drift is the last record's, at most a week old: profiles of former models are gone. What
users said is judged from its day sums, as live: answers count by the weights that were known on the day, and are about
what they are understood as today.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from statistics import mean, median
from typing import Any

import pandas as pd
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ratchet.incidents.signals import signals_of
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, fold
from ratchet.ledger.trainings import cost_of
from ratchet.loop import Loop
from ratchet.loop_triggers import Triggers
from ratchet.monitoring.health import Health, ReferenceQuality, assess_health, last_mature_day
from ratchet.monitoring.opinions import counted, judge_opinions
from ratchet.monitoring.users import LIMIT
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages.measures import SUMS_BACK, require_models
from ratchet.stages.monitor import HISTORY, reference_of
from ratchet.stages.records import ledger_of
from ratchet.stages.triggering import frozen
from ratchet.triggers.backtest import Assumed, Backtest, Day, backtest
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

#: A drift that was measured longer ago says nothing of today.
DRIFT_HOLDS = timedelta(days=7)
TRIAL_DAYS = 28  # of a rollout, where history has none that ended


class NothingToReplay(RuntimeError):
    """The ledger knows no champion in the range, or a policy file is no policy; the message says which."""


@dataclass(frozen=True)
class Said:
    """Rows of mon_cohorts_daily (served, the cohort all), mon_answers_daily and mon_weights_daily."""

    cohorts: pd.DataFrame
    answers: pd.DataFrame
    changes: pd.DataFrame


@dataclass(frozen=True)
class History:
    """What the ledger and the day sums say of a range; every policy is replayed on the same."""

    entries: tuple[Entry, ...]
    quality: pd.DataFrame
    calibration: pd.DataFrame
    labels: tuple[tuple[str, int], ...]
    as_ofs: tuple[datetime, ...]
    said: Said


def history_of(settings: Settings, loop: Loop, first: date, last: date) -> History:
    """The range's history, read once.

    Raises:
        NothingToReplay: no champion served in it.
    """
    entries = tuple(ledger_of(settings).entries(loop.loop))
    began = next((datetime.fromisoformat(e.as_of) for e in entries if e.kind == "bootstrap"), None)
    if began is None or began.date() >= last:
        raise NothingToReplay(f"loop {loop.loop} had no champion before {last}: there is no health to replay")
    since = first - HISTORY
    with open_warehouse(settings, purpose=f"backtest of {loop.loop}", read_only=True) as warehouse:
        frames = {
            # Names of our own models; the values are bound.
            name: warehouse.frame(
                f"select * from monitoring.{name} where loop = ? and departure_date between ? and ?",  # noqa: S608
                (loop.loop, since, last),
            )
            for name in ("mon_quality_daily", "mon_calibration_daily")
        }
        said = _said(warehouse, loop, first - SUMS_BACK, last)
    maturity = (read(settings, loop.loop, "label_maturity") or {"days": []})["days"]
    start = max(first, began.date() + timedelta(days=1))
    days = [datetime.combine(start + timedelta(days=n), clock.min) for n in range((last - start).days + 1)]
    labels = tuple((str(day["departure_date"]), int(day["n_in_window"])) for day in maturity)
    return History(
        entries, frames["mon_quality_daily"], frames["mon_calibration_daily"], labels, tuple(days), said
    )


def _said(warehouse: Warehouse, loop: Loop, first: date, last: date) -> Said:
    require_models(warehouse)
    within = "loop = ? and departure_date between ? and ?"
    wanted = {
        "mon_cohorts_daily": "and is_served and cohort_dimension = 'all'", "mon_answers_daily": "",
        "mon_weights_daily": "",
    }  # fmt: skip
    frames = [
        # Names of our own models; the values are bound.
        warehouse.frame(f"select * from monitoring.{name} where {within} {more}", (loop.loop, first, last))  # noqa: S608
        for name, more in wanted.items()
    ]
    return Said(*(f.assign(departure_date=pd.to_datetime(f["departure_date"])) for f in frames))


def replayed(
    loop: Loop, history: History, tick: Callable[[], None] = lambda: None, beside: Backtest | None = None
) -> Backtest:
    """What the policy of `loop` would have done in `history`. `tick` is called twice a day that is looked at.

    Episodes are those of `beside`, the policy that it is compared with, whatever windows this one looks at.
    """
    by_day = {e.as_of: e for e in history.entries if e.kind == "health"}
    days: list[Day] = []
    lost: dict[date, float] = {}
    for as_of in history.as_ofs:
        known = [e for e in history.entries if e.as_of <= as_of.isoformat()]
        state = fold(e for e in known if e.kind not in ("trigger",) or e.as_of < as_of.isoformat())
        # A rollback of the day itself came after its health.
        day = _day(loop, history, known, state, by_day, as_of)
        if day is not None:
            days.append(day)
            lost |= _lost(loop, history, known, day, as_of)
        tick()
    judged = None if beside is None else [day for day, _ in beside.decisions]
    assumed = _assumed(loop, history.entries)
    return backtest(loop, days, lost, assumed, _labels(loop, history), tick, judged=judged)


def _day(
    loop: Loop,
    history: History,
    known: Sequence[Entry],
    state: LoopState,
    by_day: dict[str, Entry],
    as_of: datetime,
) -> Day | None:
    recorded = by_day.get(as_of.isoformat())
    last = next((e for e in reversed(known) if e.kind == "health"), None)
    terms = None if recorded is None else _terms_of(known, recorded)
    if recorded is not None and terms is not None and _same_windows(loop, terms):
        health = Health.from_json(recorded.payload)
        record: dict[str, Any] = recorded.payload
        has_drift, is_recorded = True, True
    else:
        if state.champion_version is None:
            return None
        reference = reference_of(loop, list(known), state)
        health, is_recorded = _assessed(loop, history, reference, as_of), False
        is_near = last is not None and as_of - datetime.fromisoformat(last.as_of) <= DRIFT_HOLDS
        has_drift = is_near and last is not None and last.payload["model_version"] == state.champion_version
        if has_drift and last is not None:
            health = replace(health, drift=Health.from_json(last.payload).drift)
        record = health.to_json()
    alerts = {s.name: s.evidence for s in signals_of(loop, record) if s.state == "alert"}
    if not is_recorded or terms is None:
        alerts |= _users_alerts(loop, history.said, as_of)
    elif (
        terms["event"].get("feedback_limits", {})
        != loop.triggers.event.model_dump(mode="json")["feedback_limits"]
    ):
        # The record judged other limits, or none.
        alerts = {name: told for name, told in alerts.items() if not name.startswith(LIMIT)}
        now = _users_alerts(loop, history.said, as_of)
        alerts |= {name: told for name, told in now.items() if name.startswith(LIMIT)}
    return Day(as_of, health, alerts, is_recorded, has_drift, frozen(loop, as_of))


def _users_alerts(loop: Loop, said: Said, as_of: datetime) -> dict[str, str]:
    """What users' answers alert at `as_of`, as a measurement of that day would say; nothing where no policy asks."""
    triggers = loop.triggers
    if not (triggers.event.asking or triggers.urgent.signals):
        return {}
    first, today = pd.Timestamp(as_of.date() - SUMS_BACK), pd.Timestamp(as_of.date())
    cohorts, answers, changes = (
        frame[(frame["departure_date"] >= first) & (frame["departure_date"] < today)]
        for frame in (said.cohorts, said.answers, said.changes)
    )
    found = judge_opinions(loop, cohorts, counted(answers, changes, as_of), as_of)
    return {item["name"]: item["evidence"] for item in found.conditions if item["state"] == "alert"}


def _terms_of(known: Sequence[Entry], record: Entry) -> dict[str, Any] | None:
    """The trigger policy that the record was judged by; None where nothing was decided on it."""
    told = next((e for e in known if e.kind == "trigger" and e.payload.get("health") == record.hash), None)
    return None if told is None else dict(told.payload["terms"]["triggers"])


def _same_windows(loop: Loop, terms: dict[str, Any]) -> bool:
    """Whether the record was made over the windows of this policy."""
    mine = (loop.triggers.event.window_days, loop.triggers.urgent.window_days)
    return (terms["event"]["window_days"], terms["urgent"]["window_days"]) == mine


def _assessed(loop: Loop, history: History, reference: ReferenceQuality, as_of: datetime) -> Health:
    """Health from day sums, without what was not known at `as_of`: open windows and later answers."""
    until = last_mature_day(loop, as_of)
    none = pd.DataFrame({"departure_date": pd.Series([], dtype="object")})
    found = []
    for frame in (history.quality, history.calibration):
        dates = pd.to_datetime(frame["departure_date"]).dt.date
        found.append(frame[[until - HISTORY < d <= until for d in dates]])
    health = assess_health(loop, found[0], found[1], none, none, reference, as_of)
    return replace(health, opinions={})


def _lost(
    loop: Loop, history: History, known: Sequence[Entry], day: Day, as_of: datetime
) -> dict[date, float]:
    """The day's own log loss above the reference of the model that served it, summed over labelled units."""
    departed = as_of.date() - timedelta(days=1)
    version = day.health.model_version
    quality = history.quality
    rows = quality[(quality["model_version"] == version)]
    rows = rows[[d == departed for d in pd.to_datetime(rows["departure_date"]).dt.date]]
    if loop.prediction.influences_outcome:
        rows = rows[rows["is_served"].astype(bool)]
    labelled = float(rows["n_labelled"].astype("float64").sum())
    if not labelled:
        return {}
    state = replace(fold(known), champion_version=version)
    reference = reference_of(loop, list(known), state)
    return {departed: float(rows["sum_log_loss"].astype("float64").sum()) - reference.log_loss * labelled}


def _labels(loop: Loop, history: History) -> Callable[[datetime, datetime], int | None]:
    def count(trained: datetime, now: datetime) -> int | None:
        if not history.labels:
            return None
        learned, until = last_mature_day(loop, trained).isoformat(), last_mature_day(loop, now).isoformat()
        return sum(n for day, n in history.labels if learned < day <= until)

    return count


def _assumed(loop: Loop, entries: Sequence[Entry]) -> Assumed:
    """What is assumed of requests, from those that the ledger has."""
    unit = loop.triggers.budget.unit if loop.triggers.budget else "cpu_seconds"
    costs = [cost_of(e, unit) for e in entries if e.kind == "training"]
    started = {e.payload["experiment_id"]: e.as_of for e in entries if e.kind == "rollout_started"}
    lasted = [
        (datetime.fromisoformat(e.as_of) - datetime.fromisoformat(started[e.payload["experiment_id"]])).days
        for e in entries
        if e.kind == "rollout_applied"
        and e.payload["action"] in ("promote", "roll_back", "inconclusive")
        and e.payload["experiment_id"] in started
    ]
    judged = {e.payload["request"]: e.payload["verdict"] == "pass" for e in entries if e.kind == "evaluation"}
    return Assumed(
        trial_days=round(median(lasted)) if lasted else TRIAL_DAYS,
        cost=mean(costs) if costs else 0.0,
        first_trained=next(datetime.fromisoformat(e.as_of) for e in entries if e.kind == "bootstrap"),
        passed={
            date.fromisoformat(e.as_of[:10]): judged[e.key]
            for e in entries
            if e.kind == "trigger" and e.key in judged
        },
    )


def policy_of(loop: Loop, path: Path) -> Loop:
    """`loop` with the trigger policy of a file: the key `triggers`, or what stands under it; the rest is the loop's.

    Raises:
        NothingToReplay: the file can't be read, or says something that is no policy.
    """
    try:
        told = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise NothingToReplay(f"{path}: can't be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(told, dict) or not told:
        raise NothingToReplay(f"{path}: give the key triggers, as in a loop file, with what differs")
    try:
        policy = Triggers.model_validate(_over(loop.triggers.model_dump(), told.get("triggers", told)))
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise NothingToReplay(f"{path}: triggers.{where}: {wrong['msg']}") from None
    return loop.model_copy(update={"triggers": policy})


def _over(before: Any, told: Any) -> Any:
    if isinstance(before, dict) and isinstance(told, dict):
        return {**before, **{key: _over(before.get(key), value) for key, value in told.items()}}
    return told
