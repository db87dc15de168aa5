"""Pull what tables and queues have into the landing folder, and compare with what landed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.connections import connection_url
from ratchet.landing.contract import load_contract
from ratchet.landing.spool import open_spool, spooled_files
from ratchet.landing.stream import StreamAddress, connect
from ratchet.landing.stream import drain as drain_stream
from ratchet.landing.table import Pulled, open_table
from ratchet.loop import Loop, Source
from ratchet.published import publish, read
from ratchet.settings import Settings
from ratchet.stages.ingest import judge_landing, land
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]
#: Days before a run's own whose rows are counted again in the table: what was committed late shows there.
RECOUNT_DAYS = 7
#: Days without a difference that the summary keeps.
KEEP_DAYS = 60
#: Received days that are believed lie this close to the loop's data at least.
MARGIN = timedelta(days=31)


def sources_by(loop: Loop, *adapters: str) -> list[str]:
    """The loop's sources with one of these adapters, in name order."""
    return sorted(name for name, source in loop.sources.items() if source.adapter in adapters)


def pull(
    settings: Settings,
    loop: Loop,
    start: date,
    end: date,
    log: Log,
    *,
    whole: bool,
) -> dict[str, Any]:
    """Pull the received dates [start, end] of tables, and all that queues have, into the landing folder.

    A table's run goes on where the last one ended, less the source's overlap; `whole` (a named range, a backfill)
    and a window that was pulled before take the whole window. `days` of the answer are the received days with
    spooled files that have not landed, by source.

    Raises:
        ConnectionMissing: a source's connection is not known.
        TableError, StreamError: a source could not be read; what was spooled stays and nothing is lost.
        SpoolError: the landing folder could not be written.
    """
    told: dict[str, dict[str, Any]] = {}
    for name in sources_by(loop, "table"):
        entry = loop.sources[name]
        told[name] = _pull_table(settings, loop, name, entry, start, end, log, whole=whole)
    for name in sources_by(loop, "stream"):
        told[name] = _drain_stream(settings, loop, name, loop.sources[name], log)
    _publish(settings, loop, told)
    counted = {name: {k: v for k, v in found.items() if k != "in_table"} for name, found in told.items()}
    return {"sources": counted, "days": not_landed(settings, loop, "table", "stream")}


def drain(settings: Settings, loop: Loop, log: Log) -> dict[str, Any]:
    """Pull all that queues have; the answer is that of `pull`.

    Raises:
        ConnectionMissing, StreamError, SpoolError: as `pull`.
    """
    told = {
        name: _drain_stream(settings, loop, name, loop.sources[name], log)
        for name in sources_by(loop, "stream")
    }
    _publish(settings, loop, told)
    return {"sources": told, "days": not_landed(settings, loop, "stream")}


def _pull_table(
    settings: Settings, loop: Loop, name: str, entry: Source, start: date, end: date, log: Log, *, whole: bool
) -> dict[str, Any]:
    contract = load_contract(settings.dbt_dir, name)
    connection, table = str(entry.connection), str(entry.table)
    url = connection_url(connection, settings)
    upper, lower = _midnight(end + timedelta(days=1)), _midnight(start)
    known = _watermark(settings, loop.loop, name)
    if known is not None and not whole and known < upper:
        # Also from before the window: days on which no run came are caught up with.
        lower = known - timedelta(minutes=entry.overlap_minutes)
    with open_table(url, connection, table, contract, entry.received_lag_minutes) as opened:
        with open_spool(settings, loop.loop, name, "table") as spool:
            recount = max(
                min(start, lower.date()) - timedelta(days=RECOUNT_DAYS), loop.data_span.start - MARGIN
            )
            pulled = opened.pull(lower, end, spool, entry.batch_rows, log, count_from=recount)
            files, again = len(spool.files), spool.rows_known
        with open_spool(settings, loop.loop, name, "undated", across_days=True) as spool:
            undated = opened.pull_undated(start, end, spool, entry.batch_rows, log)
            files, again = files + len(spool.files), again + spool.rows_known
    _advance(settings, loop.loop, name, pulled, known, upper)
    log(
        f"{name}: {pulled.rows + undated} rows of table {table} from {lower} to {end}, {again} of them known, "
        f"in {files} new files"
    )
    return {
        "adapter": "table",
        "rows": pulled.rows + undated,
        "known": again,
        "undated": undated,
        "in_table": {day.isoformat(): n for day, n in pulled.in_table.items()},
    }


