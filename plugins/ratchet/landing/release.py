"""Held rows read again with today's contract, or as somebody corrected them; those that pass land.

The bytes come from quarantine, or, where those were personal or too long to keep, from the file at their line
if its hash is still the same. All of one source and day is one transaction.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import fsspec
import pandas as pd

from ratchet.landing.contract import load_contract
from ratchet.landing.files import DeliveredFile, delivered, location_of, partitions
from ratchet.landing.held import Asked, settle
from ratchet.landing.land import PartitionTask, ensure_tables, lag_of, preserved_path
from ratchet.landing.originals import CorrectedRows, original_lines, parsed
from ratchet.landing.partition import LandingError, Partition, Taken, check
from ratchet.landing.people import key_of
from ratchet.landing.quarantine import Origin, stored_reason
from ratchet.landing.readers import UnreadableFile, read_chunks
from ratchet.landing.report import FileCounts
from ratchet.landing.spill import ExtraNames
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.warehouse import ops
from ratchet.warehouse.protocol import Warehouse

_AT_ONCE = 20_000


@dataclass
class Released:
    """What became of the rows that were tried: tried = landed + duplicate + still held + without original.

    `files`: whole files that were read after all. `reasons`: why rows are held still.
    """

    tried: int = 0
    landed: int = 0
    duplicate: int = 0
    without_original: int = 0
    files: list[FileCounts] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def still_held(self) -> int:
        return sum(self.reasons.values())

    @property
    def changed(self) -> bool:
        return bool(self.landed or self.duplicate or self.files)


class _DryRun(Exception):
    """Takes back what a dry run did."""


def release(
    loop: Loop,
    settings: Settings,
    wh: Warehouse,
    source: str,
    day: date,
    *,
    now: datetime,
    reason: str | None = None,
    corrected: Path | None = None,
    dry_run: bool = False,
) -> Released:
    """Try the held rows of a source and day again; with `reason` only those whose reason has that text, with
    `corrected` only those that the file of JSON lines gives anew, each with its `quarantine_id`.

    Raises:
        CorrectionError: the file of corrections has a line that is no held row of this source and day.
        LandingError: there is nothing held to release, or rows do not add up.
        ContractError, LocationError, ConnectionMissing: as in landing.
    """
    contract = load_contract(settings.dbt_dir, source)
    location = location_of(settings, loop.loop, source, loop.sources[source])
    ops.ensure(wh)
    ensure_tables(wh, {source: contract})
    folder = next((path for found, path in partitions(location, lambda line: None) if found == day), "")
    task = PartitionTask(
        settings,
        wh,
        loop.loop,
        source,
        contract,
        lag_of(loop, source),
        day,
        location,
        folder,
        lambda line: None,
        lambda name, rows: None,
        key_of(settings, wh, [contract]),
    )
    files = delivered(location, folder, task.log) if folder else []
    while True:
        done = Released()
        try:
            with wh.lock(f"land:{loop.loop}:{source}:{day}"), wh.transaction():
                partition = Partition(wh, loop.loop, contract, day, task.lag, task.key)
                if corrected is not None:
                    _release_corrected(task, partition, corrected, now, done)
                else:
                    _release_held(task, partition, files, reason, now, done)
                if done.changed:
                    partition.finish()
                if dry_run:
                    raise _DryRun
        except _DryRun:
            return done
        except _StillDamaged as damage:
            task.damaged[damage.sha256] = damage.why
            continue
        return done


class _StillDamaged(Exception):
    """A whole file is unreadable still, found after some of its rows were written."""

    def __init__(self, sha256: str, why: str) -> None:
        super().__init__(why)
        self.sha256, self.why = sha256, why


def _held(task: PartitionTask, reason: str | None) -> pd.DataFrame:
    where, params = Asked(task.loop, task.source, task.day, task.day, reason).where()
    found = task.wh.frame(
        "select quarantine_id, source_file, source_line, file_sha256, location, file_header "  # noqa: S608
        f"from raw.quarantine where {where} and quarantine_id is not null "
        "order by source_file, file_sha256, source_line, quarantine_id",
        params,
    )
    if found.empty:
        told = "" if reason is None else f" for a reason with {reason!r} in it"
        raise LandingError(
            f"nothing of {task.source} {task.day} is held{told}; `ratchet quarantine list --source "
            f"{task.source}` shows what is"
        )
    return found


def _by_file(task: PartitionTask, held: pd.DataFrame) -> Iterator[tuple[Origin, pd.DataFrame]]:
    for (name, sha256), part in held.groupby(["source_file", "file_sha256"], sort=True):
        place = str(part["location"].iloc[0])
        yield Origin(task.loop, task.source, task.day, str(name), str(sha256), place), part


def _release_held(
    task: PartitionTask,
    partition: Partition,
    files: list[DeliveredFile],
    reason: str | None,
    now: datetime,
    done: Released,
) -> None:
    for origin, held in _by_file(task, _held(task, reason)):
        name, sha256 = origin.file_name, origin.file_sha256
        file = _file_of(task, files, name, sha256)
        whole = held[held["source_line"] == 0]
        if not whole.empty:
            _release_file(task, partition, file, origin, whole["quarantine_id"].iloc[0], now, done)
        lines = held[held["source_line"] > 0]
        for at in range(0, len(lines), _AT_ONCE):
            part = lines.iloc[at : at + _AT_ONCE]
            ids = dict(zip(part["source_line"].astype(int), part["quarantine_id"], strict=True))
            found, header = original_lines(
                task.wh, task.contract, ids, file, name, part["file_header"].iloc[0]
            )
            done.tried += len(ids)
            done.without_original += len(ids) - len(found)
            _retake(task, partition, origin, ids, found, header, now, done)


def _retake(
    task: PartitionTask,
    partition: Partition,
    origin: Origin,
    ids: Mapping[int, str],
    lines: Mapping[int, bytes],
    header: str | None,
    now: datetime,
    done: Released,
    *,
    is_trusted: bool = False,
) -> None:
    """Try the lines of one file again, and write down what became of them."""
    if not lines:
        return
    result = partition.retake(origin, parsed(lines, header, task.contract), is_trusted=is_trusted)
    settle(task.wh, [ids[line] for line in result.landed], "released", "landed", now)
    settle(task.wh, [ids[line] for line in result.duplicate], "released", "duplicate", now)
    done.landed += len(result.landed)
    done.duplicate += len(result.duplicate)
    done.reasons.update(result.refused.values())
    left = len(result.landed) + len(result.duplicate)
    if len(lines) != left + len(result.refused):
        raise LandingError(f"{origin.location}: {len(lines)} rows tried, {left} settled, nothing was written")
    task.wh.execute(
        "update ops.landings set rows_quarantined = rows_quarantined - ?, rows_landed = rows_landed + ?, "
        "rows_duplicate = rows_duplicate + ? where loop = ? and source = ? and received_date = ? "
        "and file_name = ? and file_sha256 = ?",
        (
            left,
            len(result.landed),
            len(result.duplicate),
            *partition.key,
            origin.file_name,
            origin.file_sha256,
        ),
    )
    by_reason: dict[str, list[str]] = {}
    for line, why in result.refused.items():
        by_reason.setdefault(why, []).append(ids[line])
    for why, names in by_reason.items():
        _renew(task, names, why)


def _renew(task: PartitionTask, ids: list[str], reason: str) -> None:
    """Today's reason takes the place of the old one."""
    for at in range(0, len(ids), 1_000):
        task.wh.execute(
            "update raw.quarantine set reason = ? where quarantine_id = any(?)",
            (stored_reason(reason), ids[at : at + 1_000]),
        )


