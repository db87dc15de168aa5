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
    data = stream.read(block_bytes).removeprefix(_BOM)
    while data:
        end = data.rfind(b"\n") + 1
        first = data.find(b"\n") if end else len(data)
        if len(carry) + first > LONGEST_LINE:
            rejected, data = _skip_line(stream, carry, data, number, block_bytes)
            yield Block([], [], [rejected], number if rejected.is_cut_off else None)
            carry, number = b"", number + 1
            data = data or stream.read(block_bytes)
            continue
        if end:
            whole, carry = carry + data[:end], data[end:]
            yield from _split(whole, number)
            number += whole.count(b"\n")
        else:
            carry += data
        data = stream.read(block_bytes)
    if carry:
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
            try:
                line = raw.decode("utf-8").rstrip("\r")
            except UnicodeDecodeError as error:
                bad.append(Rejected(n, f"not UTF-8 at byte {error.start}", raw))
                continue
            if line and not line.isspace():
                lines.append(line)
                numbers.append(n)
        if numbers or bad:
            yield Block(numbers, lines, bad)


def _skip_line(
    stream: BinaryIO, start: bytes, data: bytes, number: int, block_bytes: int
) -> tuple[Rejected, bytes]:
    """The line that began with `start` and goes on in `data`, refused; and what was read beyond its end."""
    digest = hashlib.sha256(start)
    head = (start + data)[:_HEAD]
    length = len(start)
    while data:
        end = data.find(b"\n")
        part = data if end < 0 else data[:end]
        digest.update(part)
        length += len(part)
        if end >= 0:
            break
        data = stream.read(block_bytes)
    reason = f"a line of {length / 2**20:.1f} MB; the longest that lands has {LONGEST_LINE // 2**20} MB"
    rejected = Rejected(number, reason, head, length, digest.hexdigest(), is_cut_off=not data)
    return rejected, data[end + 1 :] if data else b""