def _drain_stream(settings: Settings, loop: Loop, name: str, entry: Source, log: Log) -> dict[str, Any]:
    contract = load_contract(settings.dbt_dir, name)
    address = StreamAddress(str(entry.connection), str(entry.stream), entry.group)
    client = connect(connection_url(address.connection, settings), address)
    try:
        with open_spool(settings, loop.loop, name, "stream") as spool:
            oldest = loop.data_span.start - MARGIN
            drained = drain_stream(client, address, contract, spool, entry.batch_rows, oldest, log)
            again = spool.rows_known
    finally:
        client.close()
    return {
        "adapter": "stream",
        "rows": drained.messages,
        "known": again,
        "taken_over": drained.taken_over,
        "trimmed": drained.trimmed,
        "exists": drained.exists,
    }


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time())


def _watermark(settings: Settings, loop: str, source: str) -> datetime | None:
    with open_warehouse(settings, purpose=f"watermark of {source}") as warehouse:
        ops.ensure(warehouse)
        found = warehouse.scalar(
            "select received_at from ops.watermarks where loop = ? and source = ?", (loop, source)
        )
    return None if found is None else pd.Timestamp(found).to_pydatetime()


def _advance(
    settings: Settings, loop: str, source: str, pulled: Pulled, known: datetime | None, as_of: datetime
) -> None:
    """Write down how far the table was pulled; a pull of the past leaves it."""
    if pulled.newest is None or (known is not None and pulled.newest <= known):
        return
    with open_warehouse(settings, purpose=f"watermark of {source}") as warehouse, warehouse.transaction():
        warehouse.execute("delete from ops.watermarks where loop = ? and source = ?", (loop, source))
        warehouse.execute(
            "insert into ops.watermarks (loop, source, received_at, as_of) values (?, ?, ?, ?)",
            (loop, source, pulled.newest, as_of),
        )


def not_landed(settings: Settings, loop: Loop, *adapters: str) -> dict[str, list[str]]:
    """By source: the received days with spooled files that no landing has seen, of this pull or of one that died."""
    names = sources_by(loop, *adapters)
    if not names:
        return {}
    with open_warehouse(settings, purpose=f"spooled files of {loop.loop}") as warehouse:
        ops.ensure(warehouse)
        landed = warehouse.frame("select source, file_name from ops.landings where loop = ?", (loop.loop,))
    seen = set(zip(landed["source"], landed["file_name"], strict=True))
    days: dict[str, list[str]] = {}
    for name in names:
        waiting = {
            file.day.isoformat()
            for kind in ("table", "undated", "stream")
            for file in spooled_files(settings, loop.loop, name, kind)
            if (name, file.name) not in seen
        }
        if waiting:
            days[name] = sorted(waiting)
    return days


def _ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """The days as ranges without a gap, in order."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def _only(loop: Loop, names: Iterable[str]) -> Loop:
    """The loop with these sources alone: the others' files are left to the run that they are due in."""
    wanted = set(names)
    return loop.model_copy(
        update={"sources": {name: source for name, source in loop.sources.items() if name in wanted}}
    )


