"""Labels that people gave, and what they amount to: one label an item, or none where people do not agree.

A label has two clocks. As of T only labels received before T are known; of one annotator's labels on an item, the one
that they gave last counts (`event_at`; equal times: the one received last).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ratchet.loop_feedback import Annotation

State = Literal["agreed", "majority", "priority", "adjudicated", "open"]


@dataclass(frozen=True)
class Label:
    """What `annotator` says that an answer is about, under a version of the rubric. Times are naive UTC."""

    feedback_id: str
    annotator: str
    category: str
    rubric_version: str
    event_at: datetime
    received_at: datetime
    source: str


@dataclass(frozen=True)
class Resolved:
    """One item's label. `category` is None while it is open; `reason` says what it waits for."""

    feedback_id: str
    category: str | None
    state: State
    votes: Mapping[str, int]
    reason: str = ""


def labels_as_of(labels: Iterable[Label], as_of: datetime, rubric_version: str) -> list[Label]:
    """The labels that count as of `as_of`: one an item and annotator, of this rubric, ordered by item and annotator."""
    last: dict[tuple[str, str], Label] = {}
    for label in labels:
        if label.received_at >= as_of or label.rubric_version != rubric_version:
            continue
        key = (label.feedback_id, label.annotator)
        known = last.get(key)
        if known is None or (known.event_at, known.received_at) < (label.event_at, label.received_at):
            last[key] = label
    return [last[key] for key in sorted(last)]


def by_item(labels: Iterable[Label]) -> dict[str, list[Label]]:
    """The labels of each item, items in order."""
    found: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        found[label.feedback_id].append(label)
    return {item: found[item] for item in sorted(found)}


def resolve(labels: Sequence[Label], terms: Annotation) -> list[Resolved]:
    """One label an item from `labels` (see `labels_as_of`); nothing is picked where the rules do not say which.

    An adjudicator's word settles an item. Without one an item waits for `labels_per_item` labels; if they differ,
    `majority` takes what more than half say, `priority` the word of the first annotator on the list who labelled it,
    and `adjudicate` leaves it to an adjudicator.
    """
    return [_resolved(item, given, terms) for item, given in by_item(labels).items()]


def _resolved(item: str, given: Sequence[Label], terms: Annotation) -> Resolved:
    judges = {label.category for label in given if label.annotator in terms.adjudicators}
    plain = [label for label in given if label.annotator not in terms.adjudicators]
    votes = dict(sorted(Counter(label.category for label in given).items()))
    if len(judges) == 1:
        return Resolved(item, judges.pop(), "adjudicated", votes)
    if judges:
        return Resolved(item, None, "open", votes, "adjudicators differ")
    if len(plain) < terms.labels_per_item:
        return Resolved(item, None, "open", votes, f"{len(plain)} of {terms.labels_per_item} labels")
    (first, most), *others = Counter(label.category for label in plain).most_common()
    if not others:
        return Resolved(item, first, "agreed", votes)
    if terms.conflict == "majority":
        if 2 * most > len(plain):
            return Resolved(item, first, "majority", votes)
        return Resolved(item, None, "open", votes, "no majority")
    if terms.conflict == "priority":
        said = {label.annotator: label.category for label in plain}
        name = next((name for name in terms.priority if name in said), None)
        if name is not None:
            return Resolved(item, said[name], "priority", votes, f"{name}'s word comes first")
        return Resolved(item, None, "open", votes, "nobody of the priority list labelled it")
    return Resolved(item, None, "open", votes, "waits for an adjudicator")


def label_set(resolved: Iterable[Resolved], rubric_version: str) -> str:
    """12 hex digits that name these labels: equal for equal labels under one rubric."""
    said = sorted((one.feedback_id, one.category) for one in resolved if one.category is not None)
    return hashlib.sha256(json.dumps([rubric_version, said]).encode()).hexdigest()[:12]
