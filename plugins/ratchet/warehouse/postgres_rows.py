"""Rows between pandas and Postgres, both ways through COPY: what DuckDB's own conversion gives, it gives too.

NaN and null: both are missing values of a frame, as on DuckDB. A float column keeps NaN in the table only where
SQL wrote it; what a frame appends as NaN is null.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from ratchet.warehouse.protocol import WarehouseError

_TEXT, _BYTES = pa.string(), pa.binary()
#: Postgres types (OIDs) that travel as CSV, with the Arrow type that they are read as.
_READ_AS: dict[int, pa.DataType] = {
    16: pa.bool_(),
    17: _BYTES,
    18: _TEXT,
    19: _TEXT,
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    25: _TEXT,
    114: _TEXT,
    700: pa.float32(),
    701: pa.float64(),
    705: _TEXT,
    1042: _TEXT,
    1043: _TEXT,
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1700: pa.float64(),
    3802: _TEXT,
}
#: Column types of a table, and what a frame's column becomes before it is written.
_WRITE_AS: dict[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp without time zone": pa.timestamp("us"),
}
_MASKED = {"int16": "Int16", "int32": "Int32", "int64": "Int64"}
_ROWS_AT_A_TIME = 50_000


def can_copy(types: Sequence[int]) -> bool:
    """Whether columns of these type OIDs travel as CSV."""
    return all(oid in _READ_AS for oid in types)


def frame_of_csv(data: bytes, names: Sequence[str], types: Sequence[int]) -> pd.DataFrame:
    """The frame of what `copy ... to stdout (format csv)` wrote; dtypes as DuckDB's `.df()` has them."""
    kinds = [_READ_AS[oid] for oid in types]
    columns = _columns_of_csv(data, kinds)
    return _framed([_series(column, kind) for column, kind in zip(columns, kinds, strict=True)], names)


def table_of_csv(data: bytes, names: Sequence[str], types: Sequence[int]) -> pa.Table:
    """The same as Arrow; bytes stay in Postgres' hexadecimal."""
    return pa.table(_columns_of_csv(data, [_READ_AS[oid] for oid in types]), names=list(names))


def _columns_of_csv(data: bytes, kinds: Sequence[pa.DataType]) -> list[Any]:
    if not data:
        return [pa.chunked_array([], type=kind) for kind in kinds]
    labels = [str(position) for position in range(len(kinds))]  # names may repeat
    table = arrow_csv.read_csv(
        io.BytesIO(data),
        read_options=arrow_csv.ReadOptions(column_names=labels, use_threads=False),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=arrow_csv.ConvertOptions(
            column_types={
                label: _TEXT if kind == _BYTES else kind for label, kind in zip(labels, kinds, strict=True)
            },
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    return list(table.columns)


def _framed(columns: list[pd.Series], names: Sequence[str]) -> pd.DataFrame:
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()
    seen: dict[str, int] = {}
    unique = []
    for name in names:  # a repeated name gets a number, as DuckDB gives it
        again = seen.get(name, 0)
        unique.append(f"{name}_{again}" if again else name)
        seen[name] = again + 1
    frame.columns = pd.Index(unique)
    return frame


def _series(column: Any, kind: pa.DataType) -> pd.Series:
    if kind == _BYTES:
        values = [pd.NA if v is None else bytearray.fromhex(v[2:]) for v in column.to_pylist()]
        return pd.Series(values, dtype=object)
    if kind == _TEXT:
        if column.null_count == len(column):
            return pd.Series([None] * len(column), dtype=object)
        return pd.Series(column.to_pylist(), dtype="str")
    if pa.types.is_date32(kind) or pa.types.is_timestamp(kind):
        return pd.Series(column.cast(pa.timestamp("us")).to_numpy(), dtype="datetime64[us]")
    if pa.types.is_floating(kind):
        return pd.Series(column.to_numpy(), dtype="float32" if kind == pa.float32() else "float64")
    if column.null_count:
        return pd.Series(column.to_pylist(), dtype="boolean" if kind == pa.bool_() else _MASKED[str(kind)])
    return pd.Series(column.to_numpy())


def frame_of_rows(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> pd.DataFrame:
    """The frame of fetched rows, for types that have no place in CSV: intervals, arrays, zoned times."""
    columns = []
    for position in range(len(names)):
        values = [row[position] for row in rows]
        known = [value for value in values if value is not None]
        if known and isinstance(known[0], list):
            columns.append(pd.Series([pd.NA if v is None else np.asarray(v) for v in values], dtype=object))
        else:
            columns.append(pd.Series(values, dtype=None if known else object))
    return _framed(columns, names)


def table_of_rows(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> pa.Table:
    """The same as Arrow."""
    return pa.Table.from_pandas(frame_of_rows(rows, names), preserve_index=False)


def arrow_of_frame(frame: pd.DataFrame, columns: dict[str, str], table: str) -> pa.Table:
    """`frame` as Arrow, in the types of the table's `columns` (name: type, as Postgres spells it).

    Raises:
        WarehouseError: the table lacks a column, or a value does not fit; names table and column.
    """
    found = pa.Table.from_pandas(frame, preserve_index=False)
    fitted = []
    for name in found.column_names:
        if name not in columns:
            raise WarehouseError(f"{table} has no column {name}; it has: {', '.join(sorted(columns))}")
        fitted.append(_fitted(found.column(name), columns[name], f"{table}.{name}"))
    return pa.table(fitted, names=found.column_names)


def _fitted(column: Any, kind: str, where: str) -> Any:
    try:
        if kind == "bytea":
            values = [None if v is None else f"\\x{bytes(v).hex()}" for v in column.to_pylist()]
            return pa.array(values, type=_TEXT)
        wanted = _WRITE_AS.get(kind)
        if wanted is None or column.type == wanted:
            return column
        if pa.types.is_timestamp(column.type):
            return column.cast(pa.timestamp("us"), safe=False).cast(wanted)
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError, ValueError) as error:
        raise WarehouseError(f"{where} is {kind}, and a value does not fit: {error}") from None


class CsvOfTable(io.RawIOBase):
    """An Arrow table as a readable CSV stream, made some rows at a time."""

    def __init__(self, table: pa.Table) -> None:
        self._parts = self._written(table)
        self._rest = b""

    @staticmethod
    def _written(table: pa.Table) -> Iterator[bytes]:
        # Every string is quoted and no null is: the empty string stays apart from null.
        options = arrow_csv.WriteOptions(include_header=False, quoting_style="needed")
        for start in range(0, table.num_rows, _ROWS_AT_A_TIME):
            sink = io.BytesIO()
            arrow_csv.write_csv(table.slice(start, _ROWS_AT_A_TIME), sink, options)
            yield sink.getvalue()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer at the end."""
        parts, have = [self._rest], len(self._rest)
        while size < 0 or have < size:
            part = next(self._parts, None)
            if part is None:
                break
            parts.append(part)
            have += len(part)
        data = b"".join(parts)
        if size < 0:
            size = len(data)
        self._rest = data[size:]
        return data[:size]
