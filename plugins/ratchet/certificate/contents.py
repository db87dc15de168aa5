"""The sums that a look was judged from, as its record keeps them: the difference to the looks before.

A rollout's sums grow by a day a look, and the last days change as labels come in. Each look's record holds the rows
that are new or changed and the keys that are gone; the looks before give the rest. What is judged is what the
record gives back (`Sums.frames`), so a replay meets the same numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from ratchet.ledger.chain import Entry, plain

DATE = "departure_date"
#: What tells the rows of a table apart, as far as it has them. Rows with equal keys are kept: they are a fault.
KEYS = (DATE, "cohort_dimension", "cohort_value", "arm")
#: The same on every row of a look.
CONSTANT = ("loop", "experiment_id")

Key = tuple[Any, ...]
Row = list[Any]


class SumsUnreadable(ValueError):
    """A record's sums do not fit the ones before; the message names the table."""


@dataclass(frozen=True)
class Table:
    """One table's rows by key."""

    columns: tuple[str, ...] = ()
    rows: Mapping[Key, tuple[Row, ...]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Sums:
    """The tables of one experiment, by the name under which the judge takes them."""

    tables: Mapping[str, Table] = field(default_factory=lambda: MappingProxyType({}))

    def frames(self, experiment_id: str) -> dict[str, pd.DataFrame]:
        """A frame a table, rows in the order of their keys, departure dates as dates."""
        found = {}
        for name, table in self.tables.items():
            frame = pd.DataFrame(
                [row for key in sorted(table.rows, key=_order) for row in table.rows[key]],
                columns=list(table.columns),
            )
            if DATE in table.columns:
                dates = pd.Series([date.fromisoformat(day) for day in frame[DATE]], dtype="object")
                frame = frame.assign(**{DATE: dates.to_numpy()})
            if table.columns:
                frame.insert(0, "experiment_id", experiment_id)
            found[name] = frame
        return found


def sums_of(frames: Mapping[str, pd.DataFrame], first: date, day: date) -> Sums:
    """The rows of departure dates `first` to `day`, as plain values; what is no finite number is None.

    Raises:
        LedgerValueError: a value is none that a record can hold.
    """
    tables = {}
    for name, frame in frames.items():
        columns = tuple(str(column) for column in frame.columns if column not in CONSTANT)
        rows: dict[Key, list[Row]] = {}
        kept = frame
        if DATE in columns:
            dates = pd.to_datetime(frame[DATE]).dt.date
            inside = [isinstance(d, date) and not pd.isna(d) and first <= d <= day for d in dates]
            kept = frame.assign(**{DATE: dates})[np.array(inside, dtype=bool)]
        at = [columns.index(key) for key in KEYS if key in columns]
        for values in kept[list(columns)].itertuples(index=False, name=None):
            row = [_value(value, name) for value in values]
            rows.setdefault(tuple(row[i] for i in at), []).append(row)
        tables[name] = Table(columns, {key: tuple(sorted(own, key=_order)) for key, own in rows.items()})
    return Sums(tables)


def difference(before: Sums, now: Sums) -> dict[str, Any]:
    """What a record has to hold for `now`, when the records before it give `before`."""
    told: dict[str, Any] = {}
    for name, table in now.tables.items():
        old = before.tables.get(name, Table())
        part: dict[str, Any] = {}
        if table.columns != old.columns:
            part["columns"], old = list(table.columns), Table()
        changed = [key for key in sorted(table.rows, key=_order) if table.rows[key] != old.rows.get(key)]
        part["rows"] = [row for key in changed for row in table.rows[key]]
        gone = [list(key) for key in sorted(set(old.rows) - set(table.rows), key=_order)]
        if gone:
            part["removed"] = gone
        told[name] = part
    return told


def after(before: Sums, told: Mapping[str, Any]) -> Sums:
    """The sums that a record with the difference `told` was judged from.

    Raises:
        SumsUnreadable: the record is not one that `difference` wrote for `before`.
    """
    tables = {}
    try:
        for name, part in told.items():
            old = before.tables.get(name, Table())
            columns = tuple(part["columns"]) if "columns" in part else old.columns
            rows = {} if "columns" in part else dict(old.rows)
            for key in part.get("removed", ()):
                del rows[tuple(key)]
            at = [columns.index(key) for key in KEYS if key in columns]
            added: dict[Key, list[Row]] = {}
            for row in part["rows"]:
                if len(row) != len(columns):
                    raise SumsUnreadable(f"{name}: a row has {len(row)} values for {len(columns)} columns")
                added.setdefault(tuple(row[i] for i in at), []).append(list(row))
            rows |= {key: tuple(own) for key, own in added.items()}
            tables[name] = Table(columns, rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise SumsUnreadable(f"the record's sums do not follow from the looks before: {error!r}") from None
    return Sums(tables)


def recorded(entries: Iterable[Entry], experiment_id: str) -> Sums:
    """The sums of the last recorded look of an experiment; nothing before its first."""
    sums = Sums()
    for entry in entries:
        if entry.kind in LOOKS and entry.payload.get("experiment_id") == experiment_id:
            sums = after(sums, entry.payload.get("sums", {}))
    return sums


#: Kinds of entry that hold one look each.
LOOKS = ("rollout_decision", "holdback_decision")


def _value(value: Any, table: str) -> Any:
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (date, datetime)):
        return value.isoformat()[:10]
    return plain(value, table)


def _order(key: Iterable[Any]) -> tuple[tuple[str, Any], ...]:
    # None and text of one column side by side.
    return tuple((type(part).__name__, "" if part is None else part) for part in key)
