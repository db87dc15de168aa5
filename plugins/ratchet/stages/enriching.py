"""Say what landed feedback is about, and keep it beside the rows under the version that said so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from ratchet.feedback.enrich import (
    LEAST_COUNT,
    Enriched,
    Enricher,
    fit_text_model,
    make_enricher,
    model_sha256,
)
from ratchet.feedback.language import language_of
from ratchet.feedback.redact import redact_text
from ratchet.feedback.taxonomy import Spoken
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.annotation_labels import Standing, gold_in_force, standing
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

Log = Callable[[str], None]
_CHUNK = 20_000


class TextModelError(ValueError):
    """The text model that a loop file names can't be used; the message names file and remedy."""


def enricher_of(settings: Settings, loop: Loop) -> Enricher:
    """The loop's enricher, with the text model that its file names.

    Raises:
        TextModelError: there is no taxonomy, the model's file is missing or not the one named, or it was made for
            another taxonomy.
    """
    model: dict[str, Any] | None = None
    if (named := loop.feedback.model) is not None:
        path = settings.loops_dir / named.file
        try:
            model = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TextModelError(
                f"{path}: {error}; write it with `ratchet feedback fit {loop.loop}`"
            ) from None
        found = model_sha256(model or {})
        if found != named.sha256:
            raise TextModelError(
                f"{path}: its content hashes to {found}, loops/{loop.loop}.yml names {named.sha256}; "
                "nothing was enriched"
            )
    try:
        return make_enricher(loop.feedback, model)
    except ValueError as error:
        raise TextModelError(f"loops/{loop.loop}.yml: {error}") from None


def enrich(settings: Settings, loop: Loop, log: Log) -> dict[str, Any]:
    """Enrich every text that has landed and that the current version has not seen."""
    with open_warehouse(settings, purpose=f"enriching feedback of {loop.loop}") as wh, wh.transaction():
        return enrich_landed(wh, settings, loop, log)


def enrich_landed(wh: Warehouse, settings: Settings, loop: Loop, log: Log) -> dict[str, Any]:
    """The same inside the caller's transaction: `texts` enriched, under which `version`, and `is_new` when the version
    had seen none before.

    Received dates whose rows say something new are marked dirty, so that the next build takes them up. A new version
    goes through all history; an older version's rows stay, for comparison.
    """
    name = loop.loop
    if loop.feedback.taxonomy is None or not _has_texts(wh):
        return {"texts": 0, "version": None, "is_new": False}
    enricher = enricher_of(settings, loop)
    label_set, gold = gold_in_force(wh, loop)
    if label_set is not None:
        enricher = enricher.with_labels(label_set)
    current = wh.scalar(
        "select enrichment_version from ops.enrichment_versions where loop = ? and is_current", (name,)
    )
    is_new = current != enricher.version
    if is_new:
        _make_current(wh, name, enricher)
    rows = _unseen(wh, name, enricher.version, only_dirty=not is_new)
    for at in range(0, len(rows), _CHUNK):
        part = rows.iloc[at : at + _CHUNK]
        wh.append("ops.feedback_enrichment", _enriched_frame(name, part, enricher, gold))
    if len(rows):
        for day in sorted(set(rows["received_date"])):
            wh.execute(
                "insert into ops.dirty_partitions (loop, source, received_date) values (?, 'feedback', ?) "
                "on conflict do nothing",
                (name, pd.Timestamp(day).date()),
            )
        log(f"{len(rows)} texts enriched by version {enricher.version}{' (new)' if is_new else ''}")
    return {"texts": len(rows), "version": enricher.version, "is_new": is_new}


def _has_texts(wh: Warehouse) -> bool:
    """Whether the raw table is there, with today's columns: landing makes it so."""
    found = wh.frame(
        "select column_name from information_schema.columns where table_schema = 'raw' and table_name = 'feedback'"
    )
    return {"comment", "subject", "thread_id"} <= set(found["column_name"])


def _make_current(wh: Warehouse, name: str, enricher: Enricher) -> None:
    wh.execute("update ops.enrichment_versions set is_current = false where loop = ?", (name,))
    wh.execute(
        "insert into ops.enrichment_versions (loop, enrichment_version, rubric_version, is_current) "
        "values (?, ?, ?, true) on conflict (loop, enrichment_version) do update set is_current = true",
        (name, enricher.version, enricher.taxonomy.version),
    )


def _unseen(wh: Warehouse, name: str, version: str, *, only_dirty: bool) -> pd.DataFrame:
    dirty = (
        "and exists (select 1 from ops.dirty_partitions d where d.loop = f.loop and d.source = 'feedback' "
        "and d.received_date = f.received_date) "
        if only_dirty
        else ""
    )
    return wh.frame(
        "select f.feedback_id, f.row_hash, f.received_date, f.subject, f.comment, f.rating, f.category, f.thread_id "  # noqa: S608
        "from raw.feedback f where f.loop = ? and (f.comment is not null or f.subject is not null) "
        f"{dirty}"
        "and not exists (select 1 from ops.feedback_enrichment e where e.loop = f.loop "
        "and e.feedback_id = f.feedback_id and e.row_hash = f.row_hash and e.enrichment_version = ?) "
        "order by f.received_date, f.feedback_id, f.row_hash",
        (name, version),
    ).drop_duplicates(["feedback_id", "row_hash"])


