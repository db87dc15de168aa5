"""The whole ledger as one file of JSON lines, which anyone can verify without the installation.

One line an entry in the one canonical way to write it, then a line that says how many there are and the last hash: a
file that was cut is told from a short one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ratchet.ledger.chain import Entry, Verification, canonical, verify_chain

END = "end"


class ExportBroken(ValueError):
    """The file is not a ledger as it was exported; the message names the line."""


def to_lines(entries: Sequence[Entry]) -> str:
    """The file's text."""
    head = entries[-1].hash if entries else ""
    lines = [canonical(entry.__dict__) for entry in entries]
    return "\n".join([*lines, canonical({END: {"entries": len(entries), "head": head}})]) + "\n"


def from_bytes(content: bytes) -> tuple[list[Entry], Verification]:
    """The entries of an exported file, and the outcome of walking their chain.

    Raises:
        ExportBroken: a line is not written as exports are, the file was cut, or it holds no entry.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ExportBroken(f"byte {error.start} is no UTF-8: the file was changed") from None
    lines = text.split("\n")
    if len(lines) < 2 or lines[-1] != "":
        raise ExportBroken(
            f"line {len(lines)} has no end: the file was cut, or is no export (`ratchet ledger export`)"
        )
    documents = list(_documents(lines[:-1]))
    end = documents.pop()
    if set(end) != {END}:
        raise ExportBroken("the last line does not say how many entries there are: the file was cut")
    try:
        entries = [Entry(**document) for document in documents]
    except TypeError as error:
        raise ExportBroken(f"a line is no entry of a ledger: {error}") from None
    found = verify_chain(entries)
    told = {"entries": len(entries), "head": entries[-1].hash if entries else ""}
    if found.problem is None and end[END] != told:
        raise ExportBroken(f"the last line says {end[END]}, the file holds {told}: it was changed or cut")
    return entries, found


def _documents(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            document = json.loads(line)
            is_same = isinstance(document, dict) and canonical(document) == line
        except ValueError:
            is_same = False
        if not is_same:
            raise ExportBroken(f"line {number} is not as it was exported: it was changed")
        yield document
