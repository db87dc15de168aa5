"""One column of raw values -> an Arrow array of the contract's type; what does not fit is noted and null."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

ARROW_TYPES = {
    "varchar": pa.string(),
    "integer": pa.int64(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
    "date": pa.date32(),
}
_INTEGER_LIMITS = {"integer": 2**31 - 1, "bigint": 2**63 - 1}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_LARGEST_WHOLE = 2**53  # beyond it a double stands for several whole numbers
# ISO 8601 allows bare years and months; a day needs 10 characters, a time at least its minutes.
_SHORTEST = {True: 10, False: 16}

Reasons = np.ndarray  # object array, one entry a row: None or the reason
Values = Any  # a list of Python values, or an Arrow array where the format has types


class Notes:
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

    @staticmethod
    def shown(value: Any) -> str:
        """The value as a message may quote it."""
        text = repr(value[:60] if isinstance(value, str | list) else value)
        return text if len(text) <= 60 else f"{text[:57]}..."


def _only(values: Values, allowed: set[type], wanted: str, note: Notes) -> list[Any]:
    """The values with those of another type set to None, each noted."""
    listed = values if isinstance(values, list) else values.to_pylist()
    if set(map(type, listed)) <= allowed | {type(None)}:
        return listed
    listed = list(listed)
    for i, value in enumerate(listed):
        if value is not None and type(value) not in allowed:
            note.at(i, f"{note.shown(value)} is not {wanted}")
            listed[i] = None
    return listed


def texts(values: Values, note: Notes) -> pa.Array:
    """Texts; half a character (a lone surrogate) or bytes that are no UTF-8 are noted."""
    if not isinstance(values, list) and not pa.types.is_null(values.type):
        try:
            array = values.cast(pa.string())
            array.validate(full=True)
            return array
        except pa.ArrowInvalid:
            raw = values.cast(pa.binary())
            values = [None if v is None else v.decode("utf-8", "surrogateescape") for v in raw.to_pylist()]
    listed = _only(values, {str}, "text", note)
    try:
        return pa.array(listed, pa.string())
    except UnicodeEncodeError:
        listed = list(listed)
    for i, value in enumerate(listed):
        try:
            if value is not None:
                value.encode()
        except UnicodeEncodeError:
            note.at(i, "holds half a character")
            listed[i] = None
    return pa.array(listed, pa.string())


def _plain_number(text: str) -> bool:
    # int() and float() also take "1_000", blanks and the digits of other scripts; a file that has them is
    # not what was agreed.
    return text.isascii() and "_" not in text and text == "".join(text.split())


def _parsed(values: list[Any], convert: Callable[[str], Any], wanted: str, note: Notes) -> list[Any]:
    """Numbers that came as text."""
    try:
        if _plain_number("".join([value or "" for value in values])):
            return [None if value is None else convert(value) for value in values]
    except ValueError:
        pass
    listed = list(values)
    for i, value in enumerate(listed):
        if value is None:
            continue
        try:
            if not _plain_number(value):
                raise ValueError
            listed[i] = convert(value)
        except ValueError:
            listed[i] = None
            note.at(i, f"{note.shown(value)} is not {wanted}")
    return listed


def numbers(values: Values, data_type: str, note: Notes, are_texts: bool) -> pa.Array:
    """Whole numbers within their type's range, or finite doubles."""
    whole = data_type != "double"
    if not isinstance(values, list) and not pa.types.is_null(values.type):
        return _whole_array(values, data_type, note) if whole else _double_array(values, note)
    if isinstance(values, list) and are_texts:
        listed = _parsed(values, int if whole else float, "a whole number" if whole else "a number", note)
    else:
        listed = _only(values, {int, float}, "a whole number" if whole else "a number", note)
    if whole:
        return _whole_list(listed, data_type, note)
    try:
        return _finite(pa.array(listed, pa.float64()), note)
    except (OverflowError, pa.ArrowInvalid):
        floats = [None if v is None else _as_float(v) for v in listed]
        return _finite(pa.array(floats, pa.float64()), note)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _finite(array: pa.Array, note: Notes) -> pa.Array:
    finite = pc.is_finite(array)
    note(~np.asarray(pc.fill_null(finite, True)), "NaN or infinite")
    return array


def _double_array(values: pa.Array, note: Notes) -> pa.Array:
    return _finite(values.cast(pa.float64(), safe=False), note)


def _whole_list(listed: list[Any], data_type: str, note: Notes) -> pa.Array:
    limit = _INTEGER_LIMITS[data_type]
    if float in set(map(type, listed)):
        listed = list(listed)
        for i, value in enumerate(listed):
            if type(value) is float:
                if not math.isfinite(value):
                    note.at(i, "NaN or infinite")
                    listed[i] = None
                elif not value.is_integer() or abs(value) > _LARGEST_WHOLE:
                    note.at(i, f"{note.shown(value)} is not a whole number")
                    listed[i] = None
                else:
                    listed[i] = int(value)
    present = [value for value in listed if value is not None]
    if present and (min(present) < -limit or max(present) > limit):
        listed = list(listed)
        for i, value in enumerate(listed):
            if value is not None and abs(value) > limit:
                note.at(i, f"{_short(value)} is out of range")
                listed[i] = None
    return pa.array(listed, pa.int64())


