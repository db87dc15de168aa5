"""Raw values -> typed columns, and a reason for every row that does not keep the source's contract.

Column by column: one look at a column settles the common case that all of it is good; only what is left is
looked at value by value. The first reason found for a row is the one it is quarantined with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from ratchet.landing.contract import Column, SourceContract
from ratchet.landing.readers import RawColumns

OLDEST = pd.Timestamp("2000-01-01")
FURTHEST_AHEAD = timedelta(days=400)
_INTEGER_LIMITS = {"integer": 2**31 - 1, "bigint": 2**63 - 1}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

Reasons = np.ndarray  # object array, one entry a row: None or the reason
Values = Sequence[Any] | pd.Series


def validate(
    raw: RawColumns, contract: SourceContract, received_date: date
) -> tuple[dict[str, pd.Series], np.ndarray, Reasons]:
    """Typed columns of all readable rows, a boolean mask of the good ones, and the reasons of the others.

    Text is object, integers Int64, numbers float64 (missing is NaN), booleans boolean, times datetime64[us]
    in UTC without zone. A value of a bad row may be anything of its type.
    """
    count = len(raw.lines)
    reasons: Reasons = np.full(count, None, dtype=object)
    typed: dict[str, pd.Series] = {}
    latest = pd.Timestamp(received_date) + FURTHEST_AHEAD
    for column in contract.columns:
        note = _Notes(reasons, column.name)
        values = raw.columns[column.name]
        if column.data_type == "varchar":
            series, missing = _text(values, column, note, raw.may_hold_nul)
        elif column.data_type in _INTEGER_LIMITS:
            series, missing = _integer(values, column, note, raw.texts)
        elif column.data_type == "double":
            series, missing = _double(values, note, raw.texts)
        elif column.data_type == "boolean":
            series, missing = _boolean(values, note, raw.texts)
        else:
            series, missing = _time(values, note, latest, day_only=column.data_type == "date")
        if column.required:
            note(missing, "is missing")
        if column.minimum is not None:
            note(_outside(series, column, low=True), f"below {column.minimum:g}")
        if column.maximum is not None:
            note(_outside(series, column, low=False), f"above {column.maximum:g}")
        typed[column.name] = series
    _clocks(typed, reasons, received_date)
    return typed, pd.isna(reasons), reasons


class _Notes:
    """Writes the reason of one column's rows where no earlier reason stands."""

    def __init__(self, reasons: Reasons, name: str) -> None:
        self._reasons = reasons
        self._name = name

    def __call__(self, rows: np.ndarray, what: str) -> None:
        if rows.any():
            self._reasons[rows & pd.isna(self._reasons)] = f"{self._name}: {what}"

    def at(self, row: int, what: str) -> None:
        if self._reasons[row] is None:
            self._reasons[row] = f"{self._name}: {what}"


def _missing(values: Values) -> np.ndarray:
    if isinstance(values, pd.Series):
        return values.isna().to_numpy()
    return np.fromiter((value is None for value in values), dtype=bool, count=len(values))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _only(values: Values, allowed: set[type], wanted: str, note: _Notes) -> list[Any]:
    """The values with those of another type set to None, each noted."""
    listed = list(values)
    if set(map(type, listed)) <= allowed | {type(None)}:
        return listed
    for i, value in enumerate(listed):
        if value is not None and type(value) not in allowed:
            note.at(i, f"{_shown(value)} is not {wanted}")
            listed[i] = None
    return listed


def _text(values: Values, column: Column, note: _Notes, may_hold_nul: bool) -> tuple[pd.Series, np.ndarray]:
    listed = _only(values, {str}, "text", note)
    if column.required and "" in listed:
        listed = [value or None for value in listed]
    filled = [value or "" for value in listed]
    lengths = np.fromiter(map(len, filled), dtype=np.int64, count=len(filled))
    note(lengths > column.max_length, f"text longer than {column.max_length}")
    if may_hold_nul:
        note(
            np.fromiter(("\x00" in v for v in filled), dtype=bool, count=len(filled)), "holds a NUL character"
        )
    try:
        "".join(filled).encode("utf-8")
    except UnicodeEncodeError:
        note(
            np.fromiter((_surrogate(v) for v in filled), dtype=bool, count=len(filled)),
            "holds half a character",
        )
    if column.allowed is not None:
        unknown = {value for value in set(listed) if value is not None and value not in column.allowed}
        if unknown:
            for i, value in enumerate(listed):
                if value in unknown:
                    note.at(i, f"unknown value {_shown(value)}")
    return pd.Series(listed, dtype=object), _missing(listed)


def _surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _plain_number(text: str) -> bool:
    # int() and float() also take "1_000", blanks and the digits of other scripts; a file that has them is
    # not what was agreed.
    return text.isascii() and "_" not in text and text == "".join(text.split())


