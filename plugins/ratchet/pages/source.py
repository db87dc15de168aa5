"""What pages are made from: published summaries and the ledger, read without waiting for anybody.

The warehouse is never opened. The ledger's chain is walked once; later readings check what was added. Of a ledger
that does not check out nothing is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from ratchet.ledger.anchor import AnchorUnreadable, read_anchor
from ratchet.ledger.chain import GENESIS, Entry, entry_of, stored_hash
from ratchet.ledger.state import LoopState, fold
from ratchet.loop import Loop
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of


class LedgerBroken(RuntimeError):
    """The ledger does not check out; the message says where."""


@dataclass(frozen=True)
class Book:
    """The ledger as last read."""

    entries: tuple[Entry, ...] = ()

    @property
    def end(self) -> tuple[int, str]:
        return (self.entries[-1].seq, self.entries[-1].hash) if self.entries else (0, GENESIS)


_books: dict[str, Book] = {}
_lock = Lock()


def ledger_entries(settings: Settings) -> tuple[Entry, ...]:
    """Every entry of every loop, in order; none where there is no ledger yet.

    Raises:
        LedgerBroken: the chain breaks, or its end is not where the anchor says it was.
    """
    prefix = "sqlite:///"
    url = settings.ledger_url
    # SQLite would make an empty file of one that is not there.
    if url.startswith(prefix) and not Path(url.removeprefix(prefix)).exists():
        return ()
    ledger = ledger_of(settings)
    try:
        anchored = None if ledger.anchor is None else read_anchor(ledger.anchor)
    except AnchorUnreadable as error:
        raise LedgerBroken(str(error)) from None
    with _lock:
        book = _books.get(url, Book())
        seq, head = book.end
        # The last known entry is read again: where another stands in its place, the ledger was replaced.
        rows = ledger.rows(after=max(seq - 1, 0))
        if seq and (not rows or rows[0]["seq"] != seq or rows[0]["hash"] != head):
            book, rows = Book(), ledger.rows()
        elif seq:
            rows = rows[1:]
        if rows:
            book = Book((*book.entries, *_checked(rows, book.end)))
        _books[url] = book
    if anchored is not None:
        at = book.entries[anchored.seq - 1] if 0 < anchored.seq <= len(book.entries) else None
        if at is None or at.hash != anchored.hash:
            raise LedgerBroken(
                f"entry {anchored.seq} was in the ledger and is not, or is another: restore it from its backup"
            )
    return book.entries


def forget() -> None:
    """Read every ledger anew at the next page."""
    with _lock:
        _books.clear()


def _checked(rows: Sequence[Mapping[str, Any]], end: tuple[int, str]) -> list[Entry]:
    seq, head = end
    found: list[Entry] = []
    for row in rows:
        try:
            told, entry = stored_hash(row), entry_of(row)
        except (ValueError, TypeError):
            told = None
        if told is None:
            raise LedgerBroken(f"the ledger was changed: entry {row['seq']} is not as it was written")
        if (row["seq"], row["previous_hash"]) != (seq + 1, head) or told != row["hash"]:
            raise LedgerBroken(f"the ledger's chain breaks at entry {row['seq']} (`ratchet ledger verify`)")
        found.append(entry)
        seq, head = row["seq"], row["hash"]
    return found


@dataclass(frozen=True)
class Source:
    """Everything that the pages of one loop show."""

    settings: Settings
    loop: Loop
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, settings: Settings, loop: Loop) -> Source:
        """As of now.

        Raises:
            LedgerBroken: see `ledger_entries`.
        """
        entries = tuple(e for e in ledger_entries(settings) if e.loop == loop.loop)
        return cls(settings, loop, entries)

    @cached_property
    def state(self) -> LoopState:
        return fold(self.entries)

    @cached_property
    def as_of(self) -> datetime | None:
        """The moment up to which the loop was judged; never the clock."""
        built = self.summary("partitions")
        told = (built or {}).get("as_of") or (self.entries[-1].as_of if self.entries else None)
        return None if told is None else datetime.fromisoformat(str(told))

    @property
    def min_group(self) -> int:
        return self.loop.monitoring.min_group

    @property
    def category_titles(self) -> dict[str, str]:
        """What feedback may be about: name and title."""
        taxonomy = self.loop.feedback.taxonomy
        return {} if taxonomy is None else {name: one.title for name, one in taxonomy.categories.items()}

    @property
    def is_simulated(self) -> bool:
        """Whether what users say is simulated, as last measured."""
        return bool((self.summary("monitor_users") or {}).get("simulated"))

    def summary(self, name: str) -> dict[str, Any] | None:
        """A published summary, None where none is. It is read anew each time: a page is as new as its files."""
        return read(self.settings, self.loop.loop, name)

    def last(self, *kinds: str) -> Entry | None:
        """The newest entry of one of these kinds."""
        return next((e for e in reversed(self.entries) if e.kind in kinds), None)
