"""What on-call does with held rows: release or dismiss them, and have their day judged again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.landing.contract import load_contract
from ratchet.landing.held import NoSuchRow, dismiss, row
from ratchet.landing.partition import Partition
from ratchet.landing.release import Released, release
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.ingest import judge_landing
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]


def release_held(
    settings: Settings,
    loop: Loop,
    source: str,
    day: date,
    log: Log,
    *,
    reason: str | None = None,
    corrected: Path | None = None,
    dry_run: bool = False,
) -> tuple[Released, dict[str, Any] | None]:
    """Try the held rows of a source and day again; what became of them, and the gate's summary of the day.

    The day is judged again when anything changed; it is dirty then, and the next build takes it.

    Raises:
        LandingError, CorrectionError: see `release`.
    """
    with open_warehouse(settings, purpose=f"releasing {loop.loop} {source} {day}") as warehouse:
        done = release(
            loop,
            settings,
            warehouse,
            source,
            day,
            now=_now(),
            reason=reason,
            corrected=corrected,
            dry_run=dry_run,
        )
    if dry_run or not done.changed:
        return done, None
    return done, _judged(settings, loop, day, log)


def dismiss_held(settings: Settings, loop: Loop, names: Sequence[str], why: str, log: Log) -> list[date]:
    """Settle held rows that nobody wants; the days that were judged again.

    Raises:
        NoSuchRow: an id is not that of one held row.
    """
    with open_warehouse(settings, purpose=f"dismissing held rows of {loop.loop}") as warehouse:
        wanted: dict[tuple[str, date], list[str]] = {}
        for name in names:
            found = row(warehouse, loop.loop, name)
            if found["state"] != "held":
                raise NoSuchRow(f"{name} is {found['state']} already")
            key = (str(found["source"]), pd.Timestamp(found["received_date"]).date())
            wanted.setdefault(key, []).append(str(found["quarantine_id"]))
        for (source, day), ids in sorted(wanted.items()):
            contract = load_contract(settings.dbt_dir, source)
            with warehouse.lock(f"land:{loop.loop}:{source}:{day}"), warehouse.transaction():
                dismiss(warehouse, Partition(warehouse, loop.loop, contract, day, None), ids, why, _now())
    days = sorted({day for _, day in wanted})
    for day in days:
        _judged(settings, loop, day, log)
    return days


def _judged(settings: Settings, loop: Loop, day: date, log: Log) -> dict[str, Any]:
    as_of = datetime.combine(day + timedelta(days=1), time.min)
    return judge_landing(settings, loop, day, day, as_of, log)


def _now() -> datetime:
    """For the record of who settled what when; nothing is decided by it."""
    return datetime.now(UTC).replace(tzinfo=None)
