"""How the service runs: latency, errors, versions served; what trainings and builds cost, and whether that creeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from ratchet.experiment.paired import plain
from ratchet.loop_measures import Levels
from ratchet.monitoring.conditions import Condition, condition, of_level
from ratchet.monitoring.trends import judge_trend
from ratchet.monitoring.wobble import judge_level

BIN_MS = 5.0
#: Of a day with more predictions open than this, too few people were asked yet.
OPEN_SHARE = 0.1
#: Series of runs: the record's key, and the signal's name.
RUN_SERIES = (
    ("megabytes", "leak:memory"),
    ("seconds_per_million_rows", "leak:seconds"),
    ("cost", "leak:cost"),
)


def percentile(bins: Sequence[int], counts: Sequence[float], share: float) -> float:
    """The value that `share` of the counts do not exceed, linear within a bin of 5 ms; nan for nothing.

    A bin may come several times, once a model version: its counts are one.
    """
    at, places = np.unique(np.asarray(bins, dtype=np.float64), return_inverse=True)
    n = np.bincount(places, weights=np.asarray(counts, dtype=np.float64), minlength=len(at))
    total = float(n.sum())
    if not total > 0:
        return math.nan
    reached = np.cumsum(n)
    position = int(np.searchsorted(reached, share * total))
    before = float(reached[position] - n[position])
    return float((at[position] + (share * total - before) / n[position]) * BIN_MS)


def serving_days(latency: pd.DataFrame, cohorts: pd.DataFrame, k: int) -> list[dict[str, Any]]:
    """One record a day: volume, latency percentiles, app errors, versions that served.

    Errors are told twice. `errors_per_1000_asked`, of the people who were asked, is what a person meets; None while
    more than OPEN_SHARE of the day's predictions are open, whose people are asked once they have arrived, and of
    fewer than `k` people. `errors_per_prediction` needs neither and is what is judged: many may see one prediction.
    """
    answers = []
    latency = latency.assign(departure_date=pd.to_datetime(latency["departure_date"]).dt.date)
    errors = cohorts[(cohorts["cohort_dimension"] == "all") & cohorts["is_served"].astype(bool)]
    by_day = errors.assign(day=pd.to_datetime(errors["departure_date"]).dt.date).groupby("day")
    sums = by_day[["n_errors", "n_units", "n_asked", "n_open"]].sum().astype(float).to_dict("index")
    for day, rows in latency.groupby("departure_date", sort=True):
        timed = rows[rows["latency_bin"].notna()]
        bins, counts = timed["latency_bin"].astype(int).tolist(), timed["n_units"].astype(float).tolist()
        record = sums.get(day)
        answers.append(
            {
                "date": str(day),
                "volume": int(rows["n_units"].sum()),
                "latency_p50": plain(percentile(bins, counts, 0.5)),
                "latency_p95": plain(percentile(bins, counts, 0.95)),
                **_errors({} if record is None else record, k),
                "served_versions": sorted({int(v) for v in rows["model_version"]}),
            }
        )
    return answers


def _errors(sums: Mapping[Any, Any], k: int) -> dict[str, float | None]:
    errors, units, asked = (float(sums.get(name, 0)) for name in ("n_errors", "n_units", "n_asked"))
    is_known = units > 0 and asked >= max(k, 1) and sums["n_open"] <= OPEN_SHARE * units
    return {
        "errors_per_prediction": plain(errors / units) if units else None,
        "errors_per_1000_asked": plain(1000 * errors / asked) if is_known else None,
    }


def judge_serving(
    terms: Levels, days: Sequence[Mapping[str, Any]], judged: Sequence[date], expected_versions: set[int]
) -> list[Condition]:
    """Conditions of latency, errors, volume, and of a version that serves though it should not."""
    found = []
    for key, name, what, side, least in (
        ("latency_p95", "latency:p95", "ms, 95 % of a day", "above", terms.min_change),
        ("latency_p50", "latency:p50", "ms, half of a day", "above", terms.min_change),
        ("errors_per_prediction", "error:app", "app errors a served prediction", "above", 0.5),
        ("volume", "volume:served", "served units a day", "both", max(0.3, terms.min_change)),
    ):
        daily = {
            date.fromisoformat(day["date"]): math.nan if day[key] is None else float(day[key]) for day in days
        }
        level = judge_level(
            daily, judged, window_days=terms.window_days, k=terms.k_of_n_days[0], error=terms.error,
            min_change=least, side=side, same_weekday=key == "volume",  # type: ignore[arg-type]
        )  # fmt: skip
        found.append(of_level(name, "operations", level, what))
    newest = days[-1] if days else None
    if newest is not None and expected_versions:
        wrong = sorted(set(newest["served_versions"]) - expected_versions)
        found.append(
            condition(
                "served-version", "operations", "alert" if wrong else "ok",
                f"on {newest['date']} served: {newest['served_versions']}, expected {sorted(expected_versions)}",
            )
        )  # fmt: skip
    return found


def judge_runs(
    terms: Levels, runs: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[Condition]]:
    """Trends of the trainings' cost, in the order in which they ran."""
    trends, found = [], []
    for key, name in RUN_SERIES:
        values = [math.nan if run.get(key) is None else float(run[key]) for run in runs]
        trend = judge_trend(name, values, terms.leak_share)
        trends.append({"name": name, "state": trend.state, "reason": trend.reason})
        if trend.state != "unknown":
            found.append(
                condition(
                    name, "operations", trend.state, trend.reason, value=trend.growth, limit=terms.leak_share,
                    low=trend.low, high=trend.high,
                )
            )  # fmt: skip
    return trends, found
