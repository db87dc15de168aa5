"""Ledger entries that several stages write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from ratchet.ledger.chain import canonical, plain
from ratchet.ledger.state import LoopState, fold
from ratchet.ledger.store import Ledger
from ratchet.loop import Loop
from ratchet.quality.gates import GateReport
from ratchet.settings import Settings


def ledger_of(settings: Settings) -> Ledger:
    """The ledger of this installation, its end noted under `ledger-anchors/`."""
    # One anchor for each ledger: a rehearsal on a copy must not move the real one's. A home may be moved.
    name = settings.ledger_url.rpartition("@")[2].replace(str(settings.home), "home")
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return Ledger(settings.ledger_url, settings.home / "ledger-anchors" / f"{digest}.json")


def state_of(settings: Settings, loop: Loop) -> LoopState:
    """What the ledger says is true of `loop` now."""
    return fold(ledger_of(settings).entries(loop.loop))


def record_gate(
    settings: Settings, loop: Loop, report: GateReport, subject: str, log: Callable[[str], None]
) -> dict[str, Any]:
    """Write a gate's verdict to the ledger; how many partitions are green, warned and blocked, and which.

    The same partitions may be judged again (a late file, a rebuild): the entry's key holds a digest of the
    verdicts, so that a retry adds nothing and a changed verdict adds one entry.
    """
    counts = {"pass": 0, "warn": 0, "block": 0}
    for verdict in report.verdicts:
        counts[verdict.verdict] += 1
    blocked = [
        f"{v.table} {v.partition_date}: {'; '.join(v.reasons)}"
        for v in report.verdicts
        if v.verdict == "block"
    ]
    warned = [
        f"{v.table} {v.partition_date}: {'; '.join(v.reasons)}"
        for v in report.verdicts
        if v.verdict == "warn"
    ]
    payload = plain(
        {
            "border": report.border,
            "subject": subject,
            "partitions": counts,
            "rows": sum(v.rows for v in report.verdicts),
            "expectations_run": report.expectations_run,
            "blocked": blocked[:50],
            "warned": warned[:50],
        }
    )
    digest = hashlib.sha256(canonical(payload).encode()).hexdigest()[:12]
    ledger_of(settings).append(
        loop=loop.loop, kind="gate", key=f"gate:{subject}:{digest}", as_of=report.as_of, payload=payload
    )
    log(
        f"{report.border} gate: {counts['pass']} passed, {counts['warn']} passed with a note, {counts['block']} "
        f"blocked; {report.expectations_run} expectations over {payload['rows']} rows"
    )
    for line in blocked[:20]:
        log(f"blocked: {line}")
    return {"green": counts["pass"] + counts["warn"], "warned": warned[:20], "blocked": blocked, **counts}
