"""A snapshot's rows between the warehouse, one Parquet file, and the frame that gates and models read.

The file's bytes follow from the rows alone: not from the engine that gave them, nor from how it cut them up.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

#: Parquet looks at the size of a page after so many rows: pieces of any other length would move its pages.
_BATCH = 1024
_ROW_GROUP = 2**20
#: A column of more different values than fit is written plainly: its dictionary would be as long as itself.
_DICTIONARY_BYTES = 2**16
_PAGE_BYTES = 2**22
_CHUNK = 2**22
#: Bytes after which what was written is sent on to the disk, so that the end of a large file need not wait for all.
_FLUSH = 2**26


class UnknownKind(TypeError):
    """A column is of a type that a snapshot can't hold on every engine; the message names both."""


def canonical(table: pa.Table) -> pa.Table:
    """The rows with one type for what engines name differently: dates are midnights, decimals are doubles.

    Raises:
        UnknownKind: a column is neither number, text, boolean nor time.
    """
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        wanted = _kind(name, column.type)
        columns.append(column if wanted == column.type else column.cast(wanted))
    rows = pa.table(columns, names=table.column_names)
    return rows if _is_even(rows) else rows.combine_chunks()


def _kind(name: str, kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_integer(kind) or types.is_boolean(kind) or kind in (pa.float32(), pa.float64()):
        return kind
    if types.is_decimal(kind):
        return pa.float64()
    if types.is_date(kind) or types.is_timestamp(kind):
        return pa.timestamp("us")
    if types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind):
        return pa.large_string()  # as pandas has it: read without a copy
    raise UnknownKind(f"column {name} is {kind}; a snapshot holds numbers, text, booleans, dates and times")


def _is_even(rows: pa.Table) -> bool:
    return all(len(chunk) % _BATCH == 0 for column in rows.columns for chunk in column.chunks[:-1])


def write_rows(rows: pa.Table, path: Path) -> str:
    """Write canonical rows to `path` and flush them to disk; the SHA-256 of the file in hexadecimal.

    Measured numbers rarely repeat and hardly shrink, so only the rest is compressed.
    """
    measured = {field.name for field in rows.schema if pa.types.is_floating(field.type)}
    with path.open("wb", buffering=0) as handle:
        sink = _Hashed(handle)
        pq.write_table(
            rows,
            pa.PythonFile(sink, mode="w"),
            row_group_size=_ROW_GROUP,
            write_batch_size=_BATCH,
            compression={name: "none" if name in measured else "zstd" for name in rows.column_names},
            use_dictionary=True,
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
            data_page_size=_PAGE_BYTES,
            write_statistics=False,
        )
        return sink.finish()


class _Hashed:
    """A file that is hashed and flushed to disk while more of it is being made: what Arrow takes for a file."""

    closed = False

    def __init__(self, handle: FileIO) -> None:
        self._handle, self._digest = handle, hashlib.sha256()
        self._hashing, self._flushing = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._begun: list[Future[None]] = []
        self._unflushed = 0

    def write(self, data: Any) -> int:
        part = bytes(data)
        written = self._handle.write(part)
        if written != len(part):
            raise OSError(errno.ENOSPC, f"{written} of {len(part)} bytes could be written", self._handle.name)
        self._begun.append(self._hashing.submit(self._digest.update, part))
        self._unflushed += written
        if self._unflushed >= _FLUSH:
            self._flush()
        return written

    def tell(self) -> int:
        return self._handle.tell()

    def flush(self) -> None:
        """Nothing is kept back here."""

    def close(self) -> None:
        """Who opened the file closes it."""

    def finish(self) -> str:
        """Wait for all that was begun; the SHA-256 of what was written.

        Raises:
            OSError: the disk did not take it.
        """
        self._flush()
        with self._hashing, self._flushing:
            for step in self._begun:
                step.result()
        return self._digest.hexdigest()

    def _flush(self) -> None:
        self._begun.append(self._flushing.submit(os.fsync, self._handle.fileno()))
        self._unflushed = 0


def bytes_of(path: Path) -> tuple[pa.Buffer, str]:
    """A file's bytes and their SHA-256 in hexadecimal: what is read afterwards is what was hashed.

    Raises:
        OSError: it can't be read, or got shorter meanwhile.
    """
    # numpy asks for large pages, which a bytes object of this size has to do without.
    content = np.empty(path.stat().st_size, dtype=np.uint8)
    view, digest = content.data, hashlib.sha256()
    with path.open("rb") as handle, ThreadPoolExecutor(1) as pool:
        for start in range(0, len(view), _CHUNK):
            part = view[start : start + _CHUNK]
            if handle.readinto(part) != len(part):
                raise OSError(f"{path} got shorter while it was read")
            pool.submit(digest.update, part)
    return pa.py_buffer(content), digest.hexdigest()


def frame_of(content: pa.Buffer) -> pd.DataFrame:
    """The rows of a snapshot's bytes; a number with missing values is a float."""
    # One piece a row group, where `read_table` would cut it in eight and the frame have to put them together.
    return frame_of_rows(pq.ParquetFile(pa.BufferReader(content)).read())


def frame_of_rows(rows: pa.Table) -> pd.DataFrame:
    """Canonical rows as a frame, which shares their memory where it can."""
    found: pd.DataFrame = rows.to_pandas(split_blocks=True)
    return found


@contextmanager
def beside(folder: Path, name: str) -> Iterator[Path]:
    """A path in `folder` for a file that is not yet whole; whatever lies there at the end is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{name}.{os.getpid()}.tmp"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
