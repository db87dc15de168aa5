"""Judge a running rollout day by day, and carry out what the verdict changes.

`decide` writes looks; `apply` acts, and only on a decision that is in the ledger. It records first and projects
then (`ratchet.stages.serving`): a run that died in between is finished by its retry, or by the next scoring.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.certificate.contents import after, difference, recorded, sums_of
from ratchet.certificate.judges import judge_look, look_record
from ratchet.experiment.state import Verdict
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import Rollout, fold
from ratchet.loop import Loop
from ratchet.published import publish, read
from ratchet.settings import Settings
from ratchet.stages.comparison import compare
from ratchet.stages.jobs import end_of_day, last_complete_day
from ratchet.stages.profiles import adopt_profile
from ratchet.stages.provenance import judging
from ratchet.stages.records import ledger_of
from ratchet.stages.serving import effective_as_of, loop_as_agreed, offered, project, terms_of
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]


class NoDecision(RuntimeError):
    """Applying was asked for without a decision that waits; nothing was changed."""


def decide(
    settings: Settings, loop: Loop, as_of: datetime, log: Log, *, is_dry: bool = False
) -> dict[str, Any] | None:
    """Judge each day since the last look that is over at `as_of`; the decision to apply, or None.

    The terms are those recorded when the rollout started, whatever the loop file says now. Looks stop at the
    first verdict that ends the rollout; after an `advance`, also one that was never carried out, the rest of
    the range is still looked at for harm. A dry run logs the next day's verdict and records nothing.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    state = fold(entries)
    rollout = state.rollout
    if rollout is None:
        log("no rollout is running")
        if not is_dry:
            _publish(settings, loop, entries, as_of)
        return None
    built = read(settings, loop.loop, "partitions")
    if built is not None and as_of.isoformat() > built["as_of"]:
        raise NoDecision(f"nothing was built as of {as_of}: the newest build is as of {built['as_of']}")
    agreed = loop_as_agreed(loop, entries, rollout)
    if terms_of(agreed) != terms_of(loop):
        log("the loop file was changed since the rollout started; it is judged by the terms it started with")
    pending = _waiting(entries, rollout)
    if pending is not None:
        log(f"decision {pending.key} was not carried out yet")
        if pending.payload["action"] != "advance" and not is_dry:
            return {"decision": pending.key, "as_of": as_of.isoformat()}
    where = (loop.loop, rollout.experiment_id)
    with open_warehouse(settings, purpose=f"judging {rollout.experiment_id}", read_only=True) as warehouse:
        paired = warehouse.frame(
            "select * from experiments.exp_paired_daily where loop = ? and experiment_id = ? order by 3, 4, 5",
            where,
        )
        arms = warehouse.frame(
            "select * from experiments.exp_arm_daily where loop = ? and experiment_id = ? order by 3, 4",
            where,
        )
    frames = {"paired": paired, "arms": arms}
    if is_dry:
        for day in _days(loop, rollout, as_of)[:1]:
            verdict = judge_look(agreed, rollout, sums_of(frames, rollout.trial.started_on, day), day)
            log(f"dry run: {day} would be {verdict.action}: {'; '.join(verdict.reasons)}")
        return None
    current: Rollout | None = rollout
    made, before = judging(settings, loop), recorded(entries, rollout.experiment_id)
    for day in _days(loop, rollout, as_of):
        if current is None:
            break
        sums = sums_of(frames, current.trial.started_on, day)
        verdict = judge_look(agreed, current, sums, day)
        basis = {
            "after": entries[-1].hash,
            "started": offered(entries, current.challenger_version).hash,
            "sums": difference(before, sums),
            "made": made,
        }
        entry = _record(settings, loop, current, verdict, day, basis, log)
        entries, before = ledger.entries(loop.loop), after(before, entry.payload["sums"])
        current = fold(entries).rollout
        if entry.payload["to_apply"]:
            pending = entry
            if entry.payload["action"] != "advance":
                break
    _publish(settings, loop, ledger.entries(loop.loop), as_of)
    _publish_comparison(settings, loop, rollout, paired, arms, as_of)
    return None if pending is None else {"decision": pending.key, "as_of": as_of.isoformat()}


