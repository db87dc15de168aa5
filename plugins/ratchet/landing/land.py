"""Land the files of received days: read, validate, quarantine, insert. One transaction a day.

<landing>/<loop>/<source>/received_date=YYYY-MM-DD/<name>.<jsonl|csv|parquet>. Every row read is landed,
quarantined or a duplicate of one that is there; landing a file again changes nothing. A day that gets new
rows loses its gate's verdict in the same transaction, so nothing reads them before the gate has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.feedback.redact import redact_all
from ratchet.landing.contract import SourceContract, load_contract
from ratchet.landing.quarantine import printable
from ratchet.landing.readers import Rejected, UnreadableFile, read
from ratchet.landing.report import FileCounts, LandingReport
from ratchet.landing.row_hash import row_hashes
from ratchet.landing.validate import validate
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.warehouse import ops
from ratchet.warehouse.protocol import Warehouse

_PARTITION = "received_date="
_QUARANTINE_COLUMNS = ("loop", "source", "received_date", "source_file", "source_line", "reason", "original")


class LandingError(RuntimeError):
    """Landing can't vouch for its counts, or was asked for something impossible."""


@dataclass
class _Day:
    """What one transaction writes for one source and received date."""

    seen: set[str] = field(default_factory=set)
    kept: set[tuple[str, int, str, str]] = field(default_factory=set)
    frames: list[pd.DataFrame] = field(default_factory=list)
    quarantine: list[tuple[Any, ...]] = field(default_factory=list)
    files: list[tuple[FileCounts, str]] = field(default_factory=list)


def land_range(
    loop: Loop, settings: Settings, wh: Warehouse, start: date, end: date, log: Callable[[str], None]
) -> LandingReport:
    """Land every file whose received date is in [start, end] (both included), day by day.

    A source declared as reference lands when its partition is in the range or was never landed.

    Raises:
        LandingError: the range is empty, or rows read are not rows landed + quarantined + duplicate.
        ContractError: a source of the loop has no usable contract.
    """
    if end < start:
        raise LandingError(f"the range {start} to {end} holds no day; give start <= end")
    contracts = {source: load_contract(settings.dbt_dir, source) for source in sorted(loop.sources)}
    ops.ensure(wh)
    with wh.transaction():
        for contract in contracts.values():
            wh.execute(contract.ddl())
    landed = _landed(wh, loop.loop)
    days: dict[date, list[tuple[str, Path]]] = {}
    for source, entry in sorted(loop.sources.items()):
        folder = settings.landing_dir / loop.loop / source
        known = {day for (name, day) in landed if name == source}
        for day, path in _partitions(folder, log):
            if start <= day <= end or (entry.reference and day not in known):
                days.setdefault(day, []).append((source, path))
    files: list[FileCounts] = []
    for day in sorted(days):
        files += _land_day(loop.loop, settings, wh, day, days[day], contracts, landed, log)
    report = LandingReport(start, end, tuple(files))
    log(
        f"landed {loop.loop} {start} to {end}: {len(files)} files, {report.rows_read} rows read "
        f"= {report.rows_landed} landed + {report.rows_quarantined} quarantined + "
        f"{report.rows_duplicate} duplicate"
    )
    return report


def _landed(wh: Warehouse, loop: str) -> dict[tuple[str, date], dict[tuple[str, str], int]]:
    """By source and day: the files landed before, as (name, hash) -> rows."""
    found = wh.frame(
        "select source, received_date, file_name, file_sha256, rows_read from ops.landings where loop = ?",
        (loop,),
    )
    landed: dict[tuple[str, date], dict[tuple[str, str], int]] = {}
    for source, day, name, sha256, rows in found.itertuples(index=False):
        landed.setdefault((source, pd.Timestamp(day).date()), {})[(name, sha256)] = int(rows)
    return landed


def _partitions(folder: Path, log: Callable[[str], None]) -> Iterator[tuple[date, Path]]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        try:
            if not path.is_dir() or not path.name.startswith(_PARTITION):
                raise ValueError
            yield date.fromisoformat(path.name.removeprefix(_PARTITION)), path
        except ValueError:
            log(f"left alone, not a partition named {_PARTITION}YYYY-MM-DD: {path}")


def _land_day(
    loop: str,
    settings: Settings,
    wh: Warehouse,
    day: date,
    folders: list[tuple[str, Path]],
    contracts: dict[str, SourceContract],
    landed: dict[tuple[str, date], dict[tuple[str, str], int]],
    log: Callable[[str], None],
) -> list[FileCounts]:
    again: list[FileCounts] = []
    work: dict[str, _Day] = {}
    for source, folder in folders:
        before = landed.get((source, day), {})
        names = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith((".", "_"))]
        for path in names:
            data = path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            if (path.name, sha256) in before:
                rows = before[(path.name, sha256)]
                again.append(FileCounts(source, day, path.name, rows, 0, 0, rows))
                continue
            if source not in work:
                work[source] = _known(wh, loop, source, day) if before else _Day()
            part = work[source]
            counts = _land_file(loop, contracts[source], day, path, data, part)
            if counts.rows_read != counts.rows_landed + counts.rows_quarantined + counts.rows_duplicate:
                raise LandingError(
                    f"{path}: {counts.rows_read} rows read, but {counts.rows_landed} landed + "
                    f"{counts.rows_quarantined} quarantined + {counts.rows_duplicate} duplicate; "
                    "nothing was written"
                )
            part.files.append((counts, sha256))
            if counts.rows_quarantined:
                log(f"{path}: {counts.rows_quarantined} of {counts.rows_read} rows quarantined")
    if work:
        with wh.transaction():
            for source, part in work.items():
                _write(wh, loop, contracts[source], day, part)
    return again + [counts for part in work.values() for counts, _ in part.files]


