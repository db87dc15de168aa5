"""Parquet -> chunks, a slice of a row group at a time. A column of another type refuses the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.landing.contract import SourceContract
from ratchet.landing.readers import ROWS_PER_CHUNK, Chunk, UnreadableFile, checked_header

_CHUNK_BYTES = 64 * 2**20
# A row group is decoded in slices, but a file may claim sizes that no honest writer gives.
_WIDEST = 2_000


def parquet_chunks(stream: BinaryIO, contract: SourceContract, without: frozenset[str]) -> Iterator[Chunk]:
    """The rows of a Parquet file; row n is line n.

    Raises:
        UnreadableFile: damaged, or not the columns and types of the contract.
    """
    try:
        file = pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True)
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(error) from None
    if len(schema.names) > _WIDEST:
        raise UnreadableFile(f"{len(schema.names)} columns; at most {_WIDEST} are read")
    unknown = checked_header(list(schema.names), contract, without)
    for column in contract.columns:
        if column.name in schema.names and not _fits(schema.field(column.name).type, column.data_type):
            found = schema.field(column.name).type
            raise UnreadableFile(f"column {column.name} is {found}, the contract says {column.data_type}")
    size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
    rows = max(1, min(ROWS_PER_CHUNK, _CHUNK_BYTES * file.metadata.num_rows // max(size, 1)))
    done = 0
    try:
        for batch in file.iter_batches(batch_size=rows, use_threads=False):
            yield _chunk(batch, contract, unknown, done)
            done += batch.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(error) from None
    if done != file.metadata.num_rows:
        raise UnreadableFile(f"not a readable Parquet file: {done} of {file.metadata.num_rows} rows")


def _chunk(batch: pa.RecordBatch, contract: SourceContract, unknown: list[str], done: int) -> Chunk:
    def original(i: int) -> bytes:
        row = batch.slice(i, 1).to_pylist()[0]
        return json.dumps(row, default=_plain, ensure_ascii=False).encode("utf-8", "backslashreplace")

    columns: dict[str, list[Any] | pa.Array] = {
        name: batch.column(name) if name in batch.schema.names else [None] * batch.num_rows
        for name in contract.names
    }
    extras = batch.select(unknown).to_pylist() if unknown else None
    lines = list(range(done + 1, done + batch.num_rows + 1))
    return Chunk(batch.num_rows, columns, lines, False, original, [], extras)


def _plain(value: Any) -> str:
    """A value without a JSON form, as text: times so that they can be read again."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _unreadable(error: Exception) -> Exception:
    """The error as one of the file; what the store that holds it says of itself stays what it is."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    first = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return UnreadableFile(f"not a readable Parquet file: {first}")


def _fits(found: pa.DataType, wanted: str) -> bool:
    if pa.types.is_null(found):
        return True
    if wanted == "varchar":
        if pa.types.is_dictionary(found):
            found = found.value_type
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found))
    if wanted in ("integer", "bigint", "double"):
        # A nullable integer column that passed through pandas arrives as floating point.
        return bool(pa.types.is_integer(found) or pa.types.is_floating(found))
    if wanted == "boolean":
        return bool(pa.types.is_boolean(found))
    if wanted == "timestamp":
        return bool(pa.types.is_timestamp(found))
    return bool(pa.types.is_date(found) or pa.types.is_timestamp(found))
