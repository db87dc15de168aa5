"""A stream of bytes -> blocks of whole lines with their numbers. No line, however long, is held beyond a limit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from ratchet.landing.readers import ROWS_PER_CHUNK, Rejected

BLOCK_BYTES = 4 * 2**20
LONGEST_LINE = 16 * 2**20
_HEAD = 65_536
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """Lines without their ends, blank ones left out, and their numbers; `rejected` are those that are no text.

    `cut_off`: the number of the last line when the file ended without a line end after it.
    """

    numbers: Sequence[int]
    lines: list[str]
    rejected: list[Rejected] = field(default_factory=list)
    cut_off: int | None = None

    @property
    def rows(self) -> int:
        return len(self.lines) + len(self.rejected)


def blocks(stream: BinaryIO, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """The lines of `stream`, at most ROWS_PER_CHUNK in a block."""
    number = 1
    carry = b""
    first = True
    while data := stream.read(block_bytes):
        if first:
            data, first = data.removeprefix(_BOM), False
        end = data.rfind(b"\n") + 1
        if end == 0:
            carry += data
            if len(carry) > LONGEST_LINE:
                rejected, carry = _skip_line(stream, carry, number, block_bytes)
                yield Block([], [], [rejected], number if rejected.is_cut_off else None)
                number += 1
            continue
        whole, carry = carry + data[:end], data[end:]
        yield from _split(whole, number)
        number += whole.count(b"\n")
    if carry.strip():
        for block in _split(carry, number):
            yield Block(block.numbers, block.lines, block.rejected, number)


def _split(data: bytes, number: int) -> Iterator[Block]:
    try:
        # Not splitlines(): it also breaks at characters that may stand inside a text.
        texts = data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        yield from _split_bytes(data, number)
        return
    if not texts[-1]:
        texts.pop()
    if b"\r" in data:
        texts = [line.rstrip("\r") for line in texts]
    for at in range(0, len(texts), ROWS_PER_CHUNK):
        lines = texts[at : at + ROWS_PER_CHUNK]
        numbers: Sequence[int] = range(number + at, number + at + len(lines))
        if not all(lines) or any(map(str.isspace, lines)):
            kept = [(n, line) for n, line in zip(numbers, lines, strict=True) if line and not line.isspace()]
            numbers, lines = [n for n, _ in kept], [line for _, line in kept]
        if lines:
            yield Block(numbers, lines)


def _split_bytes(data: bytes, number: int) -> Iterator[Block]:
    raws = data.split(b"\n")
    for at in range(0, len(raws), ROWS_PER_CHUNK):
        numbers: list[int] = []
        lines: list[str] = []
        bad: list[Rejected] = []
        for n, raw in enumerate(raws[at : at + ROWS_PER_CHUNK], number + at):
            if not raw.strip():
                continue
            try:
                lines.append(raw.decode("utf-8").rstrip("\r"))
                numbers.append(n)
            except UnicodeDecodeError as error:
                bad.append(Rejected(n, f"not UTF-8 at byte {error.start}", raw))
        if numbers or bad:
            yield Block(numbers, lines, bad)


def _skip_line(stream: BinaryIO, start: bytes, number: int, block_bytes: int) -> tuple[Rejected, bytes]:
    """The line that began with `start`, refused, and what was read beyond its end."""
    digest = hashlib.sha256(start)
    length = len(start)
    rest = b""
    cut_off = True
    while data := stream.read(block_bytes):
        end = data.find(b"\n")
        part = data if end < 0 else data[:end]
        digest.update(part)
        length += len(part)
        if end >= 0:
            rest, cut_off = data[end + 1 :], False
            break
    reason = f"a line of {length} bytes; the longest that lands has {LONGEST_LINE}"
    return Rejected(number, reason, start[:_HEAD], length, digest.hexdigest(), cut_off), rest
