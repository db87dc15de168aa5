"""Carry out a decision that is in the ledger: of a rollout, or of the holdback after one.

It records first and projects then (`ratchet.stages.serving`): a run that died in between is finished by its retry,
or by the next scoring. What waits for people or for a day on which releases are allowed is refused, and changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pandas as pd

from ratchet.ledger.approvals import standing
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, fold
from ratchet.ledger.trials import Holdback, Rollout
from ratchet.loop import Loop
from ratchet.published import read
from ratchet.registry.models import Registry
from ratchet.settings import Settings
from ratchet.stages.approvals import DECISIONS
from ratchet.stages.profiles import adopt_profile
from ratchet.stages.records import ledger_of
from ratchet.stages.rollback import NoTarget, find_target
from ratchet.stages.running import publish_running
from ratchet.stages.serving import effective_as_of, loop_as_agreed, project
from ratchet.triggers.releases import release_block
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]


class NoDecision(RuntimeError):
    """Applying was asked for without a decision that waits; nothing was changed."""


class Waits(NoDecision):
    """The decision waits for people, or for a day on which releases are allowed; nothing was changed."""


def apply(settings: Settings, loop: Loop, decision: str, as_of: datetime, log: Log) -> dict[str, Any]:
    """Carry out the decision with this ledger key; applying it again changes nothing.

    `as_of` is when it takes effect: the next scoring run starts there. A decision that people rejected, or did not
    answer in time, ends the rollout: the champion stays.

    Raises:
        NoDecision: the ledger has no such decision, or another one waits.
        Waits: it may not be carried out yet.
        NoTarget: it rolls a promotion back, and no former champion can serve.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    entry = next((e for e in entries if e.key == decision and e.kind in DECISIONS), None)
    if entry is None or not entry.payload["to_apply"]:
        raise NoDecision(f"the ledger has no decision {decision!r} to carry out; decide_rollout writes it")
    # What takes effect does so from now on, whatever as-of an old run carries.
    as_of = max(
        effective_as_of(read(settings, loop.loop, "partitions"), as_of), datetime.fromisoformat(entry.as_of)
    )
    applied = next((e for e in entries if e.key == f"applied:{decision}"), None)
    again = applied is not None
    if applied is None:
        state = fold(entries)
        trial = next(
            (t for t in (state.rollout, state.holdback) if t is not None and t.undone == decision), None
        )
        if trial is None:
            raise NoDecision(f"{decision!r} does not wait to be carried out")
        action = _allowed(loop, entries, entry, as_of)
        if isinstance(trial, Rollout):
            applied = _append_rollout(settings, loop, entry, entries, trial, action, as_of)
        else:
            applied = _append_holdback(settings, loop, entry, entries, state, trial, action, as_of, log)
    entries = ledger.entries(loop.loop)
    routing = project(settings, loop)
    changed = {("rollout_applied", "promote"), ("holdback_applied", "roll_back")}
    if routing.decision == applied.key and (applied.kind, applied.payload["action"]) in changed:
        adopt_profile(settings, loop, entries, routing.champion_version)
    share = f", share of the challenger {routing.share:.0%}" if routing.challenger_version is not None else ""
    log(f"{applied.payload['action']}: version {routing.champion_version} serves{share}")
    publish_running(settings, loop, entries, as_of)
    return {"action": applied.payload["action"], "as_of": applied.as_of, "again": again}


def _allowed(loop: Loop, entries: list[Entry], decision: Entry, as_of: datetime) -> str:
    """The action to carry out: the decision's, or `reject` when people said no or nothing.

    Raises:
        Waits: people have not answered, or nothing is released on that day.
    """
    stands = standing(entries, decision)
    if stands.outcome == "waiting":
        raise Waits(f"{decision.key} {stands.told()}")
    if stands.outcome in ("rejected", "timeout"):
        return "reject"
    action = str(decision.payload["action"])
    block = release_block(loop, action, as_of)
    if block is not None:
        raise Waits(f"{decision.key} waits: {block}")
    return action


def _append_rollout(
    settings: Settings,
    loop: Loop,
    decision: Entry,
    entries: list[Entry],
    rollout: Rollout,
    action: str,
    as_of: datetime,
) -> Entry:
    payload: dict[str, Any] = {
        "experiment_id": rollout.experiment_id,
        "decision": decision.key,
        "action": action,
        "champion_version": rollout.champion_version,
        "challenger_version": rollout.challenger_version,
    }
    terms = loop_as_agreed(loop, entries, rollout)
    agreed, agreed_cohorts = terms.rollout, terms.cohorts.without_evidence
    if action == "advance":
        index = rollout.trial.stage_index + 1
        payload |= {"stage_index": index, "stage": agreed.stages[index].name}
    if agreed_cohorts == "exclude" and action in ("exclude", "promote"):
        payload["admission"] = decision.payload["evidence"]["admission"]
    if action == "reject":
        payload["reason"] = standing(entries, decision).told()
    if action == "promote" and agreed.holdback is not None:
        experiment = f"{rollout.experiment_id}-holdback"
        # Before the entry: an experiment that no entry names is never drawn, one that no row names is never judged.
        declare_experiment(
            settings, loop, experiment, rollout.champion_version, rollout.challenger_version,
            rest_version=rollout.challenger_version,
        )  # fmt: skip
        payload["holdback"] = {
            "experiment_id": experiment, "share": agreed.holdback.share, "days": agreed.holdback.days
        }  # fmt: skip
    return ledger_of(settings).append(
        loop=loop.loop, kind="rollout_applied", key=f"applied:{decision.key}", as_of=as_of, payload=payload, exact=True
    )  # fmt: skip


def _append_holdback(
    settings: Settings,
    loop: Loop,
    decision: Entry,
    entries: list[Entry],
    state: LoopState,
    held: Holdback,
    action: str,
    as_of: datetime,
    log: Log,
) -> Entry:
    payload: dict[str, Any] = {
        "experiment_id": held.experiment_id,
        "decision": decision.key,
        "action": action,
        "champion_version": held.champion_version,
        "challenger_version": held.challenger_version,
    }
    if action == "roll_back":
        try:
            target = find_target(Registry(settings), loop, entries, state)
        except NoTarget as none:
            raise NoTarget(f"{decision.key} found harm, and {none}") from None
        for item in target.passed_over:
            log(f"passed over version {item.version}: {item.reason}")
        payload |= {"from": state.champion_version, "to": target.version, "model_sha256": target.sha256}
    return ledger_of(settings).append(
        loop=loop.loop, kind="holdback_applied", key=f"applied:{decision.key}", as_of=as_of, payload=payload, exact=True
    )  # fmt: skip


def declare_experiment(
    settings: Settings,
    loop: Loop,
    experiment: str,
    champion: int,
    challenger: int,
    *,
    rest_version: int | None = None,
) -> None:
    """Say in the warehouse which versions an experiment compares, and which serves the rest (else the champion)."""
    with open_warehouse(settings, purpose=f"starting {experiment}") as warehouse, warehouse.transaction():
        warehouse.execute(
            "delete from ops.experiments where loop = ? and experiment_id = ?", (loop.loop, experiment)
        )
        row = {"loop": loop.loop, "experiment_id": experiment, "champion_version": champion,
               "challenger_version": challenger}  # fmt: skip
        if rest_version is not None:
            row["rest_version"] = rest_version
        warehouse.append("ops.experiments", pd.DataFrame([row]))
