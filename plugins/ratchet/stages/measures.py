"""Read the facts of all measures from the warehouse and the ledger; publish what they say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.ledger.chain import Entry
from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.loop_days import last_mature_day
from ratchet.monitoring.conditions import Condition
from ratchet.monitoring.health import Health
from ratchet.monitoring.measures import Facts, Measured, assess
from ratchet.published import publish
from ratchet.settings import Settings
from ratchet.stages.provenance import environment
from ratchet.warehouse.protocol import Warehouse, WarehouseError

#: Sums are read this far back: the windows that are shown, and the days that they are compared with.
SUMS_BACK = timedelta(days=100)
#: Histograms are read for the reference and the judged days, counted from the flights themselves.
SPARE_DAYS = 7
_SUMS = {
    "scores": "mon_scores_daily",
    "cohorts": "mon_cohorts_daily",
    "latency": "mon_latency_daily",
    "answers": "mon_answers_daily",
}
#: Models that warehouses of former versions don't have before their next build.
_LATER = ("mon_cohort_scores_daily", "mon_weights_daily")


def read_facts(
    settings: Settings,
    warehouse: Warehouse,
    loop: Loop,
    entries: Sequence[Entry],
    as_of: datetime,
    skew: str | None,
) -> Facts:
    """The facts of `as_of`: nothing of a departure or a received day that was not over then.

    Raises:
        WarehouseError: a model that is read was never built in this warehouse.
    """
    name, today = loop.loop, as_of.date()
    terms = loop.monitoring.measures
    frames: dict[str, pd.DataFrame] = {}
    require_models(warehouse)
    for key, model in _SUMS.items():
        # Names of our own models; the values are bound.
        sql = (
            f"select * from monitoring.{model} where loop = ? and departure_date >= ? and departure_date < ?"  # noqa: S608
        )
        frames[key] = _in_order(warehouse.frame(sql, (name, today - SUMS_BACK, today)))
    frames["weight_changes"] = _in_order(
        warehouse.frame(
            "select * from monitoring.mon_weights_daily where loop = ? and departure_date >= ? and departure_date < ? "
            "and weighed_at <= ?",
            (name, today - SUMS_BACK, today, as_of),
        )
    )
    mature = last_mature_day(loop, as_of)
    frames["cohort_scores"] = _in_order(
        warehouse.frame(
            "select * from monitoring.mon_cohort_scores_daily where loop = ? and departure_date > ? "
            "and departure_date <= ?",
            (name, mature - timedelta(days=terms.quality.window_days), mature),
        )
    )
    frames["histograms"] = _histograms(warehouse, loop, today)
    for key, table in (("bins", "ops.feature_bins"), ("profiles", "ops.feature_profiles")):
        frames[key] = _in_order(warehouse.frame(f"select * from {table} where loop = ?", (name,)))  # noqa: S608
    since = today - timedelta(days=terms.classifier.days)
    frames["sample"] = _in_order(
        warehouse.frame(
            "select * from monitoring.mon_feature_sample where loop = ? and departure_date >= ? "
            "and departure_date < ?",
            (name, since, today),
        )
    )
    frames["landings"] = _in_order(
        warehouse.frame(
            "select source, received_date, sum(rows_landed) as rows, sum(rows_quarantined) as quarantined, "
            "sum(rows_duplicate) as duplicates from ops.landings where loop = ? and received_date >= ? "
            "and received_date < ? group by source, received_date",
            (name, today - SUMS_BACK, today),
        )
    )
    frames["ages"] = _in_order(
        warehouse.frame(
            "select source, received_date, n_rows, median_age_hours, n_repeated from monitoring.mon_feed_age_daily "
            "where loop = ? and received_date >= ? and received_date < ?",
            (name, today - SUMS_BACK, today),
        )
    )
    frames["extra"] = _in_order(
        warehouse.frame(
            "select source, received_date, column_name from ops.extra_columns where loop = ? and received_date < ?",
            (name, today),
        )
    )
    frames["curve"] = _in_order(
        warehouse.frame(
            "select source, age_hours, sum(n_units) as n_units, sum(n_received) as n_received "
            "from monitoring.mon_label_maturity where loop = ? and complete_at <= ? and departure_date >= ? "
            "group by source, age_hours",
            (name, as_of, today - SUMS_BACK),
        )
    )
    frames["gates"] = _in_order(
        warehouse.frame(
            "select border, table_name, partition_date, verdict, reason from ops.partition_gates "
            "where loop = ? and partition_date >= ?",
            (name, today - timedelta(days=60)),
        )
    )
    frames["staleness"] = _in_order(
        warehouse.frame(
            "select * from ops.staleness_daily where loop = ? and departure_date < ?", (name, today)
        )
    )
    return Facts(
        **frames,
        runs=tuple(run_of(e) for e in entries if e.kind == "training" and e.as_of <= as_of.isoformat()),
        versions=frozenset(_versions(entries)),
        withdrawn=frozenset(fold(entries).withdrawn_versions),
        lock=(environment(settings.root)["lock_sha256"], _lock_before(entries, as_of)),
        skew=skew,
    )


def require_models(warehouse: Warehouse) -> None:
    """Refuse a warehouse that was built before there was a model that is read here."""
    there = set(
        warehouse.frame(
            "select table_name from information_schema.tables where table_schema = 'monitoring'"
        )["table_name"]
    )  # fmt: skip
    if missing := sorted(set(_LATER) - there):
        raise WarehouseError(
            f"monitoring.{missing[0]} was never built in this warehouse: run `ratchet rebuild`, or measure after the "
            "next build"
        )


def _histograms(warehouse: Warehouse, loop: Loop, today: date) -> pd.DataFrame:
    terms = loop.monitoring.measures.inputs
    back = timedelta(days=terms.window_days + terms.k_of_n_days[1] + SPARE_DAYS)
    spans = [(today - back, today)]
    if terms.reference == "season":
        spans.append((today - timedelta(days=364) - back, today - timedelta(days=364) + back))
    sql = (
        "select * from monitoring.mon_feature_histograms where loop = ? and departure_date >= ? "
        "and departure_date < ?"
    )
    return _in_order(pd.concat([warehouse.frame(sql, (loop.loop, *span)) for span in spans]))


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in one order, whatever the engine and the text order of its database."""
    return rows.sort_values(list(rows.columns), ignore_index=True)


