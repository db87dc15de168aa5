"""Exports of other tools as files of the landing contract."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ratchet.feedback.exports import Export, ExportError, reviews, zendesk
from ratchet.loop import Loop
from ratchet.published import write_atomically
from ratchet.settings import Settings

KINDS: Mapping[str, Callable[[str], Export]] = {"zendesk": zendesk, "reviews": reviews}


def import_feedback(settings: Settings, loop: Loop, kind: str, path: Path, received: date) -> dict[str, Any]:
    """Write the rows of the export at `path` into the partition of `received`; counts, and the file.

    The file is named by its content: the same export gives the same file, which lands as duplicates. A row that
    happened after the day of receipt is left out.

    Raises:
        ExportError: the kind is unknown, or the file is not of it.
    """
    if kind not in KINDS:
        raise ExportError(f"{kind!r} is no kind of export; there are {', '.join(KINDS)}")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: {error}") from None
    found = KINDS[kind](content)
    until = f"{received.isoformat()}T23:59:59Z"
    rows = [{**row, "received_at": until} for row in found.rows if row["event_at"] <= until]
    left_out = dict(found.left_out)
    if len(rows) < len(found.rows):
        left_out["a row that happened after the day of receipt"] = len(found.rows) - len(rows)
    report = {"rows": len(rows), "left_out": left_out, "file": None}
    if rows:
        data = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows).encode()
        name = f"{kind}-{hashlib.sha256(data).hexdigest()[:16]}.jsonl"
        file = settings.landing_dir / loop.loop / "feedback" / f"received_date={received.isoformat()}" / name
        write_atomically(file, data)
        report["file"] = str(file)
    return report
