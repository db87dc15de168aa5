"""Bytes of one file -> columns of raw values, with the rows that can't even be read set aside.

JSON lines and CSV: one line is one row (a quoted line break in CSV is an unclosed quote here, so that one
bad quote can't swallow the rows after it). Parquet: a column of another type refuses the file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.landing.contract import SourceContract

FORMATS = ("jsonl", "csv", "parquet")


@dataclass(frozen=True)
class Rejected:
    """A row that does not land: its line (1-based; 0 is the whole file), why, and what it said."""

    line: int
    reason: str
    original: str


@dataclass(frozen=True)
class RawColumns:
    """One file, read.

    `columns[name]` has one entry a readable row: a list of Python values (None is missing), or a typed Series
    where the format has types. `lines` are the rows' 1-based lines; `texts` says whether the values came as
    text (CSV); `original(i)` is what row i said.
    """

    rows_read: int
    columns: dict[str, list[Any] | pd.Series]
    lines: list[int]
    texts: bool
    may_hold_nul: bool
    original: Callable[[int], str]
    rejected: list[Rejected] = field(default_factory=list)


class UnreadableFile(ValueError):
    """The file as a whole can't be read; the message says why."""


def read(data: bytes, fmt: str, contract: SourceContract) -> RawColumns:
    """The rows of a file in the format `fmt` (one of FORMATS).

    Raises:
        UnreadableFile: no such format, a damaged file, or columns that are not the contract's.
    """
    if fmt == "jsonl":
        return _read_jsonl(data, contract)
    if fmt == "csv":
        return _read_csv(data, contract)
    if fmt == "parquet":
        return _read_parquet(data, contract)
    raise UnreadableFile(f"a file of type {fmt!r}; expected one of {', '.join(FORMATS)}")


