"""Rows about forgotten people taken out of delivered files: the lines stay where they are, empty.

Only files under the landing folder are written; a file that its producer keeps elsewhere is its producer's to mend.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.landing.contract import SourceContract
from ratchet.landing.files import DeliveredFile
from ratchet.landing.people import People
from ratchet.landing.readers import UnreadableFile, format_of, read_chunks
from ratchet.settings import Settings
from ratchet.warehouse.protocol import Warehouse

_COPY = 2**20


@dataclass(frozen=True)
class TakenOut:
    """What a file lost: its hash now, how many rows, and the lines behind which others moved up (Parquet only).

    `is_deleted`: it can't be read and says the person's id, so it went as a whole.
    """

    sha256: str
    rows: int
    shifts: tuple[int, ...] = ()
    is_deleted: bool = False


def is_ours(settings: Settings, file: DeliveredFile) -> bool:
    """Whether the file lies in the landing folder."""
    try:
        return Path(file.path).resolve().is_relative_to(settings.landing_dir.resolve())
    except OSError:
        return False


def lines_about(file: DeliveredFile, people: People, plain: frozenset[str] = frozenset()) -> list[int]:
    """The lines of rows about people in `people.forgotten`, in order.

    A row that can't be taken apart counts when it has one of the ids `plain` in it.

    Raises:
        UnreadableFile: the file as a whole can't be read.
    """
    found: list[int] = []
    marks = _marks(plain)
    without = frozenset(people.contract.names)
    with file.open() as stream:
        for chunk in read_chunks(stream, file.name, people.contract, without=without):
            for rejected in chunk.rejected:
                whose = people.in_original(rejected.original, chunk.header)[1]
                if not people.forgotten.isdisjoint(whose) or any(m in rejected.original for m in marks):
                    found.append(rejected.line)
            if not chunk.lines:
                continue
            wanted = (*people.contract.people, *people.contract.keys)
            named = people.named({name: _as_text(chunk.columns[name]) for name in wanted})
            found += np.asarray(chunk.lines, dtype=np.int64)[named.gone].tolist()
    return sorted(set(found))


def _as_text(values: object) -> pa.Array:
    listed = values if isinstance(values, list) else cast(pa.Array, values).to_pylist()
    return pa.array([None if v is None else str(v) for v in listed], pa.string())


def take_out(file: DeliveredFile, people: People, plain: frozenset[str] = frozenset()) -> TakenOut | None:
    """Rewrite the local file without the rows about `people.forgotten`; None when it has none.

    The new content takes the old one's place at once, on disk.
    """
    path = Path(file.path)
    try:
        lines = lines_about(file, people, plain)
    except UnreadableFile:
        if not _says(path, plain):
            return None
        path.unlink()
        return TakenOut("", 1, is_deleted=True)
    if not lines:
        return None
    fmt, gzipped = format_of(file.name)
    fresh = path.with_name(f".{path.name}.forgetting.tmp")
    try:
        if fmt == "parquet":
            _without_rows(path, fresh, lines)
        else:
            _without_lines(path, fresh, frozenset(lines), gzipped)
        with fresh.open("rb") as handle:
            os.fsync(handle.fileno())
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return TakenOut(sha256, len(lines), tuple(lines) if fmt == "parquet" else ())


def rewritten(
    wh: Warehouse,
    contract: SourceContract,
    key: tuple[str, str, date],
    name: str,
    before: str,
    done: TakenOut,
) -> None:
    """The file `name` of the partition `key` lost rows, and with them its hash `before`: what is known of it goes
    on under the new one, and what stood behind a row that is gone goes on at its new line."""
    of_file = "where loop = ? and source = ? and received_date = ? and file_name = ? and file_sha256 = ?"
    if wh.scalar(f"select count(*) from ops.landings {of_file}", (*key, name, done.sha256)):  # noqa: S608
        # It came again as it was before: what is left of it is what is known already.
        wh.execute(f"delete from ops.landings {of_file}", (*key, name, before))  # noqa: S608
    wh.execute(f"update ops.landings set file_sha256 = ? {of_file}", (done.sha256, *key, name, before))  # noqa: S608
    of_file = of_file.replace("file_name", "source_file")
    wh.execute(f"update raw.quarantine set file_sha256 = ? {of_file}", (done.sha256, *key, name, before))  # noqa: S608
    loop, source, day = key
    for line in reversed(done.shifts):
        wh.execute(
            "update raw.quarantine set source_line = source_line - 1 where loop = ? and source = ? "
            "and received_date = ? and source_file = ? and source_line > ?",
            (loop, source, day, name, line),
        )
        wh.execute(
            f"update {contract.table} set source_line = source_line - 1 where loop = ? and received_date = ? "  # noqa: S608
            "and source_file = ? and source_line > ?",
            (loop, day, name, line),
        )


def says(file: DeliveredFile, contract: SourceContract, plain: frozenset[str]) -> bool:
    """Whether a text file of `contract` has one of the ids in it anywhere, as bytes; Parquet is not searched."""
    return (
        file.name.rpartition(".")[2] != "parquet" and bool(contract.people) and _says(Path(file.path), plain)
    )


def _marks(plain: frozenset[str]) -> list[bytes]:
    """The ids as bytes: as they are, and as JSON escapes them."""
    return [form.encode() for text in plain if text for form in {text, json.dumps(text)[1:-1]}]


def _says(path: Path, plain: frozenset[str]) -> bool:
    marks = _marks(plain)
    if not marks:
        return False
    longest, carry = max(map(len, marks)), b""
    try:
        with _opened(path, path.suffix == ".gz") as stream:
            while data := stream.read(_COPY):
                part = carry + data
                if any(mark in part for mark in marks):
                    return True
                carry = part[-longest:]
    except (OSError, EOFError):
        data = path.read_bytes()
        return any(mark in data for mark in marks)
    return False


def _opened(path: Path, gzipped: bool) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if gzipped else path.open("rb")


def _without_lines(path: Path, fresh: Path, lines: frozenset[int], gzipped: bool) -> None:
    def kept() -> Iterator[bytes]:
        with _opened(path, gzipped) as source:
            for number, line in enumerate(source, 1):
                yield b"\n" if number in lines else line

    with fresh.open("wb") as target:
        if gzipped:
            # Without a time in it, equal rows give an equal file.
            with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed:
                for line in kept():
                    packed.write(line)
        else:
            target.writelines(kept())


def _without_rows(path: Path, fresh: Path, lines: list[int]) -> None:
    table = pq.read_table(path, partitioning=None)
    keep = np.ones(table.num_rows, dtype=bool)
    keep[np.asarray(lines) - 1] = False
    pq.write_table(table.filter(pa.array(keep)), fresh, compression="zstd")
