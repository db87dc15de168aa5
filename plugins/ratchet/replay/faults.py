"""Malformed rows, planted on purpose: what producers really send, in addition to every true row.

About one row in 2,000 is followed by a spoiled copy of itself somewhere in the same file. Which rows and
which faults follows from the source and the received date alone, so a file that is written again is the same
file, and the demo's summary can hold what landing refused against what was planted.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from ratchet.replay.files import Row

ROWS_PER_FAULT = 2_000
FAULT_SEED = 404
FUTURE = "2043-06-01T00:00:00Z"

#: Per source: a column that must be a number, with a word that is none; and a closed list's column, if any.
NUMBERS = {
    "weather": ("temperature_f", "warm"),
    "outcomes": ("outcome_value", "late"),
    "feedback": ("rating", "five"),
    "telemetry": ("event_count", "many"),
}
CLOSED_LISTS = {"feedback": ("channel", "pigeon"), "telemetry": ("event_type", "telepathy")}


@dataclass(frozen=True)
class PlantedFaults:
    """How many planted rows a file holds, by kind; duplicates are valid copies, all others are not."""

    source: str
    received_date: date
    kinds: dict[str, int]

    @property
    def duplicates(self) -> int:
        return self.kinds.get("duplicate", 0)

    @property
    def refused(self) -> int:
        """Rows that landing has to put in quarantine."""
        return sum(self.kinds.values()) - self.duplicates


def kinds_for(source: str) -> tuple[str, ...]:
    """The faults that rows of `source` can have; none for a source that is not spoiled."""
    if source not in NUMBERS:
        return ()
    kinds = ["bad_type", "no_received_at", "future_date", "not_a_number", "duplicate", "broken_line"]
    if source in CLOSED_LISTS:
        kinds.append("unknown_word")
    return tuple(kinds)


def _spoil(
    kind: str,
    source: str,
    columns: Sequence[str],
    row: Row,
    write: Callable[[Sequence[str], Row], str],
    form: str,
) -> str:
    """The line of `row` with one fault of `kind`."""
    changed = dict(zip(columns, row, strict=True))
    number, word = NUMBERS[source]
    if kind == "bad_type":
        changed[number] = word
    elif kind == "no_received_at":
        changed["received_at"] = None
    elif kind == "future_date":
        changed["event_at"] = changed["received_at"] = FUTURE
    elif kind == "not_a_number":
        changed[number] = float("nan")
    elif kind == "unknown_word":
        column, unknown = CLOSED_LISTS[source]
        changed[column] = unknown
    line = write(columns, tuple(changed.values()))
    if kind == "broken_line":
        # A file cut in the middle of a line: JSON without its end, a CSV row without its last fields.
        return line[: len(line) // 2] if form == "jsonl" else ",".join(line.split(",")[:2])
    return line


def plant(
    source: str,
    day: date,
    columns: Sequence[str],
    rows: Sequence[Row],
    write: Callable[[Sequence[str], Row], str],
    form: str,
) -> tuple[list[str], PlantedFaults]:
    """The file's lines, true rows in their order with spoiled copies between them, and what was planted."""
    lines = [write(columns, row) for row in rows]
    kinds = kinds_for(source)
    if not kinds or not rows:
        return lines, PlantedFaults(source, day, {})
    rng = np.random.default_rng([FAULT_SEED, zlib.crc32(source.encode()), day.toordinal()])
    count = int(rng.poisson(len(rows) / ROWS_PER_FAULT))
    planted: Counter[str] = Counter()
    for _ in range(count):
        kind = kinds[int(rng.integers(len(kinds)))]
        row = rows[int(rng.integers(len(rows)))]
        lines.insert(int(rng.integers(len(lines) + 1)), _spoil(kind, source, columns, row, write, form))
        planted[kind] += 1
    return lines, PlantedFaults(source, day, dict(sorted(planted.items())))