def run_of(entry: Entry) -> dict[str, Any]:
    """What a training cost, as the ledger has it."""
    cost, rows = entry.payload.get("cost", {}), entry.payload.get("train_rows")
    seconds = cost.get("seconds")
    return {
        "run": entry.key,
        "as_of": entry.as_of,
        "seconds": seconds,
        "cpu_seconds": cost.get("cpu_seconds"),
        "megabytes": cost.get("megabytes"),
        "rows": rows,
        "cost": cost.get("cpu_seconds", seconds),
        "seconds_per_million_rows": None
        if not rows or seconds is None
        else 1e6 * float(seconds) / float(rows),
    }


def _versions(entries: Sequence[Entry]) -> set[int]:
    """Every version that the ledger ever let serve or put on trial."""
    found = {int(e.payload["model_version"]) for e in entries if e.kind == "bootstrap"}
    return found | {int(e.payload["challenger_version"]) for e in entries if e.kind == "rollout_started"}


def _lock_before(entries: Sequence[Entry], as_of: datetime) -> str | None:
    told = [
        e
        for e in entries
        if e.kind == "health" and e.as_of < as_of.isoformat() and "lock_sha256" in e.payload
    ]
    return None if not told else str(told[-1].payload["lock_sha256"])


def measures_of(facts: Facts, loop: Loop, health: Health) -> tuple[Measured, dict[str, Any]]:
    """What was measured, and what of it the health record keeps."""
    measured = assess(loop, facts, health)
    return measured, {"signals": list(measured.conditions), "lock_sha256": facts.lock[0]}


def publish_measures(settings: Settings, loop: Loop, measured: Measured) -> None:
    """Replace the summaries monitor_*."""
    for name, content in measured.summaries.items():
        publish(settings, loop.loop, name, content)


def told(conditions: Sequence[Condition]) -> str:
    """The conditions in one line: how many were judged, which alert, which are unknown."""
    alerts = [item["name"] for item in conditions if item["state"] == "alert"]
    unknown = [item["name"] for item in conditions if item["state"] == "unknown"]
    parts = [
        f"{len(conditions)} conditions judged",
        f"{len(alerts)} alert" + (f": {', '.join(alerts)}" if alerts else ""),
    ]
    if unknown:
        parts.append(f"{len(unknown)} unknown: {', '.join(unknown)}")
    return "; ".join(parts)
