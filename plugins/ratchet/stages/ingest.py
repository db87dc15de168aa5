"""Land a range of received dates and judge its partitions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from ratchet.landing.land import land_range
from ratchet.loop import Loop
from ratchet.quality.gates import gate_landing
from ratchet.settings import Settings
from ratchet.stages.records import record_gate
from ratchet.warehouse.duckdb import open_warehouse

Log = Callable[[str], None]


def land(settings: Settings, loop: Loop, start: date, end: date, log: Log) -> dict[str, Any]:
    """Land every file received from `start` to `end`; counts of the range, by source.

    Raises:
        LandingError: rows read are not rows landed + quarantined + duplicate; nothing of that date is kept.
    """
    with open_warehouse(settings, purpose=f"landing {loop.loop} {start}..{end}") as warehouse:
        report = land_range(loop, settings, warehouse, start, end, log)
    by_source: dict[str, dict[str, int]] = {}
    for file in report.files:
        counts = by_source.setdefault(file.source, {"read": 0, "landed": 0, "quarantined": 0, "duplicate": 0})
        counts["read"] += file.rows_read
        counts["landed"] += file.rows_landed
        counts["quarantined"] += file.rows_quarantined
        counts["duplicate"] += file.rows_duplicate
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "files": len(report.files),
        "sources": by_source,
    }


def judge_landing(
    settings: Settings, loop: Loop, start: date, end: date, as_of: datetime, log: Log
) -> dict[str, Any]:
    """Judge the range's raw partitions; the verdicts are kept and one ledger entry says how many of each."""
    with open_warehouse(settings, purpose=f"landing gate {loop.loop} {start}..{end}") as warehouse:
        report = gate_landing(loop, settings, warehouse, start, end, as_of)
    summary = record_gate(settings, loop, report, f"landing:{start}:{end}", log)
    return {**summary, "as_of": as_of.isoformat()}
