"""CSV -> chunks. The header must have every column of the contract; what it has beyond them spills."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from ratchet.landing.blocks import LONGEST_LINE, Block, blocks
from ratchet.landing.contract import SourceContract
from ratchet.landing.readers import Chunk, Rejected, UnreadableFile, checked_header

# A field may be as long as a line: the contract's limit refuses the row, not the parser the file.
csv.field_size_limit(LONGEST_LINE + 1)


def parse_header(line: str, contract: SourceContract, without: frozenset[str] = frozenset()) -> list[str]:
    """The column names of a header line.

    Raises:
        UnreadableFile: no CSV, or not the columns of the contract.
    """
    try:
        header = next(csv.reader([line], strict=True))
    except (csv.Error, StopIteration) as error:
        raise UnreadableFile(f"no header: {error}") from None
    checked_header(header, contract, without)
    return header


def csv_chunks(stream: BinaryIO, contract: SourceContract, without: frozenset[str]) -> Iterator[Chunk]:
    """The rows of a CSV file; an empty file has none.

    Raises:
        UnreadableFile: no header, or not the columns of the contract.
    """
    header: list[str] | None = None
    text = ""
    for block in blocks(stream):
        if header is None:
            if block.rejected and (not block.lines or block.rejected[0].line < block.numbers[0]):
                raise UnreadableFile("no header: the first line is no text")
            text = block.lines[0]
            header = parse_header(text, contract, without)
            block = Block(block.numbers[1:], block.lines[1:], block.rejected, block.cut_off)
        yield csv_chunk(block, header, text, contract)


def csv_chunk(block: Block, header: list[str], text: str, contract: SourceContract) -> Chunk:
    """The rows of one block under `header`, whose line is `text`."""
    rejected = list(block.rejected)
    width = len(header)
    rows: list[list[str]] = []
    lines: list[int] = []
    texts: list[str] = []
    for number, line in zip(block.numbers, block.lines, strict=True):
        try:
            fields = next(csv.reader([line], strict=True)) if '"' in line else line.split(",")
            reason = f"{len(fields)} fields, the header has {width}"
        except (csv.Error, StopIteration) as error:
            fields, reason = [], f"broken CSV: {error}"
        if len(fields) == width:
            rows.append(fields)
            lines.append(number)
            texts.append(line)
        else:
            rejected.append(Rejected(number, reason, line.encode(), is_cut_off=number == block.cut_off))
    columns = list(zip(*rows, strict=True)) if rows else [()] * width
    by_name = dict(zip(header, columns, strict=True))
    unknown = [name for name in header if name not in contract.names]
    return Chunk(
        rows_read=block.rows,
        columns={
            name: [value or None for value in by_name[name]] if name in by_name else [None] * len(rows)
            for name in contract.names
        },
        lines=lines,
        texts=True,
        original=lambda i: texts[i].encode(),
        rejected=rejected,
        extras=[{name: by_name[name][i] or None for name in unknown} for i in range(len(rows))]
        if unknown
        else None,
        header=text,
    )