def _file_of(task: PartitionTask, files: list[DeliveredFile], name: str, sha256: str) -> DeliveredFile | None:
    """The delivered file, or the copy that was kept of it, if its bytes are still the same."""
    for file in files:
        if file.name == name and file.sha256() == sha256:
            return file
    kept = preserved_path(task.settings, task.loop, task.source, sha256)
    if kept.exists():
        local = DeliveredFile(fsspec.filesystem("file"), str(kept), name, str(kept), kept.stat().st_size)
        return local if local.sha256() == sha256 else None
    return None


def _release_file(
    task: PartitionTask,
    partition: Partition,
    file: DeliveredFile | None,
    origin: Origin,
    name: str,
    now: datetime,
    done: Released,
) -> None:
    """Read a whole file again that could not be read; its landing then counts its rows."""
    done.tried += 1
    if file is None:
        done.without_original += 1
        return
    names, taken = ExtraNames(), Taken()
    why = task.damaged.get(origin.file_sha256)
    if why is None:
        without = frozenset({"received_at"} if task.lag is not None else ())
        try:
            with file.open() as stream:
                for chunk in read_chunks(stream, file.name, task.contract, without=without):
                    taken += partition.take(origin, chunk, names)
        except UnreadableFile as error:
            if taken.read:
                raise _StillDamaged(origin.file_sha256, str(error)) from None
            why = str(error)
    if why is not None:
        done.reasons[f"unreadable file: {why}"] += 1
        _renew(task, [name], f"unreadable file: {why}")
        return
    check(origin, taken)
    settle(task.wh, [name], "released", "landed", now)
    task.wh.execute(
        "delete from ops.landings where loop = ? and source = ? and received_date = ? and file_name = ? "
        "and file_sha256 = ?",
        (*partition.key, origin.file_name, origin.file_sha256),
    )
    done.files.append(partition.record(origin, taken, names))
    done.landed += 1


def _release_corrected(
    task: PartitionTask, partition: Partition, path: Path, now: datetime, done: Released
) -> None:
    held = _held(task, None)
    rows = CorrectedRows.read(path, held, f"{task.source} {task.day}")
    done.tried = len(rows.by_id)
    for origin, part in _by_file(task, held[held["quarantine_id"].isin(list(rows.by_id))]):
        ids = dict(zip(part["source_line"].astype(int), part["quarantine_id"], strict=True))
        lines = {line: json.dumps(rows.by_id[ids[line]], ensure_ascii=True).encode() for line in ids}
        _retake(task, partition, origin, ids, lines, None, now, done, is_trusted=True)
