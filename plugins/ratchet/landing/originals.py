"""The exact bytes of held rows: from quarantine, from their file, or as somebody corrected them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pandas as pd

from ratchet.landing.blocks import Block, blocks
from ratchet.landing.contract import SourceContract
from ratchet.landing.files import DeliveredFile
from ratchet.landing.read_csv import csv_chunk, parse_header
from ratchet.landing.read_jsonl import jsonl_chunk, parse_row
from ratchet.landing.readers import Chunk, Rejected, UnreadableFile, format_of, read_chunks
from ratchet.warehouse.protocol import Warehouse

ID_FIELD = "quarantine_id"


class CorrectionError(ValueError):
    """A file of corrections that can't be taken; the message names its line and what to do."""


def original_lines(
    wh: Warehouse,
    contract: SourceContract,
    ids: Mapping[int, str],
    file: DeliveredFile | None,
    name: str,
    header: Any,
) -> tuple[dict[int, bytes], str | None]:
    """The bytes of the rows by line, as far as there are any, and the header under which to read them."""
    kept = wh.frame(
        "select source_line, original_bytes from raw.quarantine "
        "where quarantine_id = any(?) and original_bytes is not null",
        (list(ids.values()),),
    )
    found = {int(line): bytes(data) for line, data in kept.itertuples(index=False)}
    text = header if isinstance(header, str) else None
    missing = set(ids) - set(found)
    is_csv = format_of(name)[0] == "csv"
    if file is not None and (missing or (is_csv and text is None)):
        from_file, first = _lines_of(file, contract, missing)
        found |= from_file
        text = text or first
    if is_csv and text is None:
        return {}, None  # without its header a CSV row is only words
    return found, text if is_csv else None


def _lines_of(
    file: DeliveredFile, contract: SourceContract, wanted: set[int]
) -> tuple[dict[int, bytes], str | None]:
    fmt, gzipped = format_of(file.name)
    found: dict[int, bytes] = {}
    header: str | None = None
    with file.open() as stream:
        if fmt == "parquet":
            without = frozenset(contract.names)
            for chunk in read_chunks(stream, file.name, contract, without=without):
                found |= {n: chunk.original(i) for i, n in enumerate(chunk.lines) if n in wanted}
            return found, None
        source = cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if gzipped else stream
        for block in blocks(source):
            if header is None and block.lines:
                header = block.lines[0]
            for number, line in zip(block.numbers, block.lines, strict=True):
                if number in wanted:
                    found[number] = line.encode()
            # What is too long to hold is not there in full: it can't be read again from here.
            found |= {r.line: r.original for r in block.rejected if r.line in wanted and r.length is None}
    return found, header


def parsed(lines: Mapping[int, bytes], header: str | None, contract: SourceContract) -> Chunk:
    """The rows as landing reads them: under `header` as CSV, else as JSON."""
    numbers: list[int] = []
    texts: list[str] = []
    rejected: list[Rejected] = []
    for number in sorted(lines):
        try:
            texts.append(lines[number].decode("utf-8"))
            numbers.append(number)
        except UnicodeDecodeError as error:
            rejected.append(Rejected(number, f"not UTF-8 at byte {error.start}", lines[number]))
    block = Block(numbers, texts, rejected)
    if header is None:
        return jsonl_chunk(block, contract)
    try:
        names = parse_header(header, contract, frozenset(contract.names))
    except UnreadableFile as error:
        why = str(error)
        return jsonl_chunk(Block([], [], [Rejected(n, why, lines[n]) for n in sorted(lines)]), contract)
    return csv_chunk(block, names, header, contract)


@dataclass(frozen=True)
class CorrectedRows:
    """Rows as somebody corrected them, by the id of the held row that each stands for."""

    by_id: Mapping[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path, held: pd.DataFrame, what: str) -> CorrectedRows:
        """From a file of JSON lines, each with its `quarantine_id`.

        Raises:
            CorrectionError: a line that is no object, has no id of a row held in `what`, or one that comes twice.
        """
        known = set(held.loc[held["source_line"] > 0, ID_FIELD])
        rows: dict[str, dict[str, Any]] = {}
        try:
            texts = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise CorrectionError(f"{path}: {error}") from None
        for number, text in enumerate(texts, 1):
            if not text.strip():
                continue
            row = parse_row(text)
            if not isinstance(row, dict):
                raise CorrectionError(f"{path}:{number}: {row}; each line is one row with its {ID_FIELD}")
            name = row.pop(ID_FIELD, None)
            if name not in known:
                raise CorrectionError(
                    f"{path}:{number}: {ID_FIELD} {json.dumps(name)} is no row held in {what}; "
                    "`ratchet quarantine list --rows` shows the ids"
                )
            if name in rows:
                raise CorrectionError(f"{path}:{number}: {ID_FIELD} {name} comes twice")
            rows[name] = row
        if not rows:
            raise CorrectionError(f"{path} holds no row")
        return cls(rows)
