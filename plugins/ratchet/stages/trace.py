"""From an answer to what it changed, and from a model back to what it learned from. Reads only.

Everything comes from the warehouse, the snapshots' manifests and the ledger; nothing is guessed. That an answer's
unit is among a model's training rows does not say that the answer changed the model: which features are made of
feedback is said beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ratchet.ledger.chain import Entry, plain
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.plain_rows import plain_rows
from ratchet.stages.records import ledger_of
from ratchet.stages.snapshots import snapshots, trained_on
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse, checked_column, checked_table

#: Kinds of entry that decide about a model, and where each names versions.
_VERSIONS = ("model_version", "challenger_version", "champion_version", "version", "from", "to")
_DECIDING = (
    "bootstrap", "rollout_started", "rollout_decision", "rollout_applied", "holdback_decision", "holdback_applied",
    "rollback", "withdrawn", "baseline", "model_flagged",
)  # fmt: skip
LISTED = 20


class NothingToTrace(LookupError):
    """There is no such answer, or no such model; the message says how to find one."""


def trace_feedback(settings: Settings, loop: Loop, feedback_id: str) -> dict[str, Any]:
    """One answer: as landed, as understood, its label, the snapshots, models and decisions it is part of, whom they
    served.

    Raises:
        NothingToTrace: no answer of this id has landed, or it was forgotten.
        WarehouseError: nothing has landed yet.
    """
    with open_warehouse(settings, purpose=f"tracing an answer of {loop.loop}", read_only=True) as wh:
        rows = plain_rows(
            wh.frame(
                "select * from raw.feedback where loop = ? and feedback_id = ? order by received_at, row_hash",
                (loop.loop, feedback_id),
            )
        )
        if not rows:
            raise NothingToTrace(
                f"loop {loop.loop} has no answer {feedback_id!r}: it never landed, it is in quarantine (`ratchet "
                "quarantine list --rows`), or its writer asked to be forgotten"
            )
        newest = rows[-1]
        unit = str(newest["unit_id"])
        fact = plain_rows(_if_there(wh, loop, "marts.fct_feedback", "feedback_id", feedback_id))
        label = plain_rows(_if_there(wh, loop, "marts.fct_labels", "unit_id", unit))
        understood = [row for table in _enriched(wh) for row in _understood(wh, loop, table, feedback_id)]
        served = _served(wh, loop)
        counting = _counting(wh, loop, unit, newest)
    entries = ledger_of(settings).entries(loop.loop)
    holding = []
    for manifest in snapshots(settings, loop):
        units = _units(settings, loop, manifest["sha256"])
        counted = len(units & counting) if units is not None else 0
        if units is not None and (unit in units or counted):
            holding.append(
                {
                    "snapshot": manifest["id"],
                    "as_of": manifest["as_of"],
                    "has_unit": unit in units,
                    # Rows of other units whose features count this answer.
                    "rows_counting": counted,
                    # What came after the snapshot was taken can't have been in it, whatever its unit is.
                    "was_known": newest["received_at"] < datetime.fromisoformat(manifest["as_of"]),
                    "trainings": trained_on(entries, manifest),
                }
            )
    versions = sorted(
        {
            int(t["version"])
            for held in holding
            if held["was_known"]
            for t in held["trainings"]
            if t["version"]
        }
    )
    return dict(
        plain(
            {
                "feedback_id": feedback_id,
                "versions": rows,
                "fact": fact[0] if fact else None,
                "understood": understood,
                "label": label[0] if label else None,
                "snapshots": holding,
                "models": [
                    {"version": v, "decisions": decisions(entries, v), "served": served.get(v)}
                    for v in versions
                ],
                "feedback_features": list(loop.monitoring.alerts.feeds.get("feedback", ())),
            }
        )
    )


def trace_model(settings: Settings, loop: Loop, version: int, limit: int = LISTED) -> dict[str, Any]:
    """What a model version learned from: its snapshot, its labels, and the answers about its units that were known.

    Raises:
        NothingToTrace: the ledger knows no such version, or its snapshot is gone.
    """
    entries = ledger_of(settings).entries(loop.loop)
    known = {
        t["version"]: m for m in snapshots(settings, loop) for t in trained_on(entries, m) if t["version"]
    }
    manifest = known.get(version)
    if manifest is None:
        listed = ", ".join(str(v) for v in sorted(known)) or "none"
        raise NothingToTrace(
            f"no snapshot of version {version} of loop {loop.loop} is known; versions with one: {listed}"
        )
    units = _units(settings, loop, manifest["sha256"])
    as_of = datetime.fromisoformat(manifest["as_of"])
    with open_warehouse(settings, purpose=f"tracing a model of {loop.loop}", read_only=True) as wh:
        answers = wh.frame(
            "select feedback_id, unit_id, channel, category, rating, received_at, "
            "user_id is not null as is_named from raw.feedback "
            "where loop = ? and received_at < ? order by received_at, feedback_id",
            (loop.loop, as_of),
        )
        served = _served(wh, loop)
    answers = answers.drop_duplicates("feedback_id", keep="last")
    if units is not None:
        answers = answers[answers["unit_id"].isin(units)]
    return dict(
        plain(
            {
                "version": version,
                "snapshot": {
                    "id": manifest["id"], "as_of": manifest["as_of"], "window": manifest["window"],
                    "rows": manifest["rows"], "positives": manifest["positives"], "is_gone": units is None,
                    "units_left_out": (manifest.get("tombstones") or {"count": 0})["count"],
                },
                "labels": {
                    "rows": manifest["rows"], "from_feedback": _claimed(settings, loop, manifest["sha256"]),
                    "of": loop.label.name,
                },
                "feedback": {
                    # Without the rows nobody can say whose units they were.
                    "answers": None if units is None else len(answers),
                    "by_channel": {} if units is None else _counts(answers["channel"]),
                    "by_category": {} if units is None else _counts(answers["category"]),
                    "listed": [] if units is None else plain_rows(answers.tail(limit)[["feedback_id", "unit_id"]]),
                },
                "feedback_features": list(loop.monitoring.alerts.feeds.get("feedback", ())),
                "decisions": decisions(entries, version),
                "served": served.get(version),
            }
        )
    )  # fmt: skip


def decisions(entries: Iterable[Entry], version: int) -> list[dict[str, Any]]:
    """What was decided about a version, in order: key, kind, as_of, action."""
    named: dict[str, set[int]] = {}
    found = []
    for entry in entries:
        if entry.kind not in _DECIDING:
            continue
        payload = entry.payload
        versions = {int(payload[n]) for n in _VERSIONS if isinstance(payload.get(n), int)}
        experiment = payload.get("experiment_id")
        if experiment is not None:
            # A look names the experiment only; its start said which versions are in it.
            versions |= named.setdefault(str(experiment), set())
            named[str(experiment)] |= versions
        if version in versions:
            found.append(
                {"key": entry.key, "kind": entry.kind, "as_of": entry.as_of, "action": payload.get("action")}
            )
    return found


def _units(settings: Settings, loop: Loop, sha256: str) -> set[str] | None:
    """The units of a snapshot's rows; None when the rows are gone."""
    path = settings.snapshots_dir / loop.loop / f"{sha256}.parquet"
    return set(pq.read_table(path, columns=["unit_id"])["unit_id"].to_pylist()) if path.exists() else None


