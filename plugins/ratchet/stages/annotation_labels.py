"""Labels of people in the warehouse: taken from files and from the page, read as of a moment, and what they amount to.

Nothing is overwritten: a correction is a later row. A label of an answer that is not there (any more) is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.annotation.agreement import Measured, alpha, independent, is_usable
from ratchet.annotation.formats import Given, Kind, Refused, read_labels
from ratchet.annotation.labels import Label, Resolved, labels_as_of, resolve
from ratchet.loop import Loop
from ratchet.published import publish, read
from ratchet.settings import Settings
from ratchet.stages.annotation_inbox import LabelRefused, inbox
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

Log = Callable[[str], None]
#: Of the resampling behind annotators and drift: the same labels give the same report.
SEED = 1
_CHUNK = 500


@dataclass(frozen=True)
class Standing:
    """What labels amount to as of a moment, and whether they may be used; `reason` is why not."""

    labels: Sequence[Label]
    resolved: Sequence[Resolved]
    agreement: Measured
    is_usable: bool
    reason: str

    @property
    def gold(self) -> dict[str, str]:
        """Answer -> category of what is settled; nothing where the labels may not be used."""
        settled = {one.feedback_id: one.category for one in self.resolved if one.category is not None}
        return settled if self.is_usable else {}


def standing(wh: Warehouse, loop: Loop, as_of: datetime | None) -> Standing:
    """Where the loop's labels stand with what was received before `as_of`; None: with all that was."""
    terms, rubric = loop.feedback.annotation, loop.feedback.rubric() or ""
    given = stored(wh, loop.loop)
    last = max((label.received_at for label in given), default=None)
    until = as_of or (last + timedelta(microseconds=1) if last else None)
    labels = labels_as_of(given, until, rubric) if until is not None else []
    kinds = loop.feedback.taxonomy.categories if loop.feedback.taxonomy else {}
    # A category may have left the taxonomy without a new version of the rubric.
    labels = [label for label in labels if label.category in kinds]
    found = alpha(independent(labels, terms.adjudicators), terms.min_items)
    usable = is_usable(found, terms.min_alpha)
    why = found.reason or (
        "" if usable else f"the lower limit of alpha is {found.low:.3f}, min_alpha {terms.min_alpha}"
    )
    return Standing(labels, resolve(labels, terms), found, usable, why)


def stored(wh: Warehouse, loop: str) -> list[Label]:
    """Every label that was ever taken, of every rubric."""
    rows = wh.frame(
        "select feedback_id, annotator, category, rubric_version, event_at, received_at, source "
        "from ops.annotations where loop = ? order by feedback_id, annotator, event_at",
        (loop,),
    )
    return [
        Label(
            str(r["feedback_id"]), str(r["annotator"]), str(r["category"]), str(r["rubric_version"]),
            pd.Timestamp(r["event_at"]).to_pydatetime(), pd.Timestamp(r["received_at"]).to_pydatetime(),
            str(r["source"]),
        )
        for r in rows.to_dict("records")
    ]  # fmt: skip


def labelled_by(wh: Warehouse, loop: str) -> dict[str, list[str]]:
    """Who has labelled each answer, whenever that was: nobody is asked twice."""
    found: dict[str, set[str]] = {}
    for label in stored(wh, loop):
        found.setdefault(label.feedback_id, set()).add(label.annotator)
    return {item: sorted(names) for item, names in found.items()}