def _waiting(entries: list[Entry], rollout: Rollout) -> Entry | None:
    return next((entry for entry in entries if entry.key == rollout.undone), None)


def _days(loop: Loop, rollout: Rollout, as_of: datetime) -> list[date]:
    first = rollout.last_day + timedelta(days=1) if rollout.last_day else rollout.trial.started_on
    last = last_complete_day(loop, as_of)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _record(
    settings: Settings,
    loop: Loop,
    rollout: Rollout,
    verdict: Verdict,
    day: date,
    basis: dict[str, Any],
    log: Log,
) -> Entry:
    """Write one look: the verdict, and the `basis` from which `ratchet decision replay` computes it again."""
    log(f"{day} {rollout.trial.stage_name}: {verdict.action}: {'; '.join(verdict.reasons)}")
    return ledger_of(settings).append(
        loop=loop.loop,
        kind="rollout_decision",
        key=f"look:{rollout.experiment_id}:{day}",
        as_of=end_of_day(loop, day),
        payload={**look_record(rollout, verdict, day), **basis},
    )


def apply(settings: Settings, loop: Loop, decision: str, as_of: datetime, log: Log) -> dict[str, Any]:
    """Carry out the decision with this ledger key; applying it again changes nothing.

    `as_of` is when it takes effect: the next scoring run starts there.

    Raises:
        NoDecision: the ledger has no such decision, or another one waits.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    entry = next((e for e in entries if e.key == decision and e.kind == "rollout_decision"), None)
    if entry is None or not entry.payload["to_apply"]:
        raise NoDecision(f"the ledger has no decision {decision!r} to carry out; decide_rollout writes it")
    # What takes effect does so from now on, whatever as-of an old run carries.
    as_of = max(
        effective_as_of(read(settings, loop.loop, "partitions"), as_of), datetime.fromisoformat(entry.as_of)
    )
    applied = next((e for e in entries if e.key == f"applied:{decision}"), None)
    again = applied is not None
    if applied is None:
        rollout = fold(entries).rollout
        if rollout is None or rollout.undone != decision:
            raise NoDecision(f"{decision!r} does not wait to be carried out")
        applied = _append_applied(settings, loop, entry, entries, rollout, as_of)
    routing = project(settings, loop)
    promoted = int(applied.payload["challenger_version"])
    if applied.payload["action"] == "promote" and routing.champion_version == promoted:
        adopt_profile(settings, loop, entries, promoted)
    log(
        f"{applied.payload['action']}: version {routing.champion_version} serves, "
        f"share of the challenger {routing.share:.0%}"
    )
    _publish(settings, loop, ledger.entries(loop.loop), as_of)
    return {"action": applied.payload["action"], "as_of": applied.as_of, "again": again}


def _append_applied(
    settings: Settings, loop: Loop, entry: Entry, entries: list[Entry], rollout: Rollout, as_of: datetime
) -> Entry:
    payload: dict[str, Any] = {
        "experiment_id": rollout.experiment_id,
        "decision": entry.key,
        "action": entry.payload["action"],
        "champion_version": rollout.champion_version,
        "challenger_version": rollout.challenger_version,
    }
    if entry.payload["action"] == "advance":
        index = rollout.trial.stage_index + 1
        stages = loop_as_agreed(loop, entries, rollout).rollout.stages
        payload |= {"stage_index": index, "stage": stages[index].name}
    return ledger_of(settings).append(
        loop=loop.loop,
        kind="rollout_applied",
        key=f"applied:{entry.key}",
        as_of=as_of,
        payload=payload,
        exact=True,
    )


def _publish(settings: Settings, loop: Loop, entries: list[Entry], as_of: datetime) -> None:
    state = fold(entries)
    running: dict[str, Any] | None = None
    if state.rollout is not None:
        agreed = loop_as_agreed(loop, entries, state.rollout)
        stage = agreed.rollout.stages[state.rollout.trial.stage_index]
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
