"""What arrives: rows of each source by received day, how late it is, new fields, quarantined shares."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from ratchet.experiment.paired import plain
from ratchet.loop_measures import Levels
from ratchet.monitoring.conditions import Condition, condition, of_level
from ratchet.monitoring.wobble import MIN_DAYS, State, judge_level

SUMMARY_DAYS = 60


def judge_feeds(
    terms: Levels, landings: pd.DataFrame, daily: Collection[str], as_of: datetime
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Condition]]:
    """Volume by day, freshness by source, and their conditions, of the sources `daily` that come every day.

    `landings` has source, received_date, rows, quarantined, duplicates: sums of ops.landings. Days that were not over
    at `as_of` are left out. A source is only held to its days once it has come on seven.
    """
    rows = landings.assign(received_date=pd.to_datetime(landings["received_date"]).dt.date)
    rows = rows[np.array([day < as_of.date() for day in rows["received_date"]], dtype=bool)]
    newest = as_of.date() - timedelta(days=1)
    first = as_of.date() - timedelta(days=SUMMARY_DAYS)
    volume = [
        {
            "source": str(row["source"]),
            "date": row["received_date"].isoformat(),
            "rows": int(row["rows"]),
            "quarantined": int(row["quarantined"]),
            "duplicates": int(row["duplicates"]),
        }
        for row in rows.sort_values(["source", "received_date"]).to_dict("records")
        if row["received_date"] >= first
    ]
    freshness: list[dict[str, Any]] = []
    found: list[Condition] = []
    for source in sorted(daily):
        own = rows[rows["source"] == source]
        last = max(own["received_date"], default=None)
        late = (
            None
            if last is None
            else (as_of - datetime.combine(last + timedelta(days=1), datetime.min.time()))
            / timedelta(hours=1)
        )
        known = len(own) >= MIN_DAYS
        state = (
            "unknown" if late is None or not known else "alert" if late >= terms.late_after_hours else "ok"
        )
        freshness.append(
            {
                "source": source,
                "last_received": None if last is None else last.isoformat(),
                "hours_late": plain(late) if late is not None else None,
                "state": state,
            }
        )
        if not known:
            continue
        found.append(
            condition(
                f"freshness:{source}", "data", "alert" if state == "alert" else "ok",
                f"last received on {last}; a day of {source} is {late or 0:.0f} hours overdue",
                value=late, limit=terms.late_after_hours, source=source,
            )
        )  # fmt: skip
        counts = dict(zip(own["received_date"], own["rows"].astype(float), strict=True))
        judged = [newest - timedelta(days=i) for i in range(terms.k_of_n_days[1])]
        start = min(counts)
        full = {start + timedelta(days=i): 0.0 for i in range((newest - start).days + 1)} | counts
        level = judge_level(
            full, judged, window_days=terms.window_days, k=terms.k_of_n_days[0], error=terms.error,
            min_change=terms.min_change, same_weekday=True,
        )  # fmt: skip
        found.append(of_level(f"volume:{source}", "data", level, "rows a day", source=source))
        share = {
            day: float(q) / max(1.0, float(n) + float(q))
            for day, q, n in zip(own["received_date"], own["quarantined"], own["rows"], strict=True)
        }
        held = judge_level(
            share, judged, window_days=terms.window_days, k=terms.k_of_n_days[0], error=terms.error,
            min_change=0.02, side="above", is_relative=False,
        )  # fmt: skip
        found.append(of_level(f"quarantine:{source}", "data", held, "share in quarantine", source=source))
    # A source that is too young for its levels has a freshness all the same.
    return volume, freshness, [item for item in found if item["state"] != "unknown"]


def judge_schemas(extra: pd.DataFrame, as_of: datetime, recent_days: int) -> list[Condition]:
    """Fields that a source's files have had in the last days and never before; `extra` is ops.extra_columns."""
    found = []
    dates = pd.to_datetime(extra["received_date"]).dt.date
    first = as_of.date() - timedelta(days=recent_days)
    for source, rows in extra.assign(received_date=dates).groupby("source", sort=True):
        known = set(rows.loc[[day < first for day in rows["received_date"]], "column_name"])
        new = sorted({*rows["column_name"]} - known)
        found.append(
            condition(
                f"schema:{source}", "dependency", "alert" if new else "ok",
                f"new fields since {first}: {', '.join(map(str, new))}" if new else "no new field",
                value=float(len(new)), limit=0.0, source=str(source),
            )
        )  # fmt: skip
    return found


def judge_lock(now: str | None, before: str | None) -> Condition:
    """Whether the lock file is another one than at the health record before."""
    changed = before is not None and now != before
    state: State = "unknown" if now is None else "warn" if changed else "ok"
    told = f"{(before or 'none')[:12]} to {(now or 'none')[:12]}" if changed else "unchanged"
    return condition("lock", "dependency", state, f"requirements.lock: {told}")


def maturity(curve: pd.DataFrame) -> list[dict[str, Any]]:
    """Share of outcomes received by age, from mon_label_maturity."""
    own = curve[curve["source"] == "outcomes"].sort_values("age_hours")
    return [
        {
            "age_days": float(row["age_hours"]) / 24,
            "share_received": plain(float(row["n_received"]) / float(row["n_units"]))
            if row["n_units"]
            else None,
            "n": int(row["n_units"]),
        }
        for row in own.to_dict("records")
    ]


def gates(rows: pd.DataFrame, as_of: datetime) -> list[dict[str, Any]]:
    """Verdicts of the last 60 days, from ops.partition_gates."""
    dates = pd.to_datetime(rows["partition_date"]).dt.date
    recent = rows.assign(day=dates)[
        np.array([day >= as_of.date() - timedelta(days=SUMMARY_DAYS) for day in dates], dtype=bool)
    ]
    return [
        {
            "border": str(row["border"]),
            "table": str(row["table_name"]),
            "date": row["day"].isoformat(),
            "verdict": str(row["verdict"]),
            "reasons": [str(row["reason"])] if row["reason"] else [],
        }
        for row in recent.sort_values(["border", "table_name", "day"]).to_dict("records")
    ]


def summary(parts: Mapping[str, Any], as_of: datetime) -> dict[str, Any]:
    """The summary monitor_data."""
    return {"as_of": as_of.isoformat(), **parts}


def days_before(as_of: datetime, count: int) -> list[date]:
    """The last `count` whole days before `as_of`, oldest first."""
    return [as_of.date() - timedelta(days=i) for i in range(count, 0, -1)]
