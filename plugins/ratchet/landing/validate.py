"""Raw values -> typed Arrow columns, and a reason for every row that does not keep the source's contract.

Column by column: one look at a column settles the common case that all of it is good; only what is left is
looked at value by value. The first reason found for a row is the one it is quarantined with.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.landing.contract import Column, SourceContract
from ratchet.landing.readers import Chunk
from ratchet.landing.values import Notes, Reasons, Values, booleans, numbers, texts, times

OLDEST = date(2000, 1, 1)
FURTHEST_AHEAD = timedelta(days=400)
_DAY = 86_400_000_000
# A spreadsheet that meets a long number writes it so; what stood there is gone.
_REWRITTEN = r"^-?\d(?:[.,]\d+)?E[+-]\d+$"


def validate(
    chunk: Chunk, contract: SourceContract, received_date: date, lag: timedelta | None = None
) -> tuple[dict[str, pa.Array], np.ndarray, Reasons]:
    """Typed columns of all readable rows, a boolean mask of the good ones, and the reasons of the others.

    Types are those of `values.ARROW_TYPES`; times are UTC without zone. A value of a bad row may be anything of its
    type. With `lag`, a row without `received_at` was received so long after it happened.
    """
    count = len(chunk.lines)
    reasons: Reasons = np.full(count, None, dtype=object)
    typed: dict[str, pa.Array] = {}
    for column in contract.columns:
        note = Notes(reasons, column.name)
        array = _typed(chunk.columns[column.name], column, note, chunk.texts)
        typed[column.name] = array
        if column.required and not (column.name == "received_at" and lag is not None):
            # A value that did not fit its type is null now, and has its reason already.
            note(np.asarray(array.is_null()), "is missing")
        if column.minimum is not None:
            note(_outside(array, column.minimum, pc.less), f"below {column.minimum:g}")
        if column.maximum is not None:
            note(_outside(array, column.maximum, pc.greater), f"above {column.maximum:g}")
        if column.data_type in ("timestamp", "date"):
            _plausible(array, received_date, note)
    if lag is not None:
        _fill_received(typed, chunk, reasons, lag)
    _clocks(typed, reasons, received_date)
    return typed, pd.isna(reasons), reasons


def _typed(values: Values, column: Column, note: Notes, are_texts: bool) -> pa.Array:
    """The column in its type."""
    if column.data_type == "varchar":
        array = texts(values, note)
        _check_text(array, column, note)
        return array
    if column.data_type in ("integer", "bigint", "double"):
        return numbers(values, column.data_type, note, are_texts)
    if column.data_type == "boolean":
        return booleans(values, note, are_texts)
    return times(values, note, day_only=column.data_type == "date")


def _mask(found: pa.Array) -> np.ndarray:
    """An Arrow condition as a mask; unknown is false."""
    if found.null_count:
        found = pc.fill_null(found, False)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def _check_text(array: pa.Array, column: Column, note: Notes) -> None:
    bounds = pc.min_max(pc.binary_length(array)).as_py()
    if column.required and bounds["min"] == 0:
        note(_mask(pc.equal(pc.binary_length(array), 0)), "is missing")
    if (bounds["max"] or 0) > column.max_length:  # in bytes; characters are counted only where it can matter
        too_long = pc.greater(pc.utf8_length(array), column.max_length)
        note(_mask(too_long), f"text longer than {column.max_length}")
    note(_mask(pc.match_substring(array, "\x00")), "holds a NUL character")
    if column.allowed is not None:
        known = pc.is_in(array, value_set=pa.array(sorted(column.allowed), pa.string()))
        for row in np.flatnonzero(~_mask(known) & np.asarray(array.is_valid())):
            note.at(int(row), f"unknown value {note.shown(array[int(row)].as_py())}")
    if column.key or column.name.endswith("_id"):
        note(_mask(pc.match_substring_regex(array, _REWRITTEN)), "a number that a spreadsheet rewrote")


def _outside(array: pa.Array, limit: float, beyond: object) -> np.ndarray:
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        return np.zeros(len(array), dtype=bool)
    return _mask(beyond(pc.cast(array, pa.float64(), safe=False), limit))  # type: ignore[operator]


def _micros(array: pa.Array) -> np.ndarray:
    """Microseconds since 1970; a missing value is the smallest number."""
    if pa.types.is_date32(array.type):
        array = array.cast(pa.timestamp("us"))
    filled = pc.fill_null(array.view(pa.int64()), np.iinfo(np.int64).min)
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * _DAY


def _plausible(array: pa.Array, received_date: date, note: Notes) -> None:
    micros, given = _micros(array), np.asarray(array.is_valid())
    note(given & (micros < _midnight(OLDEST)), f"before {OLDEST}")
    note(
        given & (micros > _midnight(received_date + FURTHEST_AHEAD)),
        f"more than {FURTHEST_AHEAD.days} days ahead",
    )


def _fill_received(typed: dict[str, pa.Array], chunk: Chunk, reasons: Reasons, lag: timedelta) -> None:
    """Give the rows that came without `received_at` theirs: event_at + lag.

    Only where nothing came: a value that could not be read is a reason, not a gap to fill.
    """
    came = chunk.columns["received_at"]
    absent = pa.array([v is None for v in came]) if isinstance(came, list) else came.is_null()
    filled = pc.add(typed["event_at"], pa.scalar(lag, pa.duration("us")))
    typed["received_at"] = pc.if_else(absent, filled, typed["received_at"])
    Notes(reasons, "received_at")(
        _mask(typed["received_at"].is_null()), "is missing, and so is the event_at that it follows by the lag"
    )


def _clocks(typed: dict[str, pa.Array], reasons: Reasons, received_date: date) -> None:
    received, happened = _micros(typed["received_at"]), _micros(typed["event_at"])
    given = np.asarray(typed["received_at"].is_valid())
    start = _midnight(received_date)
    note = Notes(reasons, "received_at")
    note(
        given & ((received < start) | (received >= start + _DAY)),
        f"not on the partition's day {received_date} (UTC)",
    )
    note(
        given & np.asarray(typed["event_at"].is_valid()) & (received < happened),
        "received before it happened",
    )
