"""What landing says it did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class FileCounts:
    """What became of one file's rows: rows_read = rows_landed + rows_quarantined + rows_duplicate + rows_forgotten.

    Forgotten are rows about people who asked for it: nothing of them is kept.
    """

    source: str
    received_date: date
    file_name: str
    rows_read: int
    rows_landed: int
    rows_quarantined: int
    rows_duplicate: int
    rows_forgotten: int = 0


@dataclass(frozen=True)
class LandingReport:
    """What landing a range of received dates did, file by file."""

    start: date
    end: date
    files: tuple[FileCounts, ...] = ()

    @property
    def rows_read(self) -> int:
        return sum(counts.rows_read for counts in self.files)

    @property
    def rows_landed(self) -> int:
        return sum(counts.rows_landed for counts in self.files)

    @property
    def rows_quarantined(self) -> int:
        return sum(counts.rows_quarantined for counts in self.files)

    @property
    def rows_duplicate(self) -> int:
        return sum(counts.rows_duplicate for counts in self.files)

    @property
    def rows_forgotten(self) -> int:
        return sum(counts.rows_forgotten for counts in self.files)

    @property
    def dirty(self) -> tuple[tuple[str, date], ...]:
        """The (source, received date) pairs that got new rows, in order, once each."""
        return tuple(sorted({(c.source, c.received_date) for c in self.files if c.rows_landed}))


@dataclass(frozen=True)
class Progress:
    """How far a landing is: partitions done of all, and rows read of the file at hand."""

    source: str
    received_date: date
    file_name: str
    rows: int
    partitions_done: int
    partitions: int
