"""Land the files of received days: read, validate, quarantine, insert. One transaction a source and day.

<location>/received_date=YYYY-MM-DD/<name>.<jsonl|csv|parquet>, the first two also gzipped. Every row read is
landed, quarantined or a duplicate of one that is there; landing a file again changes nothing. A day that gets
new rows loses its gate's verdict in the same transaction, so nothing reads them before the gate has.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from ratchet.landing.contract import SourceContract, load_contract
from ratchet.landing.files import DeliveredFile, Location, delivered, location_of, partitions
from ratchet.landing.partition import LandingError, Partition, Taken
from ratchet.landing.people import People, PersonKey, forgotten_people, key_of
from ratchet.landing.quarantine import Origin
from ratchet.landing.readers import Rejected, UnreadableFile, read_chunks
from ratchet.landing.report import FileCounts, LandingReport, Progress
from ratchet.landing.scrub import is_ours, rewritten, take_out
from ratchet.landing.spill import ExtraNames
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.warehouse import ops
from ratchet.warehouse.protocol import Warehouse

_SHOWN = 2_000  # bytes of an unreadable file that its row of quarantine shows

Log = Callable[[str], None]


class Damaged(Exception):
    """A file turned out to be unreadable after some of its rows were written: the partition starts over."""

    def __init__(self, file: DeliveredFile, why: str) -> None:
        super().__init__(why)
        self.file, self.why = file, why


@dataclass
class PartitionTask:
    """What landing one partition needs to know; `damaged`: files found unreadable halfway, and why."""

    settings: Settings
    wh: Warehouse
    loop: str
    source: str
    contract: SourceContract
    lag: timedelta | None
    day: date
    location: Location
    folder: str
    log: Log
    progress: Callable[[str, int], None]
    key: PersonKey | None = None
    damaged: dict[str, str] = field(default_factory=dict)


def land_range(
    loop: Loop,
    settings: Settings,
    wh: Warehouse,
    start: date,
    end: date,
    log: Log,
    progress: Callable[[Progress], None] | None = None,
) -> LandingReport:
    """Land every file whose received date is in [start, end] (both included), day by day.

    A source declared as reference lands when its partition is in the range or was never landed.

    Raises:
        LandingError: the range is empty, rows read are not rows landed + quarantined + duplicate + forgotten, or
            a file changed while it was read.
        PersonKeyError: a source names people, and the key is not the one that the warehouse was filled under.
        ContractError: a source of the loop has no usable contract.
        LocationError, ConnectionMissing: a source's location can't be used.
    """
    if end < start:
        raise LandingError(f"the range {start} to {end} holds no day; give start <= end")
    contracts = {source: load_contract(settings.dbt_dir, source) for source in sorted(loop.sources)}
    ops.ensure(wh)
    ensure_tables(wh, contracts)
    key = key_of(settings, wh, contracts.values())
    landed = _landed_days(wh, loop.loop)
    tasks: list[tuple[date, str, Location, str]] = []
    for source, entry in sorted(loop.sources.items()):
        location = location_of(settings, loop.loop, source, entry)
        for day, folder in partitions(location, log):
            if start <= day <= end or (entry.reference and (source, day) not in landed):
                tasks.append((day, source, location, folder))
    files: list[FileCounts] = []
    began = time.monotonic()
    for done, (day, source, location, folder) in enumerate(sorted(tasks, key=lambda t: t[:2])):

        def told(name: str, rows: int, source: str = source, day: date = day, done: int = done) -> None:
            if progress is not None:
                progress(Progress(source, day, name, rows, done, len(tasks)))

        task = PartitionTask(
            settings,
            wh,
            loop.loop,
            source,
            contracts[source],
            lag_of(loop, source),
            day,
            location,
            folder,
            log,
            told,
            key,
        )
        files += _land_partition(task)
    report = LandingReport(start, end, tuple(files))
    rate = report.rows_read / max(time.monotonic() - began, 1e-3)
    log(
        f"landed {loop.loop} {start} to {end}: {len(files)} files, {report.rows_read} rows read "
        f"= {report.rows_landed} landed + {report.rows_quarantined} quarantined + "
        f"{report.rows_duplicate} duplicate"
        + (f" + {report.rows_forgotten} forgotten" if report.rows_forgotten else "")
        + f"; {rate:,.0f} rows a second"
    )
    return report


def lag_of(loop: Loop, source: str) -> timedelta | None:
    """How long after it happened a row of the source is received, where the loop file declares it."""
    minutes = loop.sources[source].received_lag_minutes
    return None if minutes is None else timedelta(minutes=minutes)


def ensure_tables(
    wh: Warehouse, contracts: dict[str, SourceContract], *, only_those_there: bool = False
) -> None:
    """Create the raw tables that are missing; give those that are there the columns that they lack."""
    with wh.transaction(), wh.lock("tables"):
        found = wh.frame(
            "select table_name, column_name from information_schema.columns where table_schema = 'raw'"
        )
        for contract in contracts.values():
            present = found.loc[found["table_name"] == contract.source, "column_name"].tolist()
            if present:
                for statement in contract.additions(present):
                    wh.execute(statement)
            elif not only_those_there:
                wh.execute(contract.ddl())
                for columns in contract.indexes:
                    wh.index(contract.table, columns)


def _landed_days(wh: Warehouse, loop: str) -> set[tuple[str, date]]:
    found = wh.frame("select distinct source, received_date from ops.landings where loop = ?", (loop,))
    return {(source, pd.Timestamp(day).date()) for source, day in found.itertuples(index=False)}


def _land_partition(task: PartitionTask) -> list[FileCounts]:
    """Land the partition's new files; the counts of all of them.

    A file that is found damaged after some of its rows were written takes the transaction with it; the second
    time it is refused at once, so nothing of it is half-landed.
    """
    files = delivered(task.location, task.folder, task.log)
    while files:
        try:
            with task.wh.lock(f"land:{task.loop}:{task.source}:{task.day}"), task.wh.transaction():
                return _land_files(task, files)
        except Damaged as damage:
            task.damaged[damage.file.name] = damage.why
    return []


def _land_files(task: PartitionTask, files: list[DeliveredFile]) -> list[FileCounts]:
    known = task.wh.frame(
        "select file_name, file_sha256, rows_read from ops.landings "
        "where loop = ? and source = ? and received_date = ?",
        (task.loop, task.source, task.day),
    )
    before = {(name, sha256): int(rows) for name, sha256, rows in known.itertuples(index=False)}
    partition: Partition | None = None
    counts: list[FileCounts] = []
    for file in files:
        mark = file.mark()
        sha256 = file.sha256()
        if (file.name, sha256) in before:
            rows = before[(file.name, sha256)]
            counts.append(FileCounts(task.source, task.day, file.name, rows, 0, 0, rows))
            continue
        if partition is None:
            partition = Partition(task.wh, task.loop, task.contract, task.day, task.lag, task.key)
        origin = Origin(task.loop, task.source, task.day, file.name, sha256, file.address)
        counts.append(land_file(task, partition, file, origin))
        if not _is_still(file, mark):
            raise LandingError(
                f"{file.address} changed while it was read; nothing of {task.source} {task.day} was written. "
                "Land again when its writer has finished; a name that ends in .tmp is left alone until then"
            )
        if counts[-1].rows_forgotten:
            _take_out(task, partition, file, sha256)
    if partition is not None:
        partition.finish()
    return counts


def _take_out(task: PartitionTask, partition: Partition, file: DeliveredFile, sha256: str) -> None:
    """A file came again with rows of people who are forgotten: they leave it too, before it counts as landed.

    A run that dies in between leaves a file without them, which lands like any other.
    """
    if task.key is None or not is_ours(task.settings, file):
        task.log(f"{file.address}: rows of forgotten people stay where its owner keeps it; ask there")
        return
    people = People(task.loop, task.contract, task.key, forgotten_people(task.wh, task.loop))
    done = take_out(file, people)
    if done is not None:
        rewritten(task.wh, task.contract, partition.key, file.name, sha256, done)


def _is_still(file: DeliveredFile, mark: str) -> bool:
    try:
        return file.mark() == mark
    except FileNotFoundError:
        return False


def land_file(task: PartitionTask, partition: Partition, file: DeliveredFile, origin: Origin) -> FileCounts:
    """Land one file in the open transaction; its counts, which are written down.

    Raises:
        Damaged: it is unreadable, and some of its rows are in the transaction.
        LandingError: its rows do not add up.
    """
    names = ExtraNames()
    taken = Taken()
    began = time.monotonic()
    why = task.damaged.get(file.name)
    if why is None:
        without = frozenset({"received_at"} if task.lag is not None else ())
        try:
            with file.open() as stream:
                for chunk in read_chunks(stream, file.name, task.contract, without=without):
                    taken += partition.take(origin, chunk, names)
                    task.progress(file.name, taken.read)
        except UnreadableFile as error:
            if taken.read:
                raise Damaged(file, str(error)) from None
            why = str(error)
    if why is not None:
        taken = _refuse_whole(task, partition, file, origin, why)
    else:
        partition.supersede(origin)
    counts = partition.record(origin, taken, names)
    if taken.quarantined:
        task.log(f"{file.address}: {taken.quarantined} of {taken.read} rows quarantined")
    for name, rows in names.rows.items():
        task.log(f"{file.address}: {rows} rows have {name!r}, which the contract does not name: kept aside")
    if taken.read >= 100_000:
        rate = taken.read / max(time.monotonic() - began, 1e-3)
        task.log(f"{file.address}: {taken.read} rows, {rate:,.0f} a second")
    return counts


def _refuse_whole(
    task: PartitionTask, partition: Partition, file: DeliveredFile, origin: Origin, why: str
) -> Taken:
    """One row of quarantine for a file that can't be read; the file itself is kept where that is allowed."""
    with file.open() as stream:
        start = stream.read(_SHOWN)
    rejected = Rejected(0, f"unreadable file: {why}", start, file.size, origin.file_sha256)
    held = partition.refuse(origin, [rejected], None)
    task.log(f"{file.address}: quarantined as a whole: {why}")
    if not task.contract.is_personal:
        preserve(task.settings, file, origin)
    return Taken(read=1, quarantined=held, duplicate=1 - held)


def preserved_path(settings: Settings, loop: str, source: str, sha256: str) -> Path:
    """Where an unreadable file is kept, if it is."""
    return settings.home / "quarantine" / loop / source / sha256


def preserve(settings: Settings, file: DeliveredFile, origin: Origin) -> Path:
    """Keep a copy of the file, under the hash of its content."""
    path = preserved_path(settings, origin.loop, origin.source, origin.file_sha256)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.tmp")
        with file.open() as stream, fresh.open("wb") as kept:
            shutil.copyfileobj(stream, kept, 2**20)
        fresh.replace(path)
    return path
