"""JSON lines -> chunks. A line that is no object of its own is refused alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, BinaryIO

from ratchet.landing.blocks import Block, blocks
from ratchet.landing.contract import SourceContract
from ratchet.landing.readers import Chunk, Rejected


class _FieldTwice(ValueError):
    """An object names a field twice: nobody knows which value was meant."""


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise _FieldTwice(f"field {', '.join(twice)[:200]} comes twice")
    return row


# The decoder's own scanner: twice as fast as json.loads a line, and no line can lean on the next one, as it
# could if the lines were joined into one array first.
_decoder = json.JSONDecoder(object_pairs_hook=_fields)
_scan = _decoder.scan_once  # type: ignore[attr-defined]


def _parse(line: str) -> Any:
    try:
        value, end = _scan(line, 0)
    except StopIteration:
        return _decoder.decode(line)
    return value if end == len(line) else _decoder.decode(line)


def parse_row(line: str) -> dict[str, Any] | str:
    """The object on a line, or the reason why there is none."""
    try:
        row = _parse(line)
    except RecursionError:
        return "broken JSON: nested too deeply"
    except _FieldTwice as error:
        return str(error)
    except ValueError as error:
        return f"broken JSON: {error}"
    return row if type(row) is dict else f"not an object but {type(row).__name__}"


def jsonl_chunks(stream: BinaryIO, contract: SourceContract) -> Iterator[Chunk]:
    """The rows of a file of JSON lines."""
    for block in blocks(stream):
        yield jsonl_chunk(block, contract)


def jsonl_chunk(block: Block, contract: SourceContract) -> Chunk:
    """The rows of one block."""
    rejected = list(block.rejected)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    texts: list[str] = []
    for number, line in zip(block.numbers, block.lines, strict=True):
        try:
            row, end = _scan(line, 0)
        except (StopIteration, ValueError, RecursionError):
            end = -1
        if end != len(line) or type(row) is not dict:
            row = parse_row(line)
            if type(row) is not dict:
                is_cut_off = number == block.cut_off
                rejected.append(Rejected(number, str(row), line.encode(), is_cut_off=is_cut_off))
                continue
        rows.append(row)
        lines.append(number)
        texts.append(line)
    known = frozenset(contract.names)
    extras: list[dict[str, Any] | None] | None = None
    if not all(map(known.issuperset, rows)):
        extras = [
            None if known.issuperset(row) else {name: row[name] for name in row if name not in known}
            for row in rows
        ]
    return Chunk(
        rows_read=block.rows,
        columns=_columns(rows, contract),
        lines=lines,
        texts=False,
        # A lone surrogate can't stand in a decoded line, only in the value that an escape makes.
        original=lambda i: texts[i].encode(),
        rejected=rejected,
        extras=extras,
    )


def _columns(rows: list[dict[str, Any]], contract: SourceContract) -> dict[str, list[Any]]:
    names = contract.names
    try:
        columns = list(zip(*map(itemgetter(*names), rows), strict=True))
        if columns:
            return {name: list(column) for name, column in zip(names, columns, strict=True)}
    except KeyError:
        pass
    return {name: [row.get(name) for row in rows] for name in names}
