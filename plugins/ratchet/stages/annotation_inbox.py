"""Labels of the page: kept as files until a report takes them, because a page never opens the warehouse."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path

from ratchet.loop import Loop
from ratchet.loop_feedback import ANNOTATOR
from ratchet.published import read, write_atomically
from ratchet.settings import Settings


class LabelRefused(ValueError):
    """A label that can't be taken; the message says why."""


def inbox(settings: Settings, loop: str) -> Path:
    """Where they lie."""
    return settings.home / "annotations" / loop


def give(
    settings: Settings, loop: Loop, feedback_id: str, annotator: str, category: str, as_of: datetime
) -> None:
    """Keep a label of the page until the next report takes it; a second word before that replaces the first.

    Raises:
        LabelRefused: the name or the category is none, or the answer is not in the published queue.
    """
    if loop.feedback.taxonomy is None or category not in loop.feedback.taxonomy.categories:
        raise LabelRefused("choose one of the categories")
    if not ANNOTATOR.fullmatch(annotator):
        raise LabelRefused("your name has characters that a label can't be kept under")
    queued = (read(settings, loop.loop, "annotation") or {}).get("queue") or []
    if feedback_id not in {one["feedback_id"] for one in queued}:
        raise LabelRefused("this answer is not in the queue any more")
    said = {
        "feedback_id": feedback_id, "annotator": annotator, "category": category,
        "rubric_version": loop.feedback.rubric(), "at": as_of.isoformat(),
    }  # fmt: skip
    name = hashlib.sha256(f"{feedback_id}\0{annotator}".encode()).hexdigest()[:32]
    write_atomically(inbox(settings, loop.loop) / f"{name}.json", json.dumps(said).encode())


def waiting_in_inbox(settings: Settings, loop: str) -> dict[tuple[str, str], str]:
    """(answer, annotator) -> category of labels of the page that no report has taken yet."""
    found = {}
    for path in sorted(inbox(settings, loop).glob("*.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue  # taken meanwhile
        found[said["feedback_id"], said["annotator"]] = str(said["category"])
    return found