def _lines(data: bytes) -> tuple[list[tuple[int, str]], list[Rejected], int]:
    """Numbered non-empty lines, those that are not UTF-8 set aside, and how many rows there were."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        # Not splitlines(): it also breaks at characters that may stand inside a text.
        texts = data.decode("utf-8").split("\n")
        numbered = [(n, line.rstrip("\r")) for n, line in enumerate(texts, 1)]
        numbered = [(n, line) for n, line in numbered if line and not line.isspace()]
        return numbered, [], len(numbered)
    except UnicodeDecodeError:
        pass
    good: list[tuple[int, str]] = []
    bad: list[Rejected] = []
    for n, raw in enumerate(data.split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            good.append((n, raw.decode("utf-8").rstrip("\r")))
        except UnicodeDecodeError as error:
            bad.append(
                Rejected(
                    n, f"not UTF-8 at byte {error.start}", raw.decode("utf-8", errors="backslashreplace")
                )
            )
    return good, bad, len(good) + len(bad)


# The decoder's own scanner: twice as fast as json.loads a line, and no line can lean on the next one, as it
# could if the lines were joined into one array first.
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def _parse_json(line: str) -> Any:
    try:
        value, end = _scan(line, 0)
    except StopIteration:
        return json.loads(line)
    return value if end == len(line) else json.loads(line)


def _read_jsonl(data: bytes, contract: SourceContract) -> RawColumns:
    numbered, rejected, rows_read = _lines(data)
    parsed: list[Any] = []
    readable: list[tuple[int, str]] = []
    for pair in numbered:
        try:
            parsed.append(_parse_json(pair[1]))
            readable.append(pair)
        except RecursionError:
            rejected.append(Rejected(pair[0], "broken JSON: nested too deeply", pair[1]))
        except ValueError as error:
            rejected.append(Rejected(pair[0], f"broken JSON: {error}", pair[1]))
    numbered = readable
    names = contract.names
    known = frozenset(names)
    keep = [type(row) is dict and known.issuperset(row) for row in parsed]
    if not all(keep):
        for (n, line), row, ok in zip(numbered, parsed, keep, strict=True):
            if not ok and type(row) is dict:
                extra = ", ".join(sorted(set(row) - known)[:5])
                rejected.append(Rejected(n, f"unknown field {extra[:200]}", line))
            elif not ok:
                rejected.append(Rejected(n, f"not an object but {type(row).__name__}", line))
        parsed = [row for row, ok in zip(parsed, keep, strict=True) if ok]
        numbered = [pair for pair, ok in zip(numbered, keep, strict=True) if ok]
    return RawColumns(
        rows_read=rows_read,
        columns={name: [row.get(name) for row in parsed] for name in names},
        lines=[n for n, _ in numbered],
        texts=False,
        may_hold_nul=b"\x00" in data or b"\\u0000" in data,
        original=lambda i: numbered[i][1],
        rejected=rejected,
    )


def _check_columns(found: list[str], contract: SourceContract) -> None:
    if len(set(found)) != len(found):
        twice = sorted({name for name in found if found.count(name) > 1})
        raise UnreadableFile(f"column {', '.join(twice)} comes twice")
    missing = [name for name in contract.names if name not in found]
    unknown = [name for name in found if name not in contract.names]
    if missing or unknown:
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(unknown)[:500]}"] if unknown else []
        raise UnreadableFile(f"columns differ from the contract of {contract.source}: {'; '.join(parts)}")


def _read_csv(data: bytes, contract: SourceContract) -> RawColumns:
    numbered, rejected, rows_read = _lines(data)
    if not numbered:
        if rows_read:
            raise UnreadableFile("no header: not one line is UTF-8")
        return RawColumns(0, {name: [] for name in contract.names}, [], True, False, lambda i: "", [])
    try:
        header = next(csv.reader([numbered[0][1]], strict=True))
    except csv.Error as error:
        raise UnreadableFile(f"no header: {error}") from None
    _check_columns(header, contract)
    numbered = numbered[1:]
    width = len(header)
    rows: list[list[str]] = []
    kept: list[tuple[int, str]] = []
    if b'"' not in data:
        fields = [line.split(",") for _, line in numbered]
    else:
        fields = []
        for n, line in numbered:
            try:
                fields.append(next(csv.reader([line], strict=True)))
            except (csv.Error, StopIteration) as error:
                fields.append([])
                rejected.append(Rejected(n, f"broken CSV: {error}", line))
    broken = {entry.line for entry in rejected}
    for pair, row in zip(numbered, fields, strict=True):
        if len(row) == width:
            rows.append(row)
            kept.append(pair)
        elif pair[0] not in broken:
            rejected.append(Rejected(pair[0], f"{len(row)} fields, the header has {width}", pair[1]))
    columns = list(zip(*rows, strict=True)) if rows else [()] * width
    by_name = dict(zip(header, columns, strict=True))
    return RawColumns(
        rows_read=rows_read - 1,
        columns={name: [value or None for value in by_name[name]] for name in contract.names},
        lines=[n for n, _ in kept],
        texts=True,
        may_hold_nul=b"\x00" in data,
        original=lambda i: kept[i][1],
        rejected=rejected,
    )


def _fits(found: pa.DataType, wanted: str) -> bool:
    if pa.types.is_null(found):
        return True
    if wanted == "varchar":
        if pa.types.is_dictionary(found):
            found = found.value_type
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found))
    if wanted in ("integer", "bigint"):
        # A nullable integer column that passed through pandas arrives as floating point.
        return bool(pa.types.is_integer(found) or pa.types.is_floating(found))
    if wanted == "double":
        return bool(pa.types.is_integer(found) or pa.types.is_floating(found))
    if wanted == "boolean":
        return bool(pa.types.is_boolean(found))
    if wanted == "timestamp":
        return bool(pa.types.is_timestamp(found))
    return bool(pa.types.is_date(found) or pa.types.is_timestamp(found))


def _read_parquet(data: bytes, contract: SourceContract) -> RawColumns:
    try:
        table = pq.ParquetFile(io.BytesIO(data)).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableFile(f"not a readable Parquet file: {str(error).splitlines()[0][:300]}") from None
    _check_columns(list(table.column_names), contract)
    values: dict[str, list[Any] | pd.Series] = {}
    for column in contract.columns:
        found = table.column(column.name)
        if not _fits(found.type, column.data_type):
            raise UnreadableFile(
                f"column {column.name} is {found.type}, the contract says {column.data_type}"
            )
        if column.data_type in ("timestamp", "date") and not pa.types.is_null(found.type):
            # Microseconds, as the warehouse stores them; a zone is turned into UTC by its instant.
            values[column.name] = found.cast(pa.timestamp("us"), safe=False).to_pandas()
        else:
            values[column.name] = found.to_pylist()
    rows = table.num_rows

    def original(i: int) -> str:
        row = table.slice(i, 1).select(list(contract.names)).to_pylist()[0]
        return json.dumps(row, default=str, ensure_ascii=False)

    # Texts in Parquet may hold anything; the check is cheap enough to make always.
    return RawColumns(rows, values, list(range(1, rows + 1)), False, True, original, [])
