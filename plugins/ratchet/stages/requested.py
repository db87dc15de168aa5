"""What an urgent request changes for its own candidate: limits of gates, and who approves its promotion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ratchet.ledger.chain import Entry
from ratchet.loop import Loop
from ratchet.loop_terms import EvaluationGates
from ratchet.settings import Settings
from ratchet.stages.jobs import Job
from ratchet.stages.records import ledger_of


def as_requested(settings: Settings, loop: Loop, job: Job) -> Loop:
    """`loop` with the gate limits that the job's request recorded when it was opened."""
    entry = ledger_of(settings).find(loop.loop, job.request)
    limits: dict[str, Any] = {} if entry is None else entry.payload.get("gate_limits") or {}
    if not limits:
        return loop
    changed = EvaluationGates.model_validate({**loop.gates.evaluation.model_dump(), **limits})
    return loop.model_copy(update={"gates": loop.gates.model_copy(update={"evaluation": changed})})


def approving(loop: Loop, entries: Sequence[Entry], request: str | None) -> Loop:
    """`loop` with `approvals.urgent` in place of `approvals.promote`, where an urgent request made the challenger."""
    opened = next((e for e in entries if e.key == request and e.kind == "trigger"), None)
    if opened is None or opened.payload["tier"] != "urgent" or loop.approvals.urgent is None:
        return loop
    approvals = loop.approvals.model_copy(update={"promote": loop.approvals.urgent})
    return loop.model_copy(update={"approvals": approvals})