def land_days(
    settings: Settings, loop: Loop, days: Mapping[str, list[str]], log: Log
) -> dict[str, dict[str, int]]:
    """Land the pulled `days` of their sources; counts by source.

    Raises:
        LandingError: rows read are not rows landed + quarantined + duplicate; nothing of that date is kept.
    """
    counts: dict[str, dict[str, int]] = {}
    for first, last in _ranges(date.fromisoformat(day) for of in days.values() for day in of):
        landed = land(settings, _only(loop, days), first, last, log)
        for name, found in landed["sources"].items():
            so_far = counts.setdefault(name, dict.fromkeys(found, 0))
            for key, value in found.items():
                so_far[key] += value
    return counts


def judge_days(settings: Settings, loop: Loop, days: Mapping[str, list[str]], log: Log) -> dict[str, Any]:
    """Judge the pulled `days` of their sources, each range as of its end; how many are green, and which are not."""
    judged: dict[str, Any] = {"green": 0, "blocked": [], "as_of": None}
    for first, last in _ranges(date.fromisoformat(day) for of in days.values() for day in of):
        as_of = _midnight(last + timedelta(days=1))
        found = judge_landing(settings, _only(loop, days), first, last, as_of, log)
        judged["green"] += found["green"]
        judged["blocked"] += found["blocked"]
        judged["as_of"] = as_of.isoformat()
    return judged


def beside(days: Mapping[str, list[str]], start: date, end: date) -> dict[str, list[str]]:
    """Of the pulled days those outside [start, end]: of a gap that was caught up with, or late by its own clock."""
    found = {
        name: [day for day in of if not start <= date.fromisoformat(day) <= end] for name, of in days.items()
    }
    return {name: of for name, of in found.items() if of}


def _publish(settings: Settings, loop: Loop, told: Mapping[str, dict[str, Any]]) -> None:
    summary = read(settings, loop.loop, "sources") or {"sources": {}}
    for name, found in told.items():
        entry = summary["sources"].setdefault(name, {"days": {}})
        entry["adapter"], entry["trimmed"] = (
            found["adapter"],
            found.get("trimmed", 0) + entry.get("trimmed", 0),
        )
        for day, rows in found.get("in_table", {}).items():
            entry["days"][day] = {"in_table": rows}
    if told:
        publish(settings, loop.loop, "sources", summary)


def compare(settings: Settings, loop: Loop, log: Log) -> dict[str, Any]:
    """Compare what tables held when they were pulled with what landed, by received day; the days that differ.

    `missing` rows are in the table and did not land: they were committed later than the source's overlap, and a
    run over a range that names their day pulls them. A negative figure: rows changed or went after they landed.
    """
    summary = read(settings, loop.loop, "sources")
    if summary is None or not sources_by(loop, "table"):
        return {}
    with open_warehouse(settings, purpose=f"comparing sources of {loop.loop}") as warehouse:
        landed = warehouse.frame(
            "select source, received_date, sum(rows_read) as n from ops.landings "
            "where loop = ? and starts_with(file_name, 'table_') group by 1, 2",
            (loop.loop,),
        )
    found = {
        (str(source), pd.Timestamp(day).date().isoformat()): int(rows)
        for source, day, rows in landed.itertuples(index=False)
    }
    missing: dict[str, dict[str, int]] = {}
    compared = 0
    for name in sources_by(loop, "table"):
        for day, entry in summary["sources"].get(name, {"days": {}})["days"].items():
            compared += 1
            entry["landed"] = found.get((name, day), 0)
            entry["missing"] = entry["in_table"] - entry["landed"]
            if entry["missing"]:
                missing.setdefault(name, {})[day] = entry["missing"]
        days = summary["sources"].get(name, {}).get("days", {})
        for day in sorted(days)[:-KEEP_DAYS]:
            if not days[day]["missing"]:
                del days[day]
    publish(settings, loop.loop, "sources", summary)
    log(f"compared {compared} days of {len(sources_by(loop, 'table'))} tables with what landed")
    for name, days in missing.items():
        for day, rows in days.items():
            log(
                f"{name} {day}: {rows} rows of the table did not land; run ingest_events with start and end {day}"
            )
    return {"days": compared, "missing": missing}
