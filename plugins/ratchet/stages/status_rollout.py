"""The lines of `ratchet status` about trials, holdbacks, what waits for people or for a release day, and the drill."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState
from ratchet.loop import Loop
from ratchet.stages.approvals import pending, waiting
from ratchet.triggers.releases import release_block

Lines = list[tuple[str, str]]


def release_lines(
    loop: Loop, entries: Sequence[Entry], state: LoopState, built: dict[str, Any] | None
) -> Lines:
    """What is held back, what waits and for what, which days are closed to releases, how the last drill went."""
    lines: Lines = []
    held = state.holdback
    if held is not None:
        lines.append(
            (
                "held back",
                f"version {held.previous_version} keeps {held.share:.0%} since {held.trial.started_on}, for "
                f"{held.days} days, last look {held.last_day or 'none yet'}",
            )
        )
    lines += exclusion_lines(state)
    decision = pending(entries)
    if decision is not None:
        lines.append(("to apply", decision.key))
    asked = waiting(entries)
    if asked is not None:
        lines.append(("waits for people", f"{asked[0].payload['action']}: {asked[1].told()}"))
    if built is not None:
        closed = release_block(loop, "start", datetime.fromisoformat(built["as_of"]))
        if closed is not None:
            lines.append(("no releases", closed))
    request = state.request
    if request is not None and any(e.key == f"offer_waits:{request.key}" for e in entries):
        lines.append(
            ("waits to start", f"the candidate of {request.key} passed, and waits for a release day")
        )
    if state.withdrawn_versions:
        lines.append(("withdrawn", ", ".join(f"version {version}" for version in state.withdrawn_versions)))
    drilled = next(
        (e for e in reversed(entries) if e.kind == "drill" and e.payload.get("subject") == "rollback"), None
    )
    if drilled is not None:
        lines.append(("rollback drill", _drilled(drilled)))
    elif state.champion_version is not None:
        lines.append(("rollback drill", "never run (`ratchet drill rollback`)"))
    return lines


def exclusion_lines(state: LoopState) -> Lines:
    """Which cohorts are left out, who serves them, and why."""
    lines: Lines = []
    if state.rollout is not None and state.rollout.trial.admission is not None:
        out = state.rollout.trial.admission.excluded
        told = "; ".join(f"{name} ({why})" for name, why in out) or "no known cohort"
        lines.append(("excluded", f"from version {state.rollout.challenger_version}: {told}"))
    for kept in state.kept:
        told = "; ".join(f"{name} ({why})" for name, why in kept.admission.excluded)
        lines.append(("kept", f"version {kept.version} serves {told}"))
    return lines


def _drilled(entry: Entry) -> str:
    data = entry.payload
    if data["outcome"] == "passed":
        seconds = data["seconds"]
        ready = seconds["decide"] + seconds["project"]
        return (
            f"{entry.as_of[:10]}: version {data['to']} would serve after {ready:.1f} s, its first scores "
            f"{seconds['first_score']:.1f} s later"
        )
    return f"{entry.as_of[:10]}: {data['outcome']}: {'; '.join(data['problems'])}"
