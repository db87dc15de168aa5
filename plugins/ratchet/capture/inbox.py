"""Rows that were acknowledged are on disk, once, and reach the landing folder as whole files.

A row is appended to the open segment and flushed to disk before anybody is told; writers that come together share one
flush. A segment holds one received day. It is moved into the landing folder when it is full, old, of yesterday, or
found at the next start. One process works in an inbox at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

from ratchet.published import write_atomically

MAX_ROWS = 10_000
#: A key is remembered for so many days of receipt.
REMEMBERED_DAYS = 2


class InboxError(RuntimeError):
    """The inbox can't keep a row, or is somebody else's; nothing was acknowledged."""


class KeyReused(ValueError):
    """An idempotency key came again with another content."""


@dataclass
class _Segment:
    path: Path
    day: date
    handle: FileIO
    rows: int = 0


def content_hash(row: Mapping[str, Any]) -> str:
    """What a row says, apart from when it was received."""
    said = {name: value for name, value in row.items() if name not in ("received_at", "event_at")}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Inbox:
    """The inbox of one source of one loop. `key` is the column that names a row."""

    def __init__(self, folder: Path, landing: Path, key: str) -> None:
        """Recover what an earlier process left, then stand ready.

        Raises:
            InboxError: another process works in it.
        """
        self._folder, self._landing, self._key = folder, landing, key
        self._write, self._sync = threading.RLock(), threading.Lock()
        self._segment: _Segment | None = None
        self._written = self._synced = 0
        self._broken = False
        self._seen: dict[str, tuple[str, date]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise InboxError(f"{folder} has another process at work: run one endpoint a loop") from None
        self._recover()

    def append(self, row: Mapping[str, Any], day: date) -> bool:
        """Keep `row`, received on `day`; False when it is there already. It is on disk when this returns.

        Raises:
            KeyReused: its key stands for another content.
            InboxError: it could not be written.
        """
        name, said = str(row[self._key]), content_hash(row)
        with self._write:
            if self._broken:
                raise InboxError(f"{self._folder}: the disk failed; start the endpoint anew")
            known = self._seen.get(name)
            if known is not None and known[0] != said:
                raise KeyReused("this idempotency key was used for other content; use a new one")
            if known is None:
                self._put(row, day)
                self._seen[name] = (said, day)
            turn = self._written
        self._flush(turn)
        return known is None

    def _put(self, row: Mapping[str, Any], day: date) -> None:
        if self._segment is not None and (self._segment.day != day or self._segment.rows >= MAX_ROWS):
            self.rotate()
        segment = self._segment or self._open(day)
        line = json.dumps(row, ensure_ascii=False, sort_keys=True, allow_nan=False).encode() + b"\n"
        with changing(self._folder):
            before = segment.handle.tell()
            try:
                written = segment.handle.write(line)
                if written != len(line):
                    raise OSError("the disk is full")
            except OSError as error:
                # What half a line is worth is nothing, and the next one must not follow it.
                segment.handle.truncate(before)
                raise InboxError(f"{segment.path}: {error}") from None
        segment.rows += 1
        self._written += 1

    def _open(self, day: date) -> _Segment:
        taken = {path.name for path in self._folder.glob("api-*.jsonl")}
        landed = self._landing / f"received_date={day.isoformat()}"
        taken |= {path.name for path in landed.glob("api-*.jsonl")} if landed.is_dir() else set()
        number = next(n for n in range(10**9) if _name(day, n) not in taken)
        path = self._folder / _name(day, number)
        # Unbuffered and exclusive: two segments of one name would overwrite each other when they land.
        self._segment = _Segment(path, day, path.open("xb", buffering=0))
        _sync_folder(self._folder)
        return self._segment

    def _flush(self, turn: int) -> None:
        with self._sync:
            if self._synced >= turn:
                return
            with self._write:
                segment, until = self._segment, self._written
                if segment is None:
                    return
                descriptor = os.dup(segment.handle.fileno())
            try:
                os.fsync(descriptor)
            except OSError as error:
                # A later flush may succeed without the lost pages: only what is read back at a start is to be trusted.
                self._broken = True
                raise InboxError(f"{segment.path}: {error}") from None
            finally:
                os.close(descriptor)
            self._synced = max(self._synced, until)

    def rotate(self) -> Path | None:
        """Move the open segment into the landing folder; where it is then, or None if there was nothing."""
        with self._write:
            segment, self._segment = self._segment, None
            if segment is None:
                return None
            os.fsync(segment.handle.fileno())
            segment.handle.close()
            self._synced = self._written
            oldest = segment.day - timedelta(days=REMEMBERED_DAYS)
            self._seen = {name: kept for name, kept in self._seen.items() if kept[1] >= oldest}
            return self._land(segment.path)

    def close(self) -> None:
        """Rotate, and let another process in."""
        self.rotate()
        self._lock.close()

    def _land(self, path: Path) -> Path | None:
        with changing(self._folder):
            return self._moved(path)

    def _moved(self, path: Path) -> Path | None:
        data = path.read_bytes()
        whole = data[
            : data.rfind(b"\n") + 1
        ]  # a process that died within a line had acknowledged nothing of it
        target = None
        if whole:
            day = path.name.split("_")[1]
            target = self._landing / f"received_date={day}" / path.name
            # The same name and content if it dies here and does it again: landing knows the rows.
            write_atomically(target, whole)
            _sync_folder(target.parent)
        path.unlink()
        _sync_folder(self._folder)
        return target

    def _recover(self) -> None:
        for path in segments(self._folder):
            self._land(path)
        days = sorted(path.name for path in self._landing.glob("received_date=*"))[-REMEMBERED_DAYS - 1 :]
        for day in days:
            received = date.fromisoformat(day.removeprefix("received_date="))
            for path in sorted((self._landing / day).glob("api-*.jsonl")):
                for line in path.read_bytes().splitlines():
                    if not line.strip():
                        continue  # a row of somebody who was forgotten stood there
                    row = json.loads(line)
                    self._seen[str(row[self._key])] = (content_hash(row), received)


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Nobody else writes into a segment of the inbox, or moves one, meanwhile: neither endpoint nor forgetting."""
    with (folder / "changing").open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def segments(folder: Path) -> list[Path]:
    """The segments that have not been moved yet."""
    return sorted(folder.glob("api-*.jsonl"))


def _name(day: date, number: int) -> str:
    return f"api-_{day.isoformat()}_{number:06d}.jsonl"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
