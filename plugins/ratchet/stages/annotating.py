"""The queue of answers to label, the report over the labels, and the labels that are in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.annotation.agreement import annotators
from ratchet.annotation.errors import Labelled, suspects
from ratchet.annotation.labels import by_item, label_set
from ratchet.annotation.queue import Item, Queued, category_impact, queue
from ratchet.loop import Loop
from ratchet.published import publish, read
from ratchet.settings import Settings
from ratchet.stages.annotation_inbox import LabelRefused
from ratchet.stages.annotation_labels import (
    SEED,
    Standing,
    current_set,
    labelled_by,
    standing,
    take_inbox,
)
from ratchet.stages.enriching import enricher_of, spoken_of
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

Log = Callable[[str], None]
SUMMARY = "annotation"
_LONGEST = 1_000
#: Whoever said no to training is read by no annotator.
_MAY_TRAIN = "coalesce(f.consent, 'use_for_training') in ('use_for_training', 'use_for_training+contact')"


def as_of_or_newest(settings: Settings, loop: Loop, as_of: datetime | None) -> datetime:
    """`as_of`, or the moment of the newest published build.

    Raises:
        LabelRefused: neither is there.
    """
    built = read(settings, loop.loop, "partitions")
    if as_of is None and (built is None or not built.get("as_of")):
        raise LabelRefused(f"nothing of loop {loop.loop} was built yet: give --as-of")
    return as_of or datetime.fromisoformat(str((built or {})["as_of"]))


def next_to_label(settings: Settings, loop: Loop, as_of: datetime) -> list[Queued]:
    """The queue with what was received before `as_of`."""
    with open_warehouse(settings, purpose=f"answers to label of {loop.loop}") as wh:
        ops.ensure(wh)
        return _queue(wh, settings, loop, as_of, standing(wh, loop, as_of))


def _queue(wh: Warehouse, settings: Settings, loop: Loop, as_of: datetime, stands: Standing) -> list[Queued]:
    if loop.feedback.taxonomy is None or not _has_answers(wh):
        return []
    terms = loop.feedback.annotation
    rows = _answers(wh, loop.loop, as_of - timedelta(days=terms.queue_days), as_of)
    shares = _share_of_users(rows)
    settled = {one.feedback_id for one in stands.resolved if one.category is not None}
    rows = rows[rows["may_train"].astype(bool) & ~rows["feedback_id"].isin(settled)]
    found = rows.to_dict("records")
    plain = [spoken_of(row) for row in found]
    voices = enricher_of(settings, loop).voices([p[0] for p in plain], [p[1] for p in plain])
    given = by_item(stands.labels)
    items = [
        Item(
            feedback_id=str(row["feedback_id"]), text=text[:_LONGEST], language=str(row["language"]),
            duplicate_key=str(row["duplicate_key"]), category=str(row["understood_as"]),
            confidence=float(row["confidence"]), weak=weak, classifier=learnt,
            said=said if said in loop.feedback.taxonomy.categories else None,
            given={label.annotator: label.category for label in given.get(str(row["feedback_id"]), [])},
            is_simulated=bool(row["is_simulated"]),
        )
        for row, (text, _, said), (weak, learnt) in zip(found, plain, voices, strict=True)
    ]  # fmt: skip
    return queue(items, category_impact(loop.feedback.taxonomy, shares), terms)


def _has_answers(wh: Warehouse) -> bool:
    found = wh.frame(
        "select column_name from information_schema.columns where table_schema = 'raw' and table_name = 'feedback'"
    )
    return {"comment", "subject", "consent", "user_id"} <= set(found["column_name"])


def _answers(wh: Warehouse, loop: str, since: datetime, as_of: datetime) -> pd.DataFrame:
    """The newest version of each enriched answer of the window; what annotators said before counts for nothing here."""
    return wh.frame(
        "with known as (select f.*, row_number() over (partition by f.loop, f.feedback_id "  # noqa: S608
        "order by f.received_at desc, f.row_hash desc) as n from raw.feedback f "
        "where f.loop = ? and f.received_at >= ? and f.received_at < ?) "
        "select f.feedback_id, f.subject, f.comment, f.rating, f.category, f.is_simulated, f.received_at, "
        f"coalesce(f.user_id, f.feedback_id) as person, {_MAY_TRAIN} as may_train, "
        "e.language, e.duplicate_key, e.category as understood_as, e.confidence "
        "from known f inner join ops.feedback_enrichment e on e.loop = f.loop and e.feedback_id = f.feedback_id "
        "and e.row_hash = f.row_hash inner join ops.enrichment_versions v on v.loop = e.loop "
        "and v.enrichment_version = e.enrichment_version and v.is_current where f.n = 1 order by f.feedback_id",
        (loop, since, as_of),
    )


def _share_of_users(rows: pd.DataFrame) -> dict[str, float]:
    people = rows["person"].nunique()
    return {
        str(name): part["person"].nunique() / people
        for name, part in rows.groupby(rows["understood_as"].astype(str))
    }


def report_of_day(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """The report for a timetable, as counts; `published` is False where the summary of a later moment stays, and
    `labels` is None where the loop takes no words in."""
    if loop.feedback.taxonomy is None:
        return {"as_of": as_of.isoformat(), "labels": None, "queue": 0, "published": False}
    known = read(settings, loop.loop, SUMMARY)
    is_later = known is not None and datetime.fromisoformat(str(known["as_of"])) > as_of
    if is_later:
        log(f"the annotation report as of {(known or {})['as_of']} stays: this run is of {as_of}")
    found = report(settings, loop, as_of, log, is_published=not is_later)
    return {
        "as_of": found["as_of"],
        "labels": found["labels"],
        "queue": len(found["queue"]),
        "published": not is_later,
    }


def report(
    settings: Settings, loop: Loop, as_of: datetime, log: Log, *, is_published: bool = True
) -> dict[str, Any]:
    """Take the page's labels, measure all that were received before `as_of`, publish the summary `annotation`."""
    with open_warehouse(settings, purpose=f"annotation of {loop.loop}") as wh:
        ops.ensure(wh)
        taken = take_inbox(settings, wh, loop, log)
        stands = standing(wh, loop, as_of)
        queued = _queue(wh, settings, loop, as_of, stands)
        texts = _texts(
            wh, loop.loop, [one.feedback_id for one in stands.resolved if one.category is not None]
        )
        who = labelled_by(wh, loop.loop)
        in_force = current_set(wh, loop)
    terms = loop.feedback.annotation
    people = annotators(stands.labels, stands.resolved, terms.adjudicators, SEED)
    settled = [
        Labelled(one.feedback_id, texts[one.feedback_id][1], one.category, texts[one.feedback_id][0])
        for one in stands.resolved
        if one.category is not None and one.feedback_id in texts
    ]
    states = pd.Series([one.state for one in stands.resolved], dtype=str).value_counts()
    content = {
        "as_of": as_of.isoformat(),
        "rubric_version": loop.feedback.rubric(),
        "simulated": any(one.item.is_simulated for one in queued),
        "labels": len(stands.labels),
        "items": len(stands.resolved),
        "taken_from_page": taken,
        "states": {str(state): int(n) for state, n in sorted(states.items())},
        "alpha": asdict(stands.agreement),
        "min_alpha": terms.min_alpha,
        "is_usable": stands.is_usable,
        "reason": stands.reason,
        "in_force": in_force,
        "annotators": [
            {**asdict(one), "confusion": [[*pair, n] for pair, n in one.confusion.items()]} for one in people
        ],
        "suspects": asdict(suspects(settled, SEED)),
        "queue": [_told(one, who.get(one.item.feedback_id, [])) for one in queued],
    }
    if is_published:
        publish(settings, loop.loop, SUMMARY, content)
    log(
        f"{len(stands.labels)} labels on {len(stands.resolved)} answers; {len(queued)} answers wait in the queue"
    )
    return content


