"""A delivered file -> chunks of raw values, with the rows that can't even be read set aside.

Nothing is read whole: a chunk is a few megabytes, and what a file needs in memory does not grow with it.
JSON lines and CSV: one line is one row (a quoted line break in CSV is an unclosed quote here, so that one bad
quote can't swallow the rows after it). Parquet: a column of another type refuses the file.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, BinaryIO, cast

import pyarrow as pa

from ratchet.landing.contract import SourceContract

FORMATS = ("jsonl", "csv", "parquet")
ROWS_PER_CHUNK = 50_000
# From here on a column that nobody knows is taken for a misspelt one.
_ALIKE = 0.85


@dataclass(frozen=True)
class Rejected:
    """A row that does not land: its line (1-based; 0 is the whole file), why, and its bytes.

    `original` is only the start of a row that is too long to hold; `length` and `sha256` are then the whole
    row's. `is_cut_off`: the file ended within the row's line.
    """

    line: int
    reason: str
    original: bytes
    length: int | None = None
    sha256: str | None = None
    is_cut_off: bool = False


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    `columns[name]` has one entry a readable row: a list of Python values (None is missing), or an Arrow array
    where the format has types. `lines` are the rows' 1-based lines; `texts` says whether the values came as
    text (CSV); `original(i)` is what row i said; `extras[i]` is what it said beyond the contract. `header` is
    the first line of a CSV file.
    """

    rows_read: int
    columns: dict[str, list[Any] | pa.Array]
    lines: list[int]
    texts: bool
    original: Callable[[int], bytes]
    rejected: list[Rejected] = field(default_factory=list)
    extras: list[dict[str, Any] | None] | None = None
    header: str | None = None


class UnreadableFile(ValueError):
    """The file as a whole can't be read; the message says why."""


def format_of(name: str) -> tuple[str, bool]:
    """The format that a file's name says, and whether it is gzipped.

    Raises:
        UnreadableFile: it says none that is known.
    """
    stem, _, last = name.rpartition(".")
    gzipped = last == "gz"
    if gzipped:
        last = stem.rpartition(".")[2]
    if last not in FORMATS or (gzipped and last == "parquet"):
        shown = f"{last}.gz" if gzipped else last
        raise UnreadableFile(
            f"a file of type {shown[:60]!r}; expected .jsonl, .csv (each also .gz) or .parquet"
        )
    return last, gzipped


def read_chunks(
    stream: BinaryIO, name: str, contract: SourceContract, *, without: frozenset[str] = frozenset()
) -> Iterator[Chunk]:
    """The rows of the file `name`, whose bytes `stream` gives, in order.

    `without`: required columns that may be missing all the same, because landing knows how to fill them.

    Raises:
        UnreadableFile: no known format, a damaged file, or a column of the contract that is missing. It may
            come after some chunks were given: the caller takes back what it did with them.
    """
    from ratchet.landing.read_csv import csv_chunks
    from ratchet.landing.read_jsonl import jsonl_chunks
    from ratchet.landing.read_parquet import parquet_chunks

    fmt, gzipped = format_of(name)
    if fmt == "parquet":
        yield from parquet_chunks(stream, contract, without)
        return
    source = cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if gzipped else stream
    chunks = jsonl_chunks(source, contract) if fmt == "jsonl" else csv_chunks(source, contract, without)
    try:
        yield from chunks
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFile(f"damaged gzip: {error}") from None


def checked_header(
    found: list[str], contract: SourceContract, without: frozenset[str] = frozenset()
) -> list[str]:
    """The columns of a file that the contract does not name.

    Raises:
        UnreadableFile: a column comes twice, or one of the contract is missing that is not optional.
    """
    if len(set(found)) != len(found):
        twice = sorted({name for name in found if found.count(name) > 1})
        raise UnreadableFile(f"column {', '.join(twice)[:500]} comes twice")
    may_lack = without | contract.may_be_absent
    missing = [name for name in contract.names if name not in found and name not in may_lack]
    unknown = [name for name in found if name not in contract.names]
    if missing:
        told = f"; unknown {', '.join(unknown)[:500]}" if unknown else ""
        raise UnreadableFile(
            f"columns differ from the contract of {contract.source}: missing {', '.join(missing)}{told}"
        )
    for name in sorted(may_lack - set(found)):
        # Rows without consent are of somebody who was never asked; under another name it would be lost silently.
        if meant := get_close_matches(name, {text.lower(): text for text in unknown}, 1, _ALIKE):
            raise UnreadableFile(f"column {meant[0][:100]} is not in the contract; was {name} meant?")
    return unknown
