"""Published summaries: small JSON files that pages, sensors and `ratchet status` read instead of the warehouse.

Each is written whole and moved into place, so a reader sees the last complete one or none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ratchet.settings import Settings


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to disk and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def _path(settings: Settings, loop: str, name: str) -> Path:
    return settings.published_dir / loop / f"{name}.json"


def publish(settings: Settings, loop: str, name: str, content: dict[str, Any]) -> None:
    """Replace the summary `name` of `loop`."""
    from ratchet.ledger.chain import plain

    # On one line: with an indent json is written by Python's own encoder, ten times slower for years of days.
    text = json.dumps(plain(content, name), sort_keys=True, allow_nan=False)
    write_atomically(_path(settings, loop, name), text.encode())


def read(settings: Settings, loop: str, name: str) -> dict[str, Any] | None:
    """The summary `name` of `loop`, or None when it was never published."""
    try:
        return dict(json.loads(_path(settings, loop, name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