def _claimed(settings: Settings, loop: Loop, sha256: str) -> int | None:
    """How many of a snapshot's labels are what users assert; None when the rows are gone, or do not say."""
    path = settings.snapshots_dir / loop.loop / f"{sha256}.parquet"
    if not path.exists() or "label_source" not in pq.read_schema(path).names:
        return None
    return pq.read_table(path, columns=["label_source"])["label_source"].to_pylist().count("feedback")


def _counting(wh: Warehouse, loop: Loop, unit: str, answer: dict[str, Any]) -> set[str]:
    """The units whose features count the answer: alike in `feedback.learn.by`, predicted in the days after it."""
    learn, table = loop.feedback.learn, f"intermediate.int_{loop.loop}_scheduled"
    refused = answer.get("consent") in ("none", "contact")
    if not learn.complaints or refused or not _is_there(wh, table):
        return set()
    alike = " and ".join(f"o.{checked_column(name)} = s.{checked_column(name)}" for name in learn.by)
    told = answer["received_at"].date()
    rows = wh.frame(
        f"select o.unit_id from {checked_table(table)} s inner join {checked_table(table)} o on o.loop = s.loop "  # noqa: S608
        f"and {alike} where s.loop = ? and s.unit_id = ? and o.predict_at >= ? and o.predict_at < ?",
        (loop.loop, unit, told + timedelta(days=1), told + timedelta(days=learn.days + 1)),
    )
    return set(rows["unit_id"])


def _served(wh: Warehouse, loop: Loop) -> dict[int, dict[str, Any]]:
    """By version, how many units it served, and from when to when."""
    if not _is_there(wh, "marts.fct_predictions"):
        return {}
    rows = wh.frame(
        "select model_version, count(*) as units, min(departure_date) as first_day, max(departure_date) as last_day "
        "from marts.fct_predictions where loop = ? and is_served group by model_version order by model_version",
        (loop.loop,),
    )
    return {
        int(version): {"units": int(n), "first": str(pd.Timestamp(a).date()), "last": str(pd.Timestamp(b).date())}
        for version, n, a, b in rows.itertuples(index=False)
    }  # fmt: skip


def _enriched(wh: Warehouse) -> list[str]:
    """Tables that say how an answer was understood: those with an answer's id and a version of the enrichment."""
    found = wh.frame(
        "select a.table_schema, a.table_name from information_schema.columns as a "
        "inner join information_schema.columns as b on a.table_schema = b.table_schema and a.table_name = b.table_name "
        "where a.column_name = 'feedback_id' and b.column_name = 'enrichment_version' "
        "and a.table_schema in ('ops', 'raw') group by 1, 2 order by 1, 2"
    )
    return [f"{schema}.{table}" for schema, table in found.itertuples(index=False)]


def _understood(wh: Warehouse, loop: Loop, table: str, feedback_id: str) -> list[dict[str, Any]]:
    return plain_rows(
        wh.frame(
            f"select * from {checked_table(table)} where loop = ? and feedback_id = ? "  # noqa: S608
            "order by enrichment_version",
            (loop.loop, feedback_id),
        )
    )


def _is_there(wh: Warehouse, table: str) -> bool:
    schema, name = table.split(".")
    return bool(
        wh.scalar(
            "select count(*) from information_schema.tables where table_schema = ? and table_name = ?",
            (schema, name),
        )
    )


def _if_there(wh: Warehouse, loop: Loop, table: str, column: str, value: str) -> pd.DataFrame:
    if not _is_there(wh, table):
        return pd.DataFrame()
    return wh.frame(
        f"select * from {checked_table(table)} where loop = ? and {checked_column(column)} = ?",  # noqa: S608
        (loop.loop, value),
    )


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(name): int(n) for name, n in values.fillna("not said").value_counts().sort_index().items()}