def import_labels(
    settings: Settings, loop: Loop, path: Path, kind: Kind, received_at: datetime, log: Log
) -> dict[str, Any]:
    """Take the labels of a file as received at `received_at`: read = taken + refused + duplicate, and the refusals.

    Taking a file again takes nothing.

    Raises:
        LabelFileError: the file is not of that kind.
        LabelRefused: it can't be read, or the loop has no taxonomy.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelRefused(f"{path}: {error}") from None
    rows = read_labels(content, kind, str(path))
    with open_warehouse(settings, purpose=f"labels of {loop.loop}") as wh:
        ops.ensure(wh)
        taken, refused, duplicate = take(wh, loop, rows, received_at, f"import:{kind}")
    report = {
        "read": len(rows), "taken": taken, "refused": len(refused), "duplicate": duplicate,
        "refusals": [{"file": str(path), "line": one.line, "reason": one.reason} for one in refused],
    }  # fmt: skip
    if report["read"] != taken + len(refused) + duplicate:
        raise RuntimeError(f"{path}: {report} does not add up; nothing more was done")
    log(f"{path.name}: {len(rows)} labels read, {taken} taken, {len(refused)} refused, {duplicate} known")
    return report


def take(
    wh: Warehouse, loop: Loop, rows: Iterable[Given | Refused], received_at: datetime, source: str
) -> tuple[int, list[Refused], int]:
    if loop.feedback.taxonomy is None:
        raise LabelRefused(f"loops/{loop.loop}.yml has no feedback.taxonomy: declare the categories first")
    given = [row for row in rows if isinstance(row, Given)]
    refused = [row for row in rows if isinstance(row, Refused)]
    duplicate, fresh = 0, []
    with wh.transaction(), wh.lock(f"annotations:{loop.loop}"):
        answered = _received(wh, loop.loop, sorted({row.feedback_id for row in given}))
        known = {key(label): label.category for label in stored(wh, loop.loop)}
        for row in given:
            label = Label(
                row.feedback_id, row.annotator, row.category, row.rubric_version, row.event_at, received_at, source
            )  # fmt: skip
            why = _why_not(loop, label, answered)
            before = known.get(key(label))
            if why:
                refused.append(Refused(row.line, why))
            elif before == label.category:
                duplicate += 1
            elif before is not None:
                refused.append(
                    Refused(row.line, f"{row.annotator} said {before} at that moment: a correction is later")
                )
            else:
                known[key(label)] = label.category
                fresh.append(label)
        _append(wh, loop.loop, fresh)
    return len(fresh), sorted(refused, key=lambda one: one.line), duplicate


def key(label: Label) -> tuple[str, str, str, datetime]:
    """What names a label: one annotator says one thing about one answer at one moment."""
    return label.feedback_id, label.annotator, label.rubric_version, label.event_at


def _why_not(loop: Loop, label: Label, answered: Mapping[str, datetime]) -> str:
    assert loop.feedback.taxonomy is not None  # noqa: S101
    kinds, rubric = loop.feedback.taxonomy.categories, loop.feedback.rubric()
    if label.feedback_id not in answered:
        return "no answer of this id has landed"
    if label.category not in kinds:
        return f"category is none of {', '.join(kinds)}"
    if label.rubric_version != rubric:
        return f"rubric_version is {label.rubric_version}, the loop file's is {rubric}"
    if label.event_at > label.received_at:
        return f"event_at is after the moment of receipt, {label.received_at}"
    if label.event_at < answered[label.feedback_id]:
        return f"event_at is before the answer was received, {answered[label.feedback_id]}"
    return ""


def _received(wh: Warehouse, loop: str, ids: Sequence[str]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for at in range(0, len(ids), _CHUNK):
        part = ids[at : at + _CHUNK]
        rows = wh.frame(
            "select feedback_id, min(received_at) as at from raw.feedback where loop = ? "  # noqa: S608
            f"and feedback_id in ({', '.join('?' * len(part))}) group by feedback_id",
            (loop, *part),
        )
        found |= {str(i): pd.Timestamp(t).to_pydatetime() for i, t in rows.itertuples(index=False)}
    return found


def _append(wh: Warehouse, loop: str, labels: Sequence[Label]) -> None:
    if labels:
        frame = pd.DataFrame([vars(label) for label in labels])
        for clock in ("event_at", "received_at"):
            frame[clock] = pd.to_datetime(frame[clock]).astype("datetime64[us]")
        wh.append("ops.annotations", frame.assign(loop=loop))


def current_set(wh: Warehouse, loop: Loop) -> str | None:
    """The label set in force, if it is of the loop file's rubric."""
    found = wh.scalar(
        "select label_set from ops.annotation_sets where loop = ? and rubric_version = ? and is_current",
        (loop.loop, loop.feedback.rubric() or ""),
    )
    return None if found is None else str(found)


def gold_in_force(wh: Warehouse, loop: Loop) -> tuple[str | None, dict[str, str]]:
    """The label set in force and what it says: answer -> category, of categories that the loop file has."""
    name = current_set(wh, loop)
    if name is None or loop.feedback.taxonomy is None:
        return None, {}
    rows = wh.frame(
        "select feedback_id, category from ops.annotation_resolved where loop = ? and label_set = ?",
        (loop.loop, name),
    )
    kinds = loop.feedback.taxonomy.categories
    return name, {str(i): str(kind) for i, kind in rows.itertuples(index=False) if kind in kinds}


def take_inbox(settings: Settings, wh: Warehouse, loop: Loop, log: Log) -> int:
    """Move the page's labels into the warehouse; how many. One that died half way goes on where it was."""
    folder, count = inbox(settings, loop.loop), 0
    for path in sorted(folder.glob("*.json")):
        # A later word must not be lost with the file of the first.
        path.replace(path.with_suffix(".taking"))
    for path in sorted(folder.glob("*.taking")):
        said = json.loads(path.read_text(encoding="utf-8"))
        moment = datetime.fromisoformat(said["at"])
        row = Given(
            1, said["feedback_id"], said["annotator"], said["category"], said["rubric_version"], moment
        )
        taken, refused, _ = take(wh, loop, [row], moment, "page")
        if refused and "a correction is later" in refused[0].reason:
            last = max(
                label.event_at
                for label in stored(wh, loop.loop)
                if key(label)[:2] == (row.feedback_id, row.annotator)
            )
            later = last + timedelta(microseconds=1)
            taken, refused, _ = take(wh, loop, [replace(row, event_at=later)], later, "page")
        count += taken
        for one in refused:
            log(f"a label of the page was refused: {one.reason}")
        path.unlink()
    return count


def forget_labels(settings: Settings, wh: Warehouse, loop: str, person: str) -> int:
    """Labels of a person's answers out of the page's files and the published queue; tables go by their columns."""
    rows = wh.frame(
        "select name from ops.forgetting where loop = ? and person = ? and kind = 'feedback_id'",
        (loop, person),
    )
    ids, count = set(rows["name"]), 0
    for pattern in ("*.json", "*.taking"):
        for path in sorted(inbox(settings, loop).glob(pattern)):
            if json.loads(path.read_text(encoding="utf-8"))["feedback_id"] in ids:
                path.unlink()
                count += 1
    found = read(settings, loop, "annotation")
    if found is not None:
        kept = [one for one in found["queue"] if one["feedback_id"] not in ids]
        left = [one for one in found["suspects"]["found"] if one["feedback_id"] not in ids]
        count += len(found["queue"]) - len(kept)
        publish(
            settings,
            loop,
            "annotation",
            {**found, "queue": kept, "suspects": {**found["suspects"], "found": left}},
        )
    return count
