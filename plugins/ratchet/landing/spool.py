"""Rows of a table or a queue as immutable files of their received day, so that they land like any other file.

<landing>/<loop>/<source>/received_date=YYYY-MM-DD/<adapter>_<first>_<last>_<rows>_<hash>.jsonl, where first and last
are positions in the source (times or message ids). Equal rows give an equal file. A file is written under a name
that landing leaves alone, flushed to disk and renamed; rows that an earlier file of the day has are left out of it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from ratchet.settings import Settings

_UNFINISHED = ".spool."
_NAME = re.compile(r"(?P<kind>[a-z]+)_(?P<first>[0-9-]+)_(?P<last>[0-9-]+)_(?P<rows>\d+)_[0-9a-f]{32}\.jsonl")
#: Lines whose digests are held in memory at once while a file is compared with earlier ones.
CHUNK = 200_000


class SpoolError(RuntimeError):
    """Rows that were read could not be put into the landing folder; nothing of the file is visible."""


@dataclass(frozen=True)
class Spooled:
    """One file that is in place: its received day, its name and the rows in it."""

    day: date
    name: str
    rows: int


@dataclass
class _Open:
    handle: IO[bytes]
    path: Path
    first: tuple[int, ...]
    last: tuple[int, ...]
    rows: int = 0


@dataclass
class Spool:
    """The spool of one source: lines are added by day, and become visible when their day is closed.

    `kind` is the adapter's word in the files' names. `across_days`: a row counts as known when a file of any day
    has it, for rows whose day is not their own. Made by `open_spool`; one process at a time has it.
    """

    folder: Path
    kind: str
    across_days: bool = False
    files: list[Spooled] = field(default_factory=list)
    rows_known: int = 0
    _open: dict[date, _Open] = field(default_factory=dict)

    def add(self, day: date, position: tuple[int, ...], line: str) -> None:
        """Add a line (no line break in it) that stood at `position` of the source to the file of `day`."""
        part = self._open.get(day)
        try:
            if part is None:
                folder = self.folder / f"received_date={day.isoformat()}"
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{_UNFINISHED}{os.getpid()}"
                part = self._open[day] = _Open(path.open("wb"), path, position, position)
            # Half a character can't be written as UTF-8; landing refuses the row that has it, by name.
            part.handle.write(line.encode("utf-8", errors="backslashreplace") + b"\n")
        except OSError as error:
            raise SpoolError(f"{self.folder}: {error.strerror}; nothing of this file was kept") from error
        part.rows += 1
        part.first, part.last = min(part.first, position), max(part.last, position)

    @property
    def days(self) -> tuple[date, ...]:
        """Days with lines that are not visible yet."""
        return tuple(sorted(self._open))

    def close(self, *, before: date | None = None) -> None:
        """Make the files of all days (or of those before `before`) visible, each flushed to disk first.

        Raises:
            SpoolError: the disk refused.
        """
        for day in [d for d in self.days if before is None or d < before]:
            part = self._open.pop(day)
            try:
                part.handle.flush()
                os.fsync(part.handle.fileno())
                part.handle.close()
                self._place(day, part)
            except OSError as error:
                part.path.unlink(missing_ok=True)
                raise SpoolError(
                    f"{part.path.parent}: {error.strerror}; nothing of this file was kept"
                ) from error

    def _place(self, day: date, part: _Open) -> None:
        folders = self.folder.glob("received_date=*") if self.across_days else [part.path.parent]
        earlier = [
            path
            for folder in folders
            for path, first, last in _positions(folder, self.kind)
            if first <= part.last and last >= part.first
        ]
        name = _name(self.kind, part)
        if any(path.name == name for path in earlier):
            self.rows_known, part.rows = self.rows_known + part.rows, 0
        elif earlier:
            self.rows_known += _leave_out(part, earlier)
            name = _name(self.kind, part)
        if part.rows == 0:
            part.path.unlink()
            return
        part.path.replace(part.path.with_name(name))
        _flush_folder(part.path.parent)
        self.files.append(Spooled(day, name, part.rows))

    def abandon(self) -> None:
        """Forget what is not visible yet."""
        for part in self._open.values():
            with suppress(OSError):
                part.handle.close()
            part.path.unlink(missing_ok=True)
        self._open.clear()


@contextmanager
def open_spool(
    settings: Settings, loop: str, source: str, kind: str, *, across_days: bool = False
) -> Iterator[Spool]:
    """The spool of `source`; what is not closed when the block ends is dropped.

    Raises:
        SpoolError: another process pulls the source for longer than the lock's wait, or the folder is not writable.
    """
    folder = settings.landing_dir / loop / source
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(folder / ".pull.lock"))
        lock.acquire(timeout=settings.lock_wait_seconds, poll_interval=0.05)
    except Timeout:
        raise SpoolError(
            f"{folder}: another process has pulled {source} for {settings.lock_wait_seconds:g} s; let it end"
        ) from None
    except OSError as error:
        raise SpoolError(f"{folder}: {error.strerror}; make it writable") from error
    spool = Spool(folder, kind, across_days)
    try:
        # What a process that died left: nobody else writes here while we have the lock.
        for left in folder.glob(f"received_date=*/{_UNFINISHED}*"):
            left.unlink(missing_ok=True)
        yield spool
    finally:
        spool.abandon()
        lock.release()


def spooled_files(settings: Settings, loop: str, source: str, kind: str) -> list[Spooled]:
    """Every file of `source` that this adapter put in place, in order."""
    found = []
    for folder in sorted((settings.landing_dir / loop / source).glob("received_date=*")):
        with suppress(ValueError):
            day = date.fromisoformat(folder.name.removeprefix("received_date="))
            for path, _, _ in _positions(folder, kind):
                found.append(Spooled(day, path.name, int(path.name.split("_")[3])))
    return found


def _name(kind: str, part: _Open) -> str:
    first, last = ("-".join(map(str, position)) for position in (part.first, part.last))
    digest = hashlib.sha256()
    with part.path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return f"{kind}_{first}_{last}_{part.rows}_{digest.hexdigest()[:32]}.jsonl"


def _positions(folder: Path, kind: str) -> Iterator[tuple[Path, tuple[int, ...], tuple[int, ...]]]:
    for path in sorted(folder.iterdir()):
        found = _NAME.fullmatch(path.name)
        if found and found["kind"] == kind:
            first, last = (tuple(int(n) for n in found[key].split("-")) for key in ("first", "last"))
            yield path, first, last


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def _leave_out(part: _Open, earlier: Iterable[Path]) -> int:
    """Rewrite the unfinished file without the lines that `earlier` files have; how many those were.

    Chunk by chunk: memory holds the digests of one chunk, whatever the size of the files.
    """
    earlier = list(earlier)
    slim = part.path.with_name(f"{part.path.name}.slim")
    left_out = 0
    with part.path.open("rb") as source, slim.open("wb") as target:
        while chunk := list(islice(source, CHUNK)):
            wanted = Counter(map(_digest, chunk))
            known: Counter[bytes] = Counter()
            for path in earlier:
                with path.open("rb") as handle:
                    known.update(d for d in map(_digest, handle) if d in wanted)
            for line in chunk:
                digest = _digest(line)
                if known[digest] > 0:
                    known[digest] -= 1
                    left_out += 1
                else:
                    target.write(line)
        target.flush()
        os.fsync(target.fileno())
    slim.replace(part.path)
    part.rows -= left_out
    return left_out


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
