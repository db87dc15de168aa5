"""Judge a running rollout day by day, and carry out what the verdict changes.

`decide` writes; `apply` acts, and only on a decision that is in the ledger. The order of acting (warehouse
profile, alias, routing file, ledger) makes every step repeatable: a run that died in between is finished by
the next one, since the decision stays undone until its `rollout_applied` entry exists.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.experiment.state import Verdict
from ratchet.experiment.verdict import judge_day
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, Rollout, fold
from ratchet.loop import Loop
from ratchet.published import publish, read
from ratchet.registry.models import Registry
from ratchet.scoring.routing import Routing, write_routing
from ratchet.settings import Settings
from ratchet.stages.comparison import compare
from ratchet.stages.jobs import last_complete_day
from ratchet.stages.profiles import adopt_profile
from ratchet.stages.records import ledger_of
from ratchet.warehouse.duckdb import open_warehouse

Log = Callable[[str], None]


class NoDecision(RuntimeError):
    """Applying was asked for without a decision that waits; nothing was changed."""


def decide(
    settings: Settings, loop: Loop, as_of: datetime, log: Log, *, is_dry: bool = False
) -> dict[str, Any] | None:
    """Judge each day since the last look, up to the day before `as_of`; the decision to apply, or None.

    Looks stop at the first verdict that changes what serves; after an `advance` the rest of the range is
    still looked at for harm, under the routing that served it. A decision that was never carried out comes
    back first. A dry run logs the next day's verdict and records nothing.
    """
    ledger = ledger_of(settings)
    state = fold(ledger.entries(loop.loop))
    if state.rollout is None:
        log("no rollout is running")
        if not is_dry:
            _publish(settings, loop, state, as_of)
        return None
    if state.rollout.undone is not None and is_dry:
        log(f"dry run: decision {state.rollout.undone} waits to be carried out")
        return None
    if state.rollout.undone is not None:
        log(f"decision {state.rollout.undone} was not carried out yet: it comes first")
        return {"decision": state.rollout.undone, "as_of": as_of.isoformat()}
    rollout = state.rollout
    with open_warehouse(
        settings, purpose=f"judging {state.rollout.experiment_id}", read_only=True
    ) as warehouse:
        where = (loop.loop, state.rollout.experiment_id)
        paired = warehouse.frame(
            "select * from experiments.exp_paired_daily where loop = ? and experiment_id = ? order by 3, 4, 5",
            where,
        )
        arms = warehouse.frame(
            "select * from experiments.exp_arm_daily where loop = ? and experiment_id = ? order by 3, 4",
            where,
        )
    if is_dry:
        for day in _days(loop, rollout, as_of)[:1]:
            verdict = judge_day(loop, rollout.trial, paired, arms, day)
            log(f"dry run: {day} would be {verdict.action}: {'; '.join(verdict.reasons)}")
        return None
    pending: Entry | None = None
    for day in _days(loop, state.rollout, as_of):
        if state.rollout is None:
            break
        verdict = judge_day(loop, state.rollout.trial, paired, arms, day)
        if pending is not None and verdict.action != "roll_back":
            verdict = Verdict(
                "hold",
                ("the stage's advance waits to be applied", *verdict.reasons),
                verdict.evidence,
                verdict.looks,
            )
        entry = _record(settings, loop, state.rollout, verdict, day, log)
        state = fold(ledger.entries(loop.loop))
        if entry.payload["to_apply"]:
            pending = entry
            if entry.payload["action"] != "advance":
                break
    _publish(settings, loop, state, as_of)
    _publish_comparison(settings, loop, rollout, paired, arms, as_of)
    return None if pending is None else {"decision": pending.key, "as_of": as_of.isoformat()}


def _days(loop: Loop, rollout: Rollout, as_of: datetime) -> list[date]:
    first = rollout.last_day + timedelta(days=1) if rollout.last_day else rollout.trial.started_on
    last = last_complete_day(loop, as_of)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _record(settings: Settings, loop: Loop, rollout: Rollout, verdict: Verdict, day: date, log: Log) -> Entry:
    looks = {t: [k.day.isoformat(), k.fraction, k.z, k.is_crossed] for t, k in verdict.looks.items()}
    payload = {
        "experiment_id": rollout.experiment_id,
        "day": day,
        "action": verdict.action,
        "to_apply": verdict.action != "hold",
        "stage": rollout.trial.stage_name,
        "stage_index": rollout.trial.stage_index,
        "reasons": list(verdict.reasons),
        "looks": looks,
        "evidence": verdict.evidence,
        "champion_version": rollout.champion_version,
        "challenger_version": rollout.challenger_version,
    }
    log(f"{day} {rollout.trial.stage_name}: {verdict.action}: {'; '.join(verdict.reasons)}")
    return ledger_of(settings).append(
        loop=loop.loop,
        kind="rollout_decision",
        key=f"look:{rollout.experiment_id}:{day}",
        as_of=datetime.combine(day + timedelta(days=1), datetime.min.time()),
        payload=payload,
    )


def apply(settings: Settings, loop: Loop, decision: str, as_of: datetime, log: Log) -> dict[str, Any]:
    """Carry out the decision with this ledger key; applying it again changes nothing.

    `as_of` is when it takes effect: the next scoring run starts there.

    Raises:
        NoDecision: the ledger has no such decision, or a later one has been applied.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    entry = next((e for e in entries if e.key == decision and e.kind == "rollout_decision"), None)
    if entry is None or not entry.payload["to_apply"]:
        raise NoDecision(f"the ledger has no decision {decision!r} to carry out; decide_rollout writes it")
    applied = next((e for e in entries if e.key == f"applied:{decision}"), None)
    if applied is not None:
        return {"action": applied.payload["action"], "as_of": applied.as_of, "again": True}
    state = fold(entries)
    if state.rollout is None or state.rollout.undone != decision:
        raise NoDecision(f"{decision!r} does not wait to be carried out")
    action, rollout = entry.payload["action"], state.rollout
    payload: dict[str, Any] = {
        "experiment_id": rollout.experiment_id,
        "decision": decision,
        "action": action,
        "champion_version": rollout.champion_version,
        "challenger_version": rollout.challenger_version,
    }
    routing = routing_after(loop, entries, state, rollout, action, decision, as_of)
    if action == "advance":
        index = rollout.trial.stage_index + 1
        payload |= {"stage_index": index, "stage": loop.rollout.stages[index].name}
    registry = Registry(settings)
    if action == "promote":
        adopt_profile(settings, loop, entries, rollout.challenger_version)
        registry.set_alias(loop.loop, "champion", rollout.challenger_version)
    if action != "advance":
        registry.drop_alias(loop.loop, "challenger")
    write_routing(settings, routing)
    ledger.append(
        loop=loop.loop,
        kind="rollout_applied",
        key=f"applied:{decision}",
        as_of=as_of,
        payload=payload,
        exact=True,
    )
    log(
        f"{action} is in force: version {routing.champion_version} serves, share of the challenger {routing.share:.0%}"
    )
    _publish(settings, loop, fold(ledger.entries(loop.loop)), as_of)
    return {"action": action, "as_of": as_of.isoformat(), "again": False}