def _told(one: Queued, labelled: Sequence[str]) -> dict[str, Any]:
    return {
        "feedback_id": one.item.feedback_id, "text": one.item.text, "language": one.item.language,
        "score": one.score, "uncertainty": one.uncertainty, "disagreement": one.disagreement, "impact": one.impact,
        "labelled_by": list(labelled), "simulated": one.item.is_simulated,
    }  # fmt: skip


def _texts(wh: Warehouse, loop: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Answer -> when it was received and its words, of those who did not say no to training."""
    if not ids or not _has_answers(wh):
        return {}
    found: dict[str, tuple[str, str]] = {}
    wanted = set(ids)
    rows = wh.frame(
        "select f.feedback_id, f.received_at, f.subject, f.comment, f.rating, f.category from raw.feedback f "  # noqa: S608
        f"where f.loop = ? and {_MAY_TRAIN} and (f.comment is not null or f.subject is not null) "
        "and exists (select 1 from ops.annotations a where a.loop = f.loop and a.feedback_id = f.feedback_id) "
        "order by f.received_at, f.row_hash",
        (loop,),
    )
    for row in rows.to_dict("records"):
        if row["feedback_id"] in wanted:
            found[str(row["feedback_id"])] = (str(row["received_at"]), spoken_of(row)[0])
    return found


def apply(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> Mapping[str, Any]:
    """Put the labels that are settled as of `as_of` in force: the next build says them of their answers.

    That is another enrichment version, so nobody takes a change of labels for a change of users. The same labels again
    change nothing.

    Raises:
        LabelRefused: they do not agree far enough, too few were given, or none is settled.
    """
    with open_warehouse(settings, purpose=f"labels of {loop.loop}") as wh:
        ops.ensure(wh)
        with wh.transaction(), wh.lock(f"annotations:{loop.loop}"):
            stands = standing(wh, loop, as_of)
            if not stands.gold:
                why = stands.reason or "no answer is settled"
                raise LabelRefused(
                    f"the labels of loop {loop.loop} are not used: {why}; what is in force stays"
                )
            name = label_set(stands.resolved, loop.feedback.rubric() or "")
            is_new = current_set(wh, loop) != name
            if is_new:
                _make_current(wh, loop, name, as_of, stands)
    log(f"label set {name}: {len(stands.gold)} answers{'' if is_new else ', in force already'}")
    return {"label_set": name, "answers": len(stands.gold), "is_new": is_new}


def _make_current(wh: Warehouse, loop: Loop, name: str, as_of: datetime, stands: Standing) -> None:
    wh.execute("update ops.annotation_sets set is_current = false where loop = ?", (loop.loop,))
    wh.execute(
        "insert into ops.annotation_sets (loop, label_set, rubric_version, as_of, is_current) "
        "values (?, ?, ?, ?, true) on conflict (loop, label_set) do update set is_current = true",
        (loop.loop, name, loop.feedback.rubric(), as_of),
    )
    wh.execute("delete from ops.annotation_resolved where loop = ? and label_set = ?", (loop.loop, name))
    rows = [
        {"loop": loop.loop, "label_set": name, "feedback_id": one.feedback_id, "category": one.category,
         "state": one.state}
        for one in stands.resolved
        if one.category is not None
    ]  # fmt: skip
    wh.append("ops.annotation_resolved", pd.DataFrame(rows))
