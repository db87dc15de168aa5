"""One prediction end to end: what was known then and what came later, features, decision, outcome, lineage.

Reads only. What it calls known is what the models may read: rows of partitions whose landing gate is green,
received strictly before the prediction was made.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ratchet.ledger.chain import Entry, plain
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.plain_rows import plain_rows
from ratchet.stages.records import ledger_of
from ratchet.stages.snapshots import snapshots
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse, checked_column

#: Rows of each kind that are listed.
LISTED = 5
#: What came later is listed when it came within this time after the prediction.
LATER = timedelta(days=2)


class NoPrediction(LookupError):
    """There is no prediction of this id; the message says how to find one."""


def explain_prediction(settings: Settings, loop: Loop, prediction_id: str) -> dict[str, Any]:
    """Everything about one prediction, as plain data.

    Raises:
        NoPrediction: none of this id has landed.
        WarehouseError: nothing has landed yet.
    """
    with open_warehouse(
        settings, purpose=f"explaining a prediction of {loop.loop}", read_only=True
    ) as warehouse:
        prediction = _prediction(warehouse, loop, prediction_id)
        unit, at = str(prediction["unit_id"]), prediction["predicted_at"]
        schedule = _versions(
            warehouse,
            "select * from staging.stg_schedule__flights where loop = ? and unit_id = ?",
            (loop.loop, unit),
            at,
        )
        chosen = schedule["chosen"] or {}
        found: dict[str, Any] = {
            "prediction": prediction,
            "schedule": schedule,
            "plane": _versions(
                warehouse, "select * from staging.stg_planes__planes where loop = ? and tail_number = ?",
                (loop.loop, chosen.get("tail_number")), at,
            ),
            "weather": _weather(warehouse, loop, unit, chosen.get("origin"), at),
            "outcomes": _outcomes(warehouse, loop, unit, chosen, at),
            "features": _features(warehouse, loop, unit),
            "siblings": _rows(
                warehouse,
                "select prediction_id, model_version, arm, is_served, score from staging.stg_predictions__predictions "
                "where loop = ? and unit_id = ? and prediction_id <> ? order by model_version, prediction_id",
                (loop.loop, unit, prediction_id),
            ),
            "outcome": _outcome(warehouse, loop, unit, prediction),
            "feedback": _rows(
                warehouse,
                "select feedback_id, channel, rating, has_comment, received_at from staging.stg_feedback__answers "
                "where loop = ? and prediction_id = ? order by received_at, feedback_id",
                (loop.loop, prediction_id),
            ),
        }  # fmt: skip
        found["gates"] = _gates(warehouse, loop, found)
    found["model"] = _model(settings, loop, int(prediction["model_version"]))
    return dict(plain(found))


def _rows(warehouse: Warehouse, sql: str, parameters: tuple[Any, ...]) -> list[dict[str, Any]]:
    return plain_rows(warehouse.frame(sql, parameters))


def _prediction(warehouse: Warehouse, loop: Loop, prediction_id: str) -> dict[str, Any]:
    found = _rows(
        warehouse,
        "select prediction_id, unit_id, experiment_id, arm, model_version, is_served, score, latency_ms, "
        "event_at as predicted_at, received_at, received_date from raw.predictions "
        "where loop = ? and prediction_id = ? order by received_at desc, row_hash desc limit 1",
        (loop.loop, prediction_id),
    )
    if found:
        return found[0]
    known = _rows(
        warehouse,
        "select prediction_id from raw.predictions where loop = ? order by received_at desc, prediction_id limit 3",
        (loop.loop,),
    )
    examples = ", ".join(row["prediction_id"] for row in known)
    raise NoPrediction(
        f"loop {loop.loop} has no prediction {prediction_id!r}. "
        + (
            f"The newest are {examples}; marts.fct_predictions and each answer of users name others by prediction_id"
            if known
            else "No prediction has landed yet: score_batch makes them, the next ingest_events lands them"
        )
    )


def _versions(warehouse: Warehouse, sql: str, parameters: tuple[Any, ...], at: datetime) -> dict[str, Any]:
    """The version that counted at `at`, the earlier ones, and those that came later."""
    rows = _rows(warehouse, sql + " order by received_at, row_hash", parameters)
    known = [row for row in rows if row["received_at"] < at]
    return {
        "chosen": known[-1] if known else None,
        "replaced": known[:-1],
        "later": [row for row in rows if row["received_at"] >= at],
    }


def _weather(warehouse: Warehouse, loop: Loop, unit: str, origin: Any, at: datetime) -> dict[str, Any]:
    chosen = _rows(
        warehouse,
        "select * from intermediate.int_weather_observed where loop = ? and unit_id = ?",
        (loop.loop, unit),
    )
    later = _rows(
        warehouse,
        "select * from staging.stg_weather__observations where loop = ? and origin = ? and observed_at < ? "
        "and received_at >= ? and received_at < ? order by received_at, row_hash limit ?",
        (loop.loop, origin, at, at, at + LATER, LISTED),
    )
    return {"chosen": chosen[0] if chosen else None, "later": later}


def _outcomes(
    warehouse: Warehouse, loop: Loop, unit: str, schedule: dict[str, Any], at: datetime
) -> dict[str, Any]:
    counted = _rows(
        warehouse,
        "select * from intermediate.int_lateness_windowed where loop = ? and unit_id = ?",
        (loop.loop, unit),
    )
    windows = {}
    for window in ("origin_6h", "carrier_24h", "carrier_origin_28d", "dest_28d"):
        key, _, length = window.rpartition("_")
        if counted:
            windows[window] = {
                "n": counted[0][f"{key}_outcomes_{length}"],
                "late": counted[0][f"{key}_late_{length}"],
            }
    sql = (
        "select o.unit_id, f.carrier, f.origin, f.dest, o.outcome_value, o.outcome_event_at, o.received_at "
        "from staging.stg_outcomes__outcomes o inner join intermediate.int_flights_scheduled f "
        "on f.loop = o.loop and f.unit_id = o.unit_id where o.loop = ? and f.origin = ? "
    )
    origin = schedule.get("origin")
    known = _rows(
        warehouse,
        sql + "and o.received_at < ? and o.received_at >= ? order by o.received_at desc, o.unit_id limit ?",
        (loop.loop, origin, at, at - timedelta(hours=24), LISTED),
    )
    later = (
        "and o.outcome_event_at < ? and o.received_at >= ? and o.received_at < ?",
        (loop.loop, origin, at, at, at + LATER),
    )
    return {
        "windows": windows,
        "latest_known": known,
        "later": _rows(
            warehouse, sql + later[0] + " order by o.received_at, o.unit_id limit ?", (*later[1], LISTED)
        ),
        "n_later": int(warehouse.scalar(f"select count(*) from ({sql}{later[0]}) as later", later[1])),  # noqa: S608
    }


def _features(warehouse: Warehouse, loop: Loop, unit: str) -> dict[str, Any]:
    names = ", ".join(checked_column(name) for name in loop.features.columns)
    where = "where loop = ? and unit_id = ?"
    # Identifiers of the validated loop file; the values are bound.
    sql = f"select {names} from intermediate.int_features_served {where}"  # noqa: S608
    served = _rows(warehouse, sql, (loop.loop, unit))
    sql = f"select {names} from build_features.{checked_column(loop.features.table)} {where}"  # noqa: S608
    today = _rows(warehouse, sql, (loop.loop, unit))
    values = []
    for name in loop.features.columns:
        a = served[0][name] if served else None
        b = today[0][name] if today else None
        values.append(
            {"feature": name, "served": a, "today": b, "same": a == b if served and today else None}
        )
    return {
        "is_logged": bool(served),
        "is_there_today": bool(today),
        "values": values,
        "n_different": sum(value["same"] is False for value in values),
    }


def _outcome(warehouse: Warehouse, loop: Loop, unit: str, prediction: dict[str, Any]) -> dict[str, Any]:
    prediction_id = str(prediction["prediction_id"])
    fact = _rows(
        warehouse,
        "select departure_date, label, label_received_at, outcome_state, log_loss, brier from marts.fct_predictions "
        "where loop = ? and prediction_id = ? and unit_id = ?",
        (loop.loop, prediction_id, unit),
    )
    reported = _rows(
        warehouse,
        "select outcome_value, outcome_event_at, received_at from staging.stg_outcomes__outcomes "
        "where loop = ? and unit_id = ? order by received_at, row_hash",
        (loop.loop, unit),
    )
    # Of one unit and version the prediction that was received first counts, and has the fact.
    first = _rows(
        warehouse,
        "select prediction_id from marts.fct_predictions "
        "where loop = ? and unit_id = ? and model_version = ? and prediction_id <> ?",
        (loop.loop, unit, int(prediction["model_version"]), prediction_id),
    )
    return {
        "fact": fact[0] if fact else None,
        "counts_instead": first[0]["prediction_id"] if first and not fact else None,
        "reported": reported,
    }


def _gates(warehouse: Warehouse, loop: Loop, found: dict[str, Any]) -> list[dict[str, Any]]:
    """The verdicts on the partitions that the prediction rests on and lies in."""
    wanted = {("landing", "predictions", found["prediction"]["received_at"].date())}
    wanted.add(("landing", "served_features", found["prediction"]["received_at"].date()))
    for source in ("schedule", "weather"):
        if found[source]["chosen"]:
            wanted.add(("landing", source, found[source]["chosen"]["received_at"].date()))
    if found["plane"]["chosen"]:
        wanted.add(("landing", "planes", found["plane"]["chosen"]["received_at"].date()))
    wanted |= {("landing", "outcomes", row["received_at"].date()) for row in found["outcome"]["reported"]}
    if found["schedule"]["chosen"]:
        day = found["schedule"]["chosen"]["departure_date"]
        wanted.add(("features", loop.features.table, day.date() if isinstance(day, datetime) else day))
    rows = []
    for border, table, day in sorted(wanted):
        verdicts = _rows(
            warehouse,
            "select verdict, reason from ops.partition_gates where loop = ? and border = ? and table_name = ? "
            "and partition_date = ?",
            (loop.loop, border, table, day),
        )
        said = verdicts[0] if verdicts else {"verdict": "not judged", "reason": None}
        rows.append({"border": border, "table": table, "partition": day, **said})
    return rows


def _model(settings: Settings, loop: Loop, version: int) -> dict[str, Any]:
    """What the ledger says of the version: who asked for it, what it learned from, since when it may serve."""
    entries = ledger_of(settings).entries(loop.loop)
    offer = next((e for e in entries if _version_of(e) == version), None)
    if offer is None:
        return {"version": version, "offered": None, "training": None, "snapshots": []}
    request = offer.payload["request"]
    training = next((e for e in entries if e.kind == "training" and e.payload["request"] == request), None)
    kept = ("train_start", "train_end", "serving_train_end", "train_rows", "recipe_sha256")
    rows = None if training is None else training.payload.get("snapshot_sha256")
    exact = None if training is None else training.payload.get("snapshot_id")
    return {
        "version": version,
        "offered": {"as_of": offer.as_of, "kind": offer.kind, "request": request},
        "training": None
        if training is None
        else {name: training.payload[name] for name in kept if name in training.payload},
        "snapshots": [
            m["id"]
            for m in snapshots(settings, loop)
            if m["id"] == exact or (not exact and m["sha256"] == rows)
        ],
    }


def _version_of(entry: Entry) -> int | None:
    if entry.kind == "bootstrap":
        return int(entry.payload["model_version"])
    return int(entry.payload["challenger_version"]) if entry.kind == "rollout_started" else None