def sha256_of(entries: list[Entry], version: int) -> str:
    """SHA-256 of a version's model.json, as the ledger recorded it when it was offered.

    Raises:
        NoDecision: no entry offered this version: it can't serve.
    """
    for entry in reversed(entries):
        if entry.kind == "bootstrap" and entry.payload["model_version"] == version:
            return str(entry.payload["model_sha256"])
        if entry.kind == "rollout_started" and entry.payload["challenger_version"] == version:
            return str(entry.payload["model_sha256"])
    raise NoDecision(f"the ledger never offered version {version}")


def routing_after(
    loop: Loop,
    entries: list[Entry],
    state: LoopState,
    rollout: Rollout,
    action: str,
    decision: str,
    as_of: datetime,
) -> Routing:
    """What serves once `action` is in force."""
    champion = rollout.challenger_version if action == "promote" else rollout.champion_version
    if action != "advance":
        return Routing(loop.loop, champion, sha256_of(entries, champion), as_of, decision)
    stage = loop.rollout.stages[rollout.trial.stage_index + 1]
    return Routing(
        loop.loop,
        champion,
        sha256_of(entries, champion),
        as_of,
        decision,
        experiment_id=rollout.experiment_id,
        challenger_version=rollout.challenger_version,
        challenger_sha256=sha256_of(entries, rollout.challenger_version),
        stage=stage.name,
        share=stage.share,
    )


def _publish(settings: Settings, loop: Loop, state: LoopState, as_of: datetime) -> None:
    running: dict[str, Any] | None = None
    if state.rollout is not None:
        stage = loop.rollout.stages[state.rollout.trial.stage_index]
        running = {
            "experiment_id": state.rollout.experiment_id,
            "champion_version": state.rollout.champion_version,
            "challenger_version": state.rollout.challenger_version,
            "stage": stage.name,
            "share": stage.share,
            "since": state.rollout.trial.stage_started_on,
            "last_day": state.rollout.last_day,
        }
    publish(
        settings,
        loop.loop,
        "rollout",
        {"as_of": as_of, "champion_version": state.champion_version, "running": running},
    )


def _publish_comparison(
    settings: Settings,
    loop: Loop,
    rollout: Rollout,
    paired: pd.DataFrame,
    arms: pd.DataFrame,
    as_of: datetime,
) -> None:
    mature = last_complete_day(loop, as_of - timedelta(hours=loop.label.maturity_hours))
    known = read(settings, loop.loop, "comparisons") or {}
    shown = compare(loop, paired, arms, rollout.trial.started_on, mature)
    versions = {
        "champion_version": rollout.champion_version,
        "challenger_version": rollout.challenger_version,
    }
    publish(settings, loop.loop, "comparisons", {**known, rollout.experiment_id: {**versions, **shown}})
