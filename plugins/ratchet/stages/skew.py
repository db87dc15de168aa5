"""Training-serving skew: what was served against the same features as they are computed today, by day."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.loop import Loop
from ratchet.published import publish
from ratchet.settings import Settings
from ratchet.stages.provenance import landed_partitions
from ratchet.stages.served_log import known_when_served
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]
#: As far back as a health record looks.
HISTORY = timedelta(days=35)
#: Sources whose rows no feature looks at.
FACTS_ONLY = frozenset({"predictions", "served_features", "feedback", "telemetry"})
#: A sample of units may miss its share by this many standard deviations before logs count as lost.
SAMPLE_DEVIATIONS = 5.0


def judge_skew(days: pd.DataFrame, sample: float) -> dict[str, Any]:
    """What the sums of mon_feature_skew_daily say. Pure.

    Args:
        days: departure_date, feature, n_served, n_not_logged, n_gone, n_compared, n_different,
            max_abs_difference; the counts of units are the same on each row of a date.
        sample: share of units whose features are logged.

    Returns:
        `state`: "skew", "none", or "unknown" when nothing was compared; counts; `features`, most different
        first; `dates` that differ, in order; `problems` of the log itself, in words.
    """
    units = days.drop_duplicates("departure_date")
    served, compared = int(units["n_served"].sum()), int(units["n_compared"].sum())
    different = days[days["n_different"] > 0]
    features = [
        {
            "feature": str(name),
            "n_different": int(rows["n_different"].sum()),
            "share_different": float(rows["n_different"].sum() / compared),
            "max_abs_difference": _furthest(rows["max_abs_difference"]),
            "dates": len(rows),
        }
        for name, rows in different.groupby("feature")
    ]
    dates = []
    for day, rows in different.groupby("departure_date"):
        worst = rows.sort_values(["n_different", "feature"], ascending=[False, True]).iloc[0]
        dates.append(
            {
                "departure_date": pd.Timestamp(str(day)).date().isoformat(),
                "n_compared": int(worst["n_compared"]),
                "n_different": int(worst["n_different"]),
                "share_different": float(worst["n_different"] / worst["n_compared"]),
                "worst_feature": str(worst["feature"]),
                "features": sorted(str(name) for name in rows["feature"]),
            }
        )
    return {
        "state": "skew" if dates else "none" if compared else "unknown",
        "dates_looked_at": len(units),
        "n_served": served,
        "n_compared": compared,
        "n_not_logged": int(units["n_not_logged"].sum()),
        "n_gone": int(units["n_gone"].sum()),
        "features": sorted(features, key=lambda f: (-f["n_different"], f["feature"])),
        "dates": dates,
        "problems": _problems(units, served, sample),
    }


def _furthest(values: pd.Series) -> float | None:
    found = values.max()
    return None if pd.isna(found) else float(found)


def _problems(units: pd.DataFrame, served: int, sample: float) -> list[str]:
    problems = []
    missing, gone = int(units["n_not_logged"].sum()), int(units["n_gone"].sum())
    expected = served * (1 - sample)
    if missing > expected + SAMPLE_DEVIATIONS * math.sqrt(served * sample * (1 - sample)):
        problems.append(
            f"{missing} of {served} served units have no log of what was scored; the sample of {sample:g} leaves out "
            f"about {expected:.0f}"
        )
    if gone:
        problems.append(
            f"{gone} of {served} served units have no feature row today: they would not be scored"
        )
    return problems


def late_partitions(
    loop: Loop,
    departures: Iterable[date],
    landed: list[dict[str, Any]],
    known: dict[date, list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """The partitions that the features of `departures` look at and that landed, or got rows, after serving. Pure.

    Args:
        landed: what has landed now, as `provenance.landed_partitions` lists it.
        known: by received date of predictions, what had landed when they were made.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for departure in departures:
        served_on = [day for day in known if abs((day - departure).days) <= 1]
        before = {(p["source"], p["received_date"]): p["digest"] for day in served_on for p in known[day]}
        if not served_on:
            continue
        first = (departure - timedelta(days=loop.reach.lookback_days)).isoformat()
        last = (departure + timedelta(days=1)).isoformat()
        for partition in landed:
            source, day = partition["source"], partition["received_date"]
            of_features = source not in FACTS_ONLY and (
                first <= day <= last or loop.sources[source].reference
            )
            # A partition of a day that was not over yet is no surprise when it has grown.
            if (
                of_features
                and day <= max(served_on).isoformat()
                and before.get((source, day)) != partition["digest"]
            ):
                found[(source, day)] = {**partition, "was_known": (source, day) in before}
    return [found[key] for key in sorted(found)]


def skew_between(settings: Settings, loop: Loop, first: date, last: date) -> dict[str, Any]:
    """The skew of departures from `first` to `last`, and which partitions landed after they were served."""
    with open_warehouse(settings, purpose=f"skew of {loop.loop}", read_only=True) as warehouse:
        days = warehouse.frame(
            "select * from monitoring.mon_feature_skew_daily where loop = ? and departure_date between ? and ? "
            "order by departure_date, feature",
            (loop.loop, first, last),
        )
        found = judge_skew(days, loop.monitoring.served_features_sample)
        # The list is as long as the history: only a difference needs it.
        landed = landed_partitions(warehouse, loop) if found["dates"] else []
    departures = [date.fromisoformat(day["departure_date"]) for day in found["dates"]]
    late = late_partitions(loop, departures, landed, known_when_served(settings, loop, departures))
    return {**found, "landed_after_serving": late}


def measure_skew(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Judge the skew of the last weeks, publish it as the summary `skew` and say it in one line."""
    found = skew_between(settings, loop, as_of.date() - HISTORY, as_of.date() + timedelta(days=1))
    summary = {**found, "as_of": as_of.isoformat()}
    publish(settings, loop.loop, "skew", summary)
    log(f"skew: {told(summary)}")
    return summary


def told(summary: dict[str, Any]) -> str:
    """The summary in one line."""
    return "; ".join([_told(summary), *summary["problems"]])


def _told(summary: dict[str, Any]) -> str:
    compared = f"{summary['n_compared']:,}"
    if summary["state"] == "unknown":
        return "not known: no served unit was compared"
    if summary["state"] == "none":
        return f"none: {compared} served units of {summary['dates_looked_at']} dates equal today's features"
    days, worst, late = summary["dates"], summary["features"][0], summary["landed_after_serving"]
    span = days[0]["departure_date"]
    if len(days) > 1:
        span = f"{len(days)} dates from {span} to {days[-1]['departure_date']}"
    more = f" and {len(summary['features']) - 1} more features" if len(summary["features"]) > 1 else ""
    sources = ", ".join(sorted({partition["source"] for partition in late}))
    cause = (
        f"{len(late)} partition{'s' if len(late) > 1 else ''} of {sources} landed or grew after serving"
        if late
        else "no partition landed after serving: see what changed in the models or the loop file"
    )
    share = f"{worst['share_different']:.1%} of {compared} units"
    return f"{span}: {worst['feature']}{more} differ from what was served ({share}); {cause}"