def _known(wh: Warehouse, loop: str, source: str, day: date) -> _Day:
    """The rows and quarantined lines that the day has already."""
    hashes = wh.frame(f"select row_hash from raw.{source} where loop = ? and received_date = ?", (loop, day))  # noqa: S608
    kept = wh.frame(
        "select source_file, source_line, reason, original from raw.quarantine "
        "where loop = ? and source = ? and received_date = ?",
        (loop, source, day),
    )
    return _Day(
        seen=set(hashes["row_hash"].tolist()),
        kept={(f, int(n), r, o) for f, n, r, o in kept.itertuples(index=False)},
    )


def _land_file(
    loop: str, contract: SourceContract, day: date, path: Path, data: bytes, part: _Day
) -> FileCounts:
    """Sort the rows of one file into `part`; the counts."""
    counts = FileCounts(contract.source, day, path.name, 0, 0, 0, 0)
    try:
        raw = read(data, path.suffix.removeprefix("."), contract)
    except UnreadableFile as error:
        start = data[:2_000].decode("utf-8", errors="backslashreplace")
        kept = _quarantine(
            loop,
            None,
            contract.source,
            day,
            path.name,
            [Rejected(0, f"unreadable file: {error}", start)],
            part,
        )
        return replace(counts, rows_read=1, rows_quarantined=kept, rows_duplicate=1 - kept)
    typed, good, reasons = validate(raw, contract, day)
    rejected = list(raw.rejected)
    rejected += [Rejected(raw.lines[i], str(reasons[i]), raw.original(int(i))) for i in np.flatnonzero(~good)]
    kept = _quarantine(loop, contract, contract.source, day, path.name, rejected, part)
    everything = bool(good.all())
    columns = typed if everything else {name: series[good] for name, series in typed.items()}
    lines = np.asarray(raw.lines, dtype=np.int64)[good]
    for column in contract.columns:
        if column.free_text:
            columns[column.name] = pd.Series(redact_all(columns[column.name].tolist()), dtype=object)
    hashes = row_hashes(columns, contract)
    new = _first_seen(hashes, part.seen)
    landed = int(new.sum())
    if landed:
        frame = pd.DataFrame(
            {
                name: series.to_numpy()[new] if series.dtype == object else series.array[new]
                for name, series in columns.items()
            }
        )
        frame["loop"] = loop
        frame["received_date"] = pd.Timestamp(day)
        frame["row_hash"] = np.array(hashes, dtype=object)[new]
        frame["source_file"] = path.name
        frame["source_line"] = lines[new]
        part.frames.append(frame)
    return replace(
        counts,
        rows_read=raw.rows_read,
        rows_landed=landed,
        rows_quarantined=kept,
        rows_duplicate=len(hashes) - landed + len(rejected) - kept,
    )


def _first_seen(hashes: list[str], seen: set[str]) -> np.ndarray:
    """Which rows are not in `seen`, nor earlier in `hashes`; `seen` then has them all."""
    new = np.zeros(len(hashes), dtype=bool)
    for i, value in enumerate(hashes):
        if value not in seen:
            seen.add(value)
            new[i] = True
    return new


def _quarantine(
    loop: str,
    contract: SourceContract | None,
    source: str,
    day: date,
    name: str,
    rejected: list[Rejected],
    part: _Day,
) -> int:
    """Set the rows aside, except those that an earlier version of the same file put there; how many."""
    kept = 0
    for entry in sorted(rejected, key=lambda r: r.line):
        reason, original = printable(entry, contract)
        key = (name, entry.line, reason, original)
        if key not in part.kept:
            part.kept.add(key)
            part.quarantine.append((loop, source, day, name, entry.line, reason, original))
            kept += 1
    return kept


def _write(wh: Warehouse, loop: str, contract: SourceContract, day: date, part: _Day) -> None:
    for frame in part.frames:
        wh.append(contract.table, frame)
    if part.quarantine:
        wh.append("raw.quarantine", pd.DataFrame(part.quarantine, columns=list(_QUARANTINE_COLUMNS)))
    for counts, sha256 in part.files:
        wh.execute(
            "insert into ops.landings values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                loop,
                counts.source,
                day,
                counts.file_name,
                sha256,
                counts.rows_read,
                counts.rows_landed,
                counts.rows_quarantined,
                counts.rows_duplicate,
            ),
        )
    if part.files:
        # The verdict was about other rows. Until the gate has looked again, nothing may read the day.
        wh.execute(
            "delete from ops.partition_gates "
            "where loop = ? and border = 'landing' and table_name = ? and partition_date = ?",
            (loop, contract.source, day),
        )
        wh.execute(
            "insert or ignore into ops.dirty_partitions values (?, ?, ?)", (loop, contract.source, day)
        )
