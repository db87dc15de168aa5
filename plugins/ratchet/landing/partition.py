"""One source's rows of one received date: what is there, what comes, what is refused, what is written down.

All of it happens in one transaction under the partition's lock, a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ratchet.landing.contract import SourceContract
from ratchet.landing.people import FORGED, People, PersonKey, forgotten_people
from ratchet.landing.quarantine import Origin, quarantine_frame, quarantine_id
from ratchet.landing.readers import Chunk, Rejected
from ratchet.landing.report import FileCounts
from ratchet.landing.row_hash import fingerprints, row_hashes
from ratchet.landing.seen import Seen
from ratchet.landing.spill import ExtraNames, redacted, spill_column
from ratchet.landing.validate import validate
from ratchet.landing.values import Reasons
from ratchet.warehouse.protocol import Warehouse

# Known fingerprints are read in slices of about so many, so that a large partition is never held as texts.
_SLICE = 400_000
_HEX = "0123456789abcdef"
#: Why a held row does not land although it is good by now.
FORGOTTEN = "the person asked to be forgotten"


class LandingError(RuntimeError):
    """Landing can't vouch for its counts, or was asked for something impossible."""


@dataclass(frozen=True)
class Taken:
    """What became of some rows: read = landed + quarantined + duplicate + forgotten."""

    read: int = 0
    landed: int = 0
    quarantined: int = 0
    duplicate: int = 0
    forgotten: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(
            self.read + other.read,
            self.landed + other.landed,
            self.quarantined + other.quarantined,
            self.duplicate + other.duplicate,
            self.forgotten + other.forgotten,
        )


@dataclass(frozen=True)
class Retaken:
    """Lines that landed, that were there, and that are refused still, with today's reason."""

    landed: tuple[int, ...]
    duplicate: tuple[int, ...]
    refused: Mapping[int, str]