def _enriched_frame(
    name: str, rows: pd.DataFrame, enricher: Enricher, gold: Mapping[str, str]
) -> pd.DataFrame:
    plain = [spoken_of(row) for row in rows.to_dict("records")]
    found = list(enricher.enrich_all([p[0] for p in plain], [p[1] for p in plain], [p[2] for p in plain]))
    # What people settled on stands; language and sentiment are still the machine's.
    found = [
        one
        if (kind := gold.get(item)) is None
        else replace(one, category=kind, confidence=1.0, source="annotation")
        for item, one in zip(rows["feedback_id"].tolist(), found, strict=True)
    ]
    # Whoever follows up on one conversation under several subjects has one complaint.
    threads = [
        thread if isinstance(thread, str) and thread else own
        for thread, own in zip(rows["thread_id"], rows["feedback_id"], strict=True)
    ]
    columns = {
        "loop": pa.array([name] * len(found), pa.string()),
        "feedback_id": pa.array(rows["feedback_id"].tolist(), pa.string()),
        "row_hash": pa.array(rows["row_hash"].tolist(), pa.string()),
        "received_date": pa.array([pd.Timestamp(day).date() for day in rows["received_date"]], pa.date32()),
        "thread_key": pa.array(threads, pa.string()),
    }
    for column in Enriched.__dataclass_fields__:
        kind = pa.float64() if column in ("sentiment", "confidence") else pa.string()
        columns[column] = pa.array([getattr(one, column) for one in found], kind)
    return pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)


def spoken_of(row: Mapping[Any, Any]) -> tuple[str, int | None, str | None]:
    """Words, rating and own choice of a landed row."""
    words = [row[name] for name in ("subject", "comment") if isinstance(row[name], str) and row[name]]
    rating = None if pd.isna(row["rating"]) else int(row["rating"])
    return "\n".join(words), rating, row["category"] if isinstance(row["category"], str) else None


def fit_model(
    settings: Settings,
    loop: Loop,
    simulated: Sequence[str],
    seed: int,
    log: Log,
    labels_as_of: datetime | None = None,
) -> tuple[dict[str, Any], str]:
    """A text model from the texts that have landed and the `simulated` ones; with its hash.

    What people settled on takes the place of weak labels, with labels received before `labels_as_of` (None: all),
    where they agree far enough. Rows whose writers did not agree to training are left out, and rows that count less
    than half; the others count as much as was last said of them (`ratchet.feedback.poisoning`).

    Raises:
        TextModelError: there is no taxonomy, or too little text.
    """
    if loop.feedback.taxonomy is None:
        raise TextModelError(f"loops/{loop.loop}.yml has no feedback.taxonomy: declare the categories first")
    made = [redact_text(text) for text in simulated]
    spoken = [Spoken(text, language_of(text)[0]) for text in made]
    gold: list[str | None] = [None] * len(spoken)
    counts = [1.0] * len(spoken)
    landed = 0
    if settings.warehouse_url or settings.warehouse_path.exists():
        with open_warehouse(settings, purpose=f"texts of {loop.loop}") as wh:
            ops.ensure(wh)
            stands = standing(wh, loop, labels_as_of)
            rows = wh.frame(
                "select f.feedback_id, f.subject, f.comment, f.rating, f.category, coalesce(said.weight, 1) as weight "
                "from raw.feedback as f left join (select w.feedback_id, w.weight, row_number() over (partition by "
                "w.feedback_id order by w.as_of desc, w.weights_version desc) as weight_rank "
                "from ops.feedback_weights w where w.loop = ?) as said on said.feedback_id = f.feedback_id "
                "and said.weight_rank = 1 where f.loop = ? and (f.comment is not null or f.subject is not null) "
                "and coalesce(f.consent, 'use_for_training') in ('use_for_training', 'use_for_training+contact') "
                "order by f.received_date, f.feedback_id, f.row_hash",
                (loop.loop, loop.loop),
            )
        for row in rows.to_dict("records"):
            text, rating, said = spoken_of(row)
            spoken.append(Spoken(text, language_of(text)[0], None, rating, said))
            gold.append(stands.gold.get(row["feedback_id"]))
            counts.append(float(row["weight"]))
        landed = sum(count >= LEAST_COUNT for count in counts[len(made) :])
        if stands.labels:
            log(f"{sum(kind is not None for kind in gold)} texts labelled by people{_not_used(stands)}")
    log(f"{landed} texts that have landed, {len(made)} simulated ones")
    try:
        model = fit_text_model(
            loop.feedback.taxonomy,
            spoken,
            seed,
            {"landed": landed, "simulated": len(made), "seed": seed},
            gold,
            counts,
        )
    except ValueError as error:
        raise TextModelError(f"loop {loop.loop}: {error}") from None
    return model, model_sha256(model)


def _not_used(stands: Standing) -> str:
    return "" if stands.is_usable else f"; labels are not used: {stands.reason}"
