"""Land a range of received dates and judge its partitions."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pandas as pd

from ratchet.landing.land import land_range
from ratchet.landing.report import Progress
from ratchet.loop import Loop
from ratchet.published import publish
from ratchet.quality.gates import gate_landing
from ratchet.settings import Settings
from ratchet.stages.records import record_gate
from ratchet.stages.timings import remember
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

Log = Callable[[str], None]


def land(
    settings: Settings,
    loop: Loop,
    start: date,
    end: date,
    log: Log,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Land every file received from `start` to `end`; counts of the range, by source.

    Raises:
        LandingError: rows read are not rows landed + quarantined + duplicate; nothing of that date is kept.
    """
    with open_warehouse(settings, purpose=f"landing {loop.loop} {start}..{end}") as warehouse:
        started = time.monotonic()
        report = land_range(loop, settings, warehouse, start, end, log, progress)
    remember(
        settings, loop, "landing", report.rows_landed + report.rows_quarantined, time.monotonic() - started
    )
    by_source: dict[str, dict[str, int]] = {}
    for file in report.files:
        counts = by_source.setdefault(file.source, {"read": 0, "landed": 0, "quarantined": 0, "duplicate": 0})
        counts["read"] += file.rows_read
        counts["landed"] += file.rows_landed
        counts["quarantined"] += file.rows_quarantined
        counts["duplicate"] += file.rows_duplicate
        if file.rows_forgotten:
            counts["forgotten"] = counts.get("forgotten", 0) + file.rows_forgotten
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
        blocked = warehouse.frame(
            "select border, table_name, partition_date, reason from ops.partition_gates "
            "where loop = ? and border = 'landing' and verdict = 'block' order by 2, 3",
            (loop.loop,),
        )
        beside = _beside(warehouse, loop.loop)
    blocked["partition_date"] = pd.to_datetime(blocked["partition_date"]).dt.date.astype(str)
    # Said at once: a landing without a green partition starts no build that would say it.
    publish(settings, loop.loop, "landing", {"as_of": as_of, "blocked": blocked.to_dict("records"), **beside})
    summary = record_gate(settings, loop, report, f"landing:{start}:{end}", log)
    return {**summary, "as_of": as_of.isoformat()}


def _beside(warehouse: Warehouse, loop: str) -> dict[str, Any]:
    """What did not go into a column of its own: rows held in quarantine, and fields that no contract names."""
    held = warehouse.frame(
        "select source, count(*) as n from raw.quarantine where loop = ? and state = 'held' "
        "group by source order by source",
        (loop,),
    )
    undeclared = warehouse.frame(
        'select source, column_name, cast(sum("rows") as bigint) as n, max(received_date) as last_date '
        "from ops.extra_columns where loop = ? group by source, column_name order by source, column_name",
        (loop,),
    )
    return {
        "held": {str(source): int(n) for source, n in held.itertuples(index=False)},
        "undeclared": [
            {
                "source": str(source),
                "column": str(name),
                "rows": int(n),
                "last": str(pd.Timestamp(last).date()),
            }
            for source, name, n, last in undeclared.itertuples(index=False)
        ][:100],
    }