def _short(value: int) -> str:
    # Python refuses to write a whole number of more than 4,300 digits.
    return f"a number of {value.bit_length()} bits" if value.bit_length() > 200 else repr(value)


def _whole_array(values: pa.Array, data_type: str, note: Notes) -> pa.Array:
    if pa.types.is_floating(values.type):
        floats = np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False))
        given = np.asarray(values.is_valid())
        finite = np.isfinite(floats)
        note(given & ~finite, "NaN or infinite")
        whole = (
            finite & (np.floor(np.where(finite, floats, 0)) == floats) & (np.abs(floats) <= _LARGEST_WHOLE)
        )
        for i in np.flatnonzero(given & finite & ~whole):
            note.at(int(i), f"{note.shown(float(floats[i]))} is not a whole number")
        good = given & whole
        found = pa.array(np.where(good, floats, 0).astype(np.int64), mask=~good)
    elif pa.types.is_uint64(values.type):
        return _whole_list(values.to_pylist(), data_type, note)
    else:
        found = values.cast(pa.int64())
    limit = _INTEGER_LIMITS[data_type]
    if data_type == "integer":
        beyond = np.asarray(pc.fill_null(pc.greater(pc.abs(found), limit), False))
        for i in np.flatnonzero(beyond):
            note.at(int(i), f"{found[int(i)].as_py()} is out of range")
        if beyond.any():
            found = pc.if_else(pa.array(beyond), None, found)
    return found


def booleans(values: Values, note: Notes, are_texts: bool) -> pa.Array:
    """True or false."""
    if not isinstance(values, list) and pa.types.is_boolean(values.type):
        return values
    if isinstance(values, list) and are_texts:
        values = [value if value is None else _BOOLEANS.get(value, value) for value in values]
    return pa.array(_only(values, {bool}, "true or false", note), pa.bool_())


def times(values: Values, note: Notes, *, day_only: bool) -> pa.Array:
    """Instants in UTC without zone (a time without zone is taken as UTC), or days."""
    target = pa.date32() if day_only else pa.timestamp("us")
    if not isinstance(values, list) and not pa.types.is_null(values.type):
        return _instants(values, note).cast(target, safe=False)
    listed = _only(values, {str}, "a time", note)
    try:
        array = pa.array(listed, pa.string())
        if (pc.min(pc.utf8_length(array)).as_py() or 99) >= _SHORTEST[day_only]:
            for kind in (target,) if day_only else (pa.timestamp("us", "UTC"), target):
                try:
                    # The instant's microseconds: a cast that drops the zone must not move the clock.
                    return array.cast(kind).view(target)
                except pa.ArrowInvalid:
                    continue
    except UnicodeEncodeError:
        pass
    return _slow_times(listed, note, day_only).cast(target, safe=False)


def _slow_times(listed: list[Any], note: Notes, day_only: bool) -> pa.Array:
    least = _SHORTEST[day_only]
    readable = [v if v is None or (len(v) >= least and v[4] == "-") else "short" for v in listed]
    form = "%Y-%m-%d" if day_only else "ISO8601"
    parsed = pd.to_datetime(pd.Series(readable, dtype=object), format=form, utc=True, errors="coerce")
    series = parsed.dt.tz_localize(None).astype("datetime64[us]")
    given = np.fromiter((v is not None for v in listed), dtype=bool, count=len(listed))
    for i in np.flatnonzero(series.isna().to_numpy() & given):
        note.at(int(i), f"{note.shown(listed[int(i)])} is not a {'day' if day_only else 'time'}")
    return pa.array(series, pa.timestamp("us"), from_pandas=True)


def _instants(values: pa.Array, note: Notes) -> pa.Array:
    """Typed times as microseconds, as the warehouse stores them; a zone is turned into UTC by its instant."""
    if pa.types.is_date(values.type):
        return values.cast(pa.date32(), safe=False).cast(pa.timestamp("us"))
    per_unit = {"s": 1_000_000, "ms": 1_000, "us": 1}.get(values.type.unit)
    counts = values.cast(pa.timestamp(values.type.unit)).view(pa.int64())
    if per_unit is None:
        return pc.cast(counts.view(pa.timestamp("ns")), pa.timestamp("us"), safe=False)
    raw = np.asarray(pc.fill_null(counts, 0).to_numpy(zero_copy_only=False))
    beyond = np.abs(raw) > (2**62) // per_unit
    note(beyond, "a time out of range")
    micros = np.where(beyond, 0, raw) * per_unit
    return pa.array(micros, mask=np.asarray(values.is_null()) | beyond).view(pa.timestamp("us"))
