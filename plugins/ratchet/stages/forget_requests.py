"""Requests to be forgotten, in bulk: files in <landing>/<loop>/forget_requests/, an id a line, deleted when done.

A line is an id, or a JSON object with `user_id`. A file that is still being written has a name that starts with a dot
or ends in .tmp. What is in it is personal: it goes with the last of its people.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.forget import forget

Log = Callable[[str], None]
FOLDER = "forget_requests"


class UnreadableRequests(ValueError):
    """A file of requests holds a line that names nobody; the message has file and line, never what it says."""


def forget_requested(settings: Settings, loop: Loop, log: Log) -> dict[str, Any]:
    """Forget everybody whom the files name; counts, and the retrain requests that were opened.

    Raises:
        UnreadableRequests: a line names nobody; nothing of that file was done, those before it are.
        NobodyNamed, PersonKeyError, BuildFailed, WarehouseLocked: as in `forget`; the files stay.
    """
    folder = settings.landing_dir / loop.loop / FOLDER
    files = [
        path
        for path in sorted(folder.glob("*"))
        if path.is_file() and not path.name.startswith((".", "_")) and path.suffix != ".tmp"
    ]
    ids = list(dict.fromkeys(text for path in files for text in _ids(path)))
    done = forget(settings, loop, ids, log, actor="forget_users") if ids else []
    for path in files:
        path.unlink()
    log(f"{len(done)} people of {len(files)} files are forgotten")
    return {
        "files": len(files),
        "people": len(done),
        "rows": sum(sum(one["removed"].values()) for one in done),
        "models": sorted({model["version"] for one in done for model in one["models"]}),
        "retrain": next((one["retrain"] for one in done if one["retrain"]), None),
    }


def _ids(path: Path) -> list[str]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if not text:
            continue
        if text.startswith("{"):
            try:
                text = json.loads(text)["user_id"]
            except (ValueError, KeyError, TypeError):
                text = ""
        if not isinstance(text, str) or not text.strip():
            raise UnreadableRequests(f"{path}:{number}: give an id, or an object with user_id, on each line")
        found.append(text.strip())
    return found