def _numbers(
    values: Values, convert: Callable[[str], Any], wanted: str, note: _Notes, texts: bool
) -> list[Any]:
    if not texts:
        return _only(values, {int, float}, wanted, note)
    listed = list(values)
    try:
        if _plain_number("".join([value or "" for value in listed])):
            return [None if value is None else convert(value) for value in listed]
    except ValueError:
        pass
    for i, value in enumerate(listed):
        if value is None:
            continue
        try:
            if not _plain_number(value):
                raise ValueError
            listed[i] = convert(value)
        except ValueError:
            listed[i] = None
            note.at(i, f"{_shown(value)} is not {wanted}")
    return listed


def _integer(values: Values, column: Column, note: _Notes, texts: bool) -> tuple[pd.Series, np.ndarray]:
    listed = _numbers(values, int, "a whole number", note, texts)
    missing = _missing(values)
    limit = _INTEGER_LIMITS[column.data_type]
    if float in set(map(type, listed)):
        for i, value in enumerate(listed):
            if type(value) is float:
                if not math.isfinite(value):
                    note.at(i, "NaN or infinite")
                    listed[i] = None
                elif not value.is_integer() or abs(value) > 2**53:
                    note.at(i, f"{_shown(value)} is not a whole number")
                    listed[i] = None
                else:
                    listed[i] = int(value)
    present = [value for value in listed if value is not None]
    if present and (min(present) < -limit or max(present) > limit):
        for i, value in enumerate(listed):
            if value is not None and abs(value) > limit:
                note.at(i, f"{_shown(value)} is out of range")
                listed[i] = None
    return pd.Series(listed, dtype="Int64"), missing


def _double(values: Values, note: _Notes, texts: bool) -> tuple[pd.Series, np.ndarray]:
    listed = _numbers(values, float, "a number", note, texts)
    missing = _missing(values)
    try:
        array = np.array([math.nan if value is None else value for value in listed], dtype=np.float64)
    except OverflowError:
        array = np.array(
            [math.nan if v is None else math.inf if abs(v) > 2**1000 else v for v in listed], dtype=np.float64
        )
    given = np.fromiter((value is not None for value in listed), dtype=bool, count=len(listed))
    note(given & ~np.isfinite(array), "NaN or infinite")
    return pd.Series(array, dtype="float64"), missing


def _boolean(values: Values, note: _Notes, texts: bool) -> tuple[pd.Series, np.ndarray]:
    listed = list(values)
    if texts:
        for i, value in enumerate(listed):
            if value is not None:
                listed[i] = _BOOLEANS.get(value, value)
    listed = _only(listed, {bool}, "true or false", note)
    return pd.Series(listed, dtype="boolean"), _missing(values)


def _time(
    values: Values, note: _Notes, latest: pd.Timestamp, *, day_only: bool
) -> tuple[pd.Series, np.ndarray]:
    missing = _missing(values)
    if isinstance(values, pd.Series):
        series = values.astype("datetime64[us]").reset_index(drop=True)
    else:
        listed = _only(values, {str}, "a time", note)
        # ISO 8601 allows bare years and months; a day needs 10 characters, a time at least its minutes.
        least = 10 if day_only else 16
        listed = [v if v is None or (len(v) >= least and v[4] == "-") else "short" for v in listed]
        form = "%Y-%m-%d" if day_only else "ISO8601"
        parsed = pd.to_datetime(pd.Series(listed, dtype=object), format=form, utc=True, errors="coerce")
        series = parsed.dt.tz_localize(None).astype("datetime64[us]")
        given = np.fromiter((v is not None for v in listed), dtype=bool, count=len(listed))
        for i in np.flatnonzero(series.isna().to_numpy() & given):
            note.at(int(i), f"{_shown(values[int(i)])} is not a {'day' if day_only else 'time'}")
    note((series < OLDEST).to_numpy(), f"before {OLDEST.date()}")
    note((series > latest).to_numpy(), f"more than {FURTHEST_AHEAD.days} days ahead")
    return series, missing


def _outside(series: pd.Series, column: Column, *, low: bool) -> np.ndarray:
    limit = column.minimum if low else column.maximum
    if not pd.api.types.is_numeric_dtype(series.dtype):
        return np.zeros(len(series), dtype=bool)
    numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(numbers < limit if low else numbers > limit, dtype=bool)


def _clocks(typed: dict[str, pd.Series], reasons: Reasons, received_date: date) -> None:
    received, happened = typed["received_at"], typed["event_at"]
    start = pd.Timestamp(received_date)
    note = _Notes(reasons, "received_at")
    outside = (received < start) | (received >= start + timedelta(days=1))
    note(outside.to_numpy(), f"not on the partition's day {received_date} (UTC)")
    note((received < happened).to_numpy(), "received before it happened")
