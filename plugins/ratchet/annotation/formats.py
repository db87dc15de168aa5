"""Labels and queues as files: CSV, and the JSON that Label Studio imports and exports.

Nothing is taken that can't be told for certain: a row that lacks something is refused with its place and the reason.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ratchet.annotation.queue import Queued
from ratchet.loop_feedback import ANNOTATOR

Kind = Literal["csv", "labelstudio"]
KINDS: tuple[Kind, ...] = ("csv", "labelstudio")
COLUMNS = ("feedback_id", "annotator", "category", "rubric_version", "event_at")
_LONGEST = 160
#: What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class LabelFileError(ValueError):
    """A file that can't be read as what it is said to be; the message names it and what was expected."""


@dataclass(frozen=True)
class Given:
    """One label of a file, with its line (or its task's number from 1)."""

    line: int
    feedback_id: str
    annotator: str
    category: str
    rubric_version: str
    event_at: datetime


@dataclass(frozen=True)
class Refused:
    """A row that is no label, and why."""

    line: int
    reason: str


def read_labels(content: str, kind: Kind, name: str) -> list[Given | Refused]:
    """Every row of the file, in order; what a row needs beyond its own fields is judged elsewhere.

    Raises:
        LabelFileError: the file as a whole is not of that kind.
    """
    rows = _csv_rows(content, name) if kind == "csv" else _label_studio_rows(content, name)
    return [_given(line, row) if isinstance(row, Mapping) else Refused(line, row) for line, row in rows]


def _given(line: int, row: Mapping[str, Any]) -> Given | Refused:
    said = {column: str(row.get(column) or "").strip() for column in COLUMNS}
    missing = [column for column, value in said.items() if not value]
    if missing:
        return Refused(line, f"{', '.join(missing)} is missing")
    for column in ("feedback_id", "category", "rubric_version"):
        if len(said[column]) > _LONGEST or not said[column].isprintable():
            return Refused(line, f"{column} is no plain text of at most {_LONGEST} characters")
    if not ANNOTATOR.fullmatch(said["annotator"]):
        return Refused(line, "annotator is no name of 1 to 60 letters, digits and . _ @ + - or blanks")
    try:
        moment = datetime.fromisoformat(said["event_at"])
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return Refused(line, "event_at is no time; write 2013-05-14T09:00:00Z")
    return Given(
        line, said["feedback_id"], said["annotator"], said["category"], said["rubric_version"], moment
    )


def _csv_rows(content: str, name: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        header = reader.fieldnames or ()
    except csv.Error as error:
        raise LabelFileError(f"{name}: line 1 is no CSV: {error}") from None
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise LabelFileError(
            f"{name}: column {', '.join(missing)} is missing; the header names {', '.join(COLUMNS)}"
        )
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # What follows a broken quote can't be told from its text.
            yield reader.line_num + 1, f"no CSV from here on: {error}"
            return
        line = reader.line_num
        if None in row or None in row.values():
            yield line, f"it has not the {len(header)} fields of the header"
        elif not str(row["category"]).strip() and not str(row["annotator"]).strip():
            continue  # a row of the exported queue that nobody has labelled
        else:
            yield line, row


def _label_studio_rows(content: str, name: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    try:
        tasks = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LabelFileError(f"{name}: no JSON: {error}") from None
    if not isinstance(tasks, list):
        raise LabelFileError(f"{name}: expected Label Studio's JSON export, a list of tasks")
    for number, task in enumerate(tasks, 1):
        data = task.get("data") if isinstance(task, Mapping) else None
        annotations = task.get("annotations") if isinstance(task, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(annotations, list):
            yield number, "the task has no data or no annotations"
            continue
        for one in annotations:
            yield number, _label_studio(data, one)


def _label_studio(data: Mapping[str, Any], one: Any) -> Mapping[str, Any] | str:
    if not isinstance(one, Mapping):
        return "the annotation is no object"
    if one.get("was_cancelled"):
        return "the annotator skipped it"
    who = one.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("id")
    results = one.get("result")
    values = [r.get("value") for r in results if isinstance(r, Mapping)] if isinstance(results, list) else []
    chosen = [v["choices"] for v in values if isinstance(v, Mapping) and isinstance(v.get("choices"), list)]
    if len(chosen) != 1 or len(chosen[0]) != 1:
        return "it needs one choice of one category"
    return {
        "feedback_id": data.get("feedback_id"),
        "annotator": f"user {who}" if isinstance(who, int) else who,
        "category": chosen[0][0],
        "rubric_version": data.get("rubric_version"),
        "event_at": one.get("updated_at") or one.get("created_at"),
    }


def queue_csv(queued: Sequence[Queued], rubric_version: str) -> str:
    """The queue with empty fields for the label; who fills them in saves the file that `read_labels` takes.

    What others said, and what the machine thinks, is left out: a label is a second opinion.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*COLUMNS, "language", "text"))
    for one in queued:
        item = one.item
        text = f"'{item.text}" if item.text.startswith(_FORMULA) else item.text
        writer.writerow((item.feedback_id, "", "", rubric_version, "", item.language, text))
    return out.getvalue()


def queue_label_studio(queued: Sequence[Queued], rubric_version: str) -> str:
    """The queue as tasks of Label Studio; the answer belongs into one `Choices` tag over `text`."""
    tasks = [
        {
            "data": {
                "feedback_id": one.item.feedback_id,
                "text": one.item.text,
                "language": one.item.language,
                "rubric_version": rubric_version,
            }
        }
        for one in queued
    ]
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"