class Partition:
    """The rows of one source and received date, inside a transaction."""

    def __init__(
        self,
        wh: Warehouse,
        loop: str,
        contract: SourceContract,
        day: date,
        lag: timedelta | None,
        key: PersonKey | None = None,
    ) -> None:
        self._wh, self._loop, self._contract, self._day, self._lag = wh, loop, contract, day, lag
        self._people: People | None = None
        if contract.people and key is not None:
            # Kept until the transaction ends: whoever is forgotten meanwhile waits, and then finds what landed.
            with wh.lock(f"people:{loop}", shared=True):
                self._people = People(loop, contract, key, forgotten_people(wh, loop))
        self._seen = self._known_rows()
        self._held = self._known_refusals()

    @property
    def key(self) -> tuple[str, str, date]:
        return self._loop, self._contract.source, self._day

    def take(self, origin: Origin, chunk: Chunk, names: ExtraNames) -> Taken:
        """Land the chunk's good rows, set the others aside; what became of them."""
        typed, good, reasons = validate(chunk, self._contract, self._day, self._lag)
        typed, gone = self._named(typed, good, reasons)
        rejected = list(chunk.rejected)
        rejected += [
            Rejected(chunk.lines[i], str(reasons[i]), chunk.original(int(i)))
            for i in np.flatnonzero(~good & ~gone)
        ]
        kept = [entry for entry in rejected if not self._is_gone(entry, chunk.header)]
        held = self.refuse(origin, kept, chunk.header)
        good &= ~gone
        landed = int(self._land(origin, chunk, typed, good, names).sum())
        return Taken(
            read=chunk.rows_read,
            landed=landed,
            quarantined=held,
            duplicate=int(good.sum()) - landed + len(kept) - held,
            forgotten=int(gone.sum()) + len(rejected) - len(kept),
        )

    def _named(
        self, typed: dict[str, pa.Array], good: np.ndarray, reasons: Reasons, *, is_trusted: bool = False
    ) -> tuple[dict[str, pa.Array], np.ndarray]:
        """The columns as they may be stored, and which rows are about somebody who is forgotten.

        Rows that bring a stored name which is not theirs are taken out of `good`.
        """
        if not self._contract.people:
            return typed, np.zeros(len(good), dtype=bool)
        if self._people is None:
            raise LandingError(
                f"rows of {self._contract.source} name people and there is no key to hash their ids with"
            )
        named = self._people.named(typed, is_trusted=is_trusted)
        reasons[good & named.forged] = f"{self._contract.people[0]}: {FORGED}"
        good &= ~named.forged
        return named.columns, named.gone

    def _is_gone(self, rejected: Rejected, header: str | None) -> bool:
        if self._people is None or not self._people.forgotten or rejected.line == 0:
            return False
        return not self._people.forgotten.isdisjoint(self._people.in_original(rejected.original, header)[1])

    def retake(self, origin: Origin, chunk: Chunk, *, is_trusted: bool = False) -> Retaken:
        """Land the rows that were set aside and are good by now; what becomes of each, by its line.

        `is_trusted`: an operator corrected them, from what quarantine shows, where people have their stored names.
        """
        typed, good, reasons = validate(chunk, self._contract, self._day, self._lag)
        typed, gone = self._named(typed, good, reasons, is_trusted=is_trusted)
        good &= ~gone
        new = self._land(origin, chunk, typed, good, ExtraNames())
        lines = np.asarray(chunk.lines, dtype=np.int64)
        refused = {entry.line: entry.reason for entry in chunk.rejected}
        refused |= {int(lines[i]): str(reasons[i] or FORGOTTEN) for i in np.flatnonzero(~good)}
        ready = lines[good]
        return Retaken(tuple(ready[new].tolist()), tuple(ready[~new].tolist()), refused)

    def _land(
        self,
        origin: Origin,
        chunk: Chunk,
        typed: dict[str, pa.Array],
        good: np.ndarray,
        names: ExtraNames,
    ) -> np.ndarray:
        """Insert the good rows that are not there; of the good ones, which were inserted."""
        rows = np.flatnonzero(good)
        if not len(rows):
            return np.zeros(0, dtype=bool)
        if chunk.extras is not None:
            names.add(chunk.extras, rows)
        if len(rows) < len(good):
            at = pa.array(rows)
            typed = {name: array.take(at) for name, array in typed.items()}
        for column in self._contract.columns:
            if column.free_text:
                typed[column.name] = redacted(typed[column.name])
        prints = row_hashes(typed, self._contract)
        new = self._seen.admit(prints.high, prints.low)
        landed = int(new.sum())
        if landed == 0:
            return new
        columns: dict[str, Any] = {c.name: typed[c.name] for c in self._contract.columns}
        columns["row_hash"] = prints.texts
        columns["source_line"] = pa.array(np.asarray(chunk.lines, dtype=np.int64)[rows])
        if landed < len(rows):
            mask = pa.array(new)
            columns = {name: array.filter(mask) for name, array in columns.items()}
        if chunk.extras is not None:
            columns["extra_fields"] = spill_column(chunk.extras, rows[new])
        columns["loop"] = _same(self._loop, landed)
        columns["source_file"] = _same(origin.file_name, landed)
        columns["received_date"] = pa.array(np.full(landed, np.datetime64(self._day, "D")), pa.date32())
        # Arrow within the frame: nothing is turned into Python objects on the way to the table.
        frame = pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)
        self._wh.append(self._contract.table, frame)
        return new

    def refuse(self, origin: Origin, rejected: Sequence[Rejected], header: str | None) -> int:
        """Set the rows aside, except those that an earlier version of the same file put there; how many."""
        if not rejected:
            return 0
        listed = sorted(rejected, key=lambda entry: entry.line)
        ids = [quarantine_id(origin, entry) for entry in listed]
        prints = fingerprints(b"".join(name[:16] for name in ids))
        new = self._held.admit(prints.high, prints.low)
        entries = [(ids[i].hex(), listed[i]) for i in np.flatnonzero(new)]
        if entries:
            rows = quarantine_frame(origin, entries, self._contract, header, self._people)
            self._wh.append("raw.quarantine", rows)
        return len(entries)

    def record(self, origin: Origin, taken: Taken, names: ExtraNames) -> FileCounts:
        """Write down what became of a file.

        Raises:
            LandingError: its rows do not add up.
        """
        check(origin, taken)
        self._wh.execute(
            "insert into ops.landings (loop, source, received_date, file_name, file_sha256, rows_read, "
            "rows_landed, rows_quarantined, rows_duplicate, rows_forgotten) "
            "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *self.key,
                origin.file_name,
                origin.file_sha256,
                taken.read,
                taken.landed,
                taken.quarantined,
                taken.duplicate,
                taken.forgotten,
            ),
        )
        for name, rows in names.rows.items():
            self._wh.execute(
                "insert into ops.extra_columns values (?, ?, ?, ?, ?, ?) on conflict "
                "(loop, source, received_date, file_name, column_name) do update set rows = excluded.rows",
                (*self.key, origin.file_name, name, rows),
            )
        return FileCounts(
            self._contract.source,
            self._day,
            origin.file_name,
            taken.read,
            taken.landed,
            taken.quarantined,
            taken.duplicate,
            taken.forgotten,
        )

    def supersede(self, origin: Origin) -> None:
        """The file came again and could be read: what an earlier version of it was refused for as a whole, or
        because it ended within a line, is settled."""
        self._wh.execute(
            "update raw.quarantine set state = 'superseded', settled_as = ? where loop = ? and source = ? "
            "and received_date = ? and source_file = ? and file_sha256 <> ? and state = 'held' "
            "and (source_line = 0 or is_cut_off)",
            (origin.file_sha256, *self.key, origin.file_name, origin.file_sha256),
        )

    def finish(self) -> None:
        """Renew the digest, take the gate's verdict away, and ask for a build.

        A build that runs sees the partition as it was: what is written here waits until it has ended.
        """
        with self._wh.lock(f"build:{self.key[0]}", shared=True):
            self._finish()

    def _finish(self) -> None:
        self._wh.execute(
            "delete from ops.partition_digests where loop = ? and source = ? and received_date = ?", self.key
        )
        self._wh.execute(
            "insert into ops.partition_digests values (?, ?, ?, ?, ?)",
            (*self.key, len(self._seen), self._seen.digest),
        )
        # The verdict was about other rows. Until the gate has looked again, nothing may read the day.
        self._wh.execute(
            "delete from ops.partition_gates "
            "where loop = ? and border = 'landing' and table_name = ? and partition_date = ?",
            self.key,
        )
        self._wh.execute(
            "insert into ops.dirty_partitions (loop, source, received_date) values (?, ?, ?) "
            "on conflict do nothing",
            self.key,
        )

    def _known_rows(self) -> Seen:
        where = f"from {self._contract.table} where loop = ? and received_date = ?"
        key = (self._loop, self._day)
        count = int(self._wh.scalar(f"select count(*) {where}", key))
        seen = Seen()
        if count == 0:
            return seen
        # The table's name is the contract's, which was checked when it was read.
        for digit in _HEX if count > _SLICE else ("",):
            found = self._wh.frame(
                f"select row_hash {where} and substr(row_hash, 1, {len(digit)}) = ?",
                (*key, digit),
            )
            prints = fingerprints(bytes.fromhex("".join(found["row_hash"].tolist())))
            seen.admit(prints.high, prints.low)
        return seen

    def _known_refusals(self) -> Seen:
        found = self._wh.frame(
            "select substr(quarantine_id, 1, 32) as id from raw.quarantine "
            "where loop = ? and source = ? and received_date = ? and quarantine_id is not null",
            self.key,
        )
        prints = fingerprints(bytes.fromhex("".join(found["id"].tolist())))
        seen = Seen()
        seen.admit(prints.high, prints.low)
        return seen


def check(origin: Origin, taken: Taken) -> None:
    """Every row read has landed, is set aside, was there, or is about somebody who is forgotten.

    Raises:
        LandingError: it does not add up.
    """
    if taken.read != taken.landed + taken.quarantined + taken.duplicate + taken.forgotten:
        raise LandingError(
            f"{origin.location}: {taken.read} rows read, but {taken.landed} landed + {taken.quarantined} "
            f"quarantined + {taken.duplicate} duplicate + {taken.forgotten} forgotten; nothing was written"
        )


def _same(value: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), count)
