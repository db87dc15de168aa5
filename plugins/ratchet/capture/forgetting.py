"""Rows about forgotten people out of the inbox, while an endpoint may be writing into it."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec

from ratchet.capture.inbox import changing, segments
from ratchet.landing.files import DeliveredFile
from ratchet.landing.people import People
from ratchet.landing.scrub import lines_about


def blank_rows(folder: Path, people: People, marks: frozenset[str]) -> int:
    """Overwrite the rows about `people.forgotten` with blanks where they stand; how many.

    Nothing moves, so an endpoint that has the segment open goes on behind its last row. A row that can't be taken
    apart goes when it has one of `marks` in it.
    """
    if not folder.is_dir():
        return 0
    count = 0
    with changing(folder):
        for path in segments(folder):
            file = DeliveredFile(
                fsspec.filesystem("file"), str(path), path.name, str(path), path.stat().st_size
            )
            lines = frozenset(lines_about(file, people, marks))
            if lines:
                _blank(path, lines)
                count += len(lines)
    return count


def _blank(path: Path, lines: frozenset[int]) -> None:
    with path.open("r+b") as handle:
        start = 0
        for number, line in enumerate(handle.read().split(b"\n"), 1):
            if number in lines:
                handle.seek(start)
                handle.write(b" " * len(line))
            start += len(line) + 1
        handle.flush()
        os.fsync(handle.fileno())
