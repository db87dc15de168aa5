"""Judge a running rollout, or the holdback after one, day by day.

`decide` writes looks and answers with the decision that is to be carried out; `ratchet.stages.applying` acts.
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
from ratchet.ledger.state import fold
from ratchet.ledger.trials import Holdback, Rollout
from ratchet.loop import Loop
from ratchet.loop_days import end_of_day, last_complete_day
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages.applying import NoDecision
from ratchet.stages.approvals import expire, needed, pending
from ratchet.stages.provenance import judging
from ratchet.stages.records import ledger_of
from ratchet.stages.releasing import offer_waiting
from ratchet.stages.requested import approving
from ratchet.stages.running import publish_comparison, publish_running
from ratchet.stages.serving import loop_as_agreed, offered, terms_of
from ratchet.triggers.releases import release_block
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]


#: The sums that a look is judged from: table, and the columns that order its rows.
TABLES = {
    "paired": ("exp_paired_daily", "3, 4, 5"),
    "arms": ("exp_arm_daily", "3, 4"),
    "exposure": ("exp_exposure_daily", "3, 4, 5, 6"),
}


def decide(
    settings: Settings, loop: Loop, as_of: datetime, log: Log, *, is_dry: bool = False
) -> dict[str, Any] | None:
    """Judge each day since the last look that is over at `as_of`; the decision to apply, or None.

    The terms are those recorded when the rollout started, whatever the loop file says now. Looks stop at the first
    verdict that ends the rollout; while an earlier `advance` or `promote` waits (for its run, for people, for a day
    on which releases are allowed) the rest of the range is still looked at for harm. With `waits` in the answer the
    decision is not to be carried out yet. A dry run logs the next day's verdict and records nothing.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    state = fold(entries)
    if state.rollout is None and not is_dry:
        offer_waiting(settings, loop, as_of, log)
        entries = ledger.entries(loop.loop)
        state = fold(entries)
    trial = state.rollout or state.holdback
    if trial is None:
        log("no rollout is running")
        if not is_dry:
            publish_running(settings, loop, entries, as_of)
        return None
    built = read(settings, loop.loop, "partitions")
    if built is not None and as_of.isoformat() > built["as_of"]:
        raise NoDecision(f"nothing was built as of {as_of}: the newest build is as of {built['as_of']}")
    agreed = loop_as_agreed(loop, entries, trial)
    if terms_of(agreed) != terms_of(loop):
        log("the loop file was changed since the rollout started; it is judged by the terms it started with")
    undecided = pending(entries)
    if undecided is not None:
        log(f"decision {undecided.key} was not carried out yet")
        if undecided.payload["action"] not in ("advance", "promote") and not is_dry:
            return {"decision": undecided.key, "as_of": as_of.isoformat()}
    frames = _frames(settings, loop, trial)
    if is_dry:
        for day in _days(loop, trial, as_of)[:1]:
            verdict = judge_look(agreed, trial, sums_of(frames, trial.trial.started_on, day), day)
            log(f"dry run: {day} would be {verdict.action}: {'; '.join(verdict.reasons)}")
        return None
    made, before = judging(settings, loop), recorded(entries, trial.experiment_id)
    asked = approving(loop, entries, offered(entries, trial.challenger_version).payload.get("request"))
    current: Rollout | Holdback | None = trial
    for day in _days(loop, trial, as_of):
        if current is None or current.experiment_id != trial.experiment_id:
            break
        sums = sums_of(frames, current.trial.started_on, day)
        verdict = judge_look(agreed, current, sums, day)
        basis = {
            "after": entries[-1].hash,
            "started": offered(entries, current.challenger_version).hash,
            "sums": difference(before, sums),
            "made": made,
            "approval": needed(asked, verdict.action, as_of, verdict.evidence.get("needs_signature_for", ())),
        }
        entry = _record(settings, loop, current, verdict, day, basis, log)
        entries, before = ledger.entries(loop.loop), after(before, entry.payload["sums"])
        state = fold(entries)
        current = state.rollout or state.holdback
        if entry.payload["to_apply"]:
            undecided = entry
            if entry.payload["action"] != "advance":
                break
    publish_running(settings, loop, ledger.entries(loop.loop), as_of)
    publish_comparison(settings, loop, trial, frames["paired"], frames["arms"], as_of)
    return None if undecided is None else _ready(settings, loop, undecided, as_of, log)


def _ready(settings: Settings, loop: Loop, decision: Entry, as_of: datetime, log: Log) -> dict[str, Any]:
    """The decision, and what it waits for if it does."""
    found = {"decision": decision.key, "as_of": as_of.isoformat()}
    stands = expire(settings, loop, decision, as_of, log)
    why = stands.told() if stands.outcome == "waiting" else None
    if why is None and stands.outcome in ("automatic", "approved"):
        why = release_block(loop, decision.payload["action"], as_of)
    if why is None:
        return found
    log(f"{decision.key} waits: {why}")
    return {**found, "waits": why}


def _frames(settings: Settings, loop: Loop, trial: Rollout | Holdback) -> dict[str, pd.DataFrame]:
    """The experiment's sums, by the name under which the judge takes them."""
    where, frames = (loop.loop, trial.experiment_id), {}
    with open_warehouse(settings, purpose=f"judging {trial.experiment_id}", read_only=True) as warehouse:
        for name, (table, keys) in TABLES.items():
            # Names of our own models; the values are bound.
            sql = f"select * from experiments.{table} where loop = ? and experiment_id = ? order by {keys}"  # noqa: S608
            frames[name] = warehouse.frame(sql, where)
    return frames


def _days(loop: Loop, trial: Rollout | Holdback, as_of: datetime) -> list[date]:
    first = trial.last_day + timedelta(days=1) if trial.last_day else trial.trial.started_on
    last = last_complete_day(loop, as_of)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _record(
    settings: Settings,
    loop: Loop,
    rollout: Rollout | Holdback,
    verdict: Verdict,
    day: date,
    basis: dict[str, Any],
    log: Log,
) -> Entry:
    """Write one look: the verdict, and the `basis` from which `ratchet decision replay` computes it again."""
    log(f"{day} {rollout.trial.stage_name}: {verdict.action}: {'; '.join(verdict.reasons)}")
    return ledger_of(settings).append(
        loop=loop.loop,
        kind="rollout_decision" if isinstance(rollout, Rollout) else "holdback_decision",
        key=f"look:{rollout.experiment_id}:{day}",
        as_of=end_of_day(loop, day),
        payload={**look_record(rollout, verdict, day), **basis},
    )
