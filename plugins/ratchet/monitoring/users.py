"""What users say: ratings, complaints by category, how many answer, and whether a cohort is treated worse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from ratchet.experiment.paired import Estimate, plain, ratio_estimate
from ratchet.loop_measures import Levels
from ratchet.loop_triggers import FeedbackLimit
from ratchet.monitoring.conditions import Condition, condition, of_level
from ratchet.monitoring.quality import by_day, told
from ratchet.monitoring.wobble import State, judge_level

#: How the condition of a category's limit begins.
LIMIT = "feedback-limit:"


def user_days(cohorts: pd.DataFrame) -> list[dict[str, Any]]:
    """One record a departure day, of served units; rates are None where nobody was asked."""
    rows = cohorts[(cohorts["cohort_dimension"] == "all") & cohorts["is_served"].astype(bool)]
    answers = []
    for day, row in by_day(rows).to_dict("index").items():
        asked, ratings = float(row["n_asked"]), float(row["n_ratings"])
        answers.append(
            {
                "date": str(day),
                "n_asked": int(asked),
                "n_answers": int(ratings),
                "response_rate": plain(ratings / asked) if asked else None,
                "rating_mean": plain(float(row["sum_rating"]) / ratings) if ratings else None,
                "n_tickets": int(row["n_tickets"]),
                "complaint_rate": plain(float(row["n_tickets"]) / asked) if asked else None,
            }
        )
    return answers


def judge_users(
    terms: Levels, days: Sequence[Mapping[str, Any]], answers: pd.DataFrame, judged: Sequence[date], k: int
) -> tuple[list[dict[str, Any]], list[Condition]]:
    """Complaints by category with their trend, and the conditions; a day of fewer than `k` answers says nothing.

    Args:
        answers: what `opinions.counted` returns.
    """
    keys = ("rating_mean", "response_rate", "complaint_rate")
    series: dict[str, dict[date, float]] = {key: {} for key in keys}
    asked = {}
    for day in days:
        at = date.fromisoformat(day["date"])
        asked[at] = float(day["n_asked"])
        for key in keys:
            enough = day["n_answers" if key == "rating_mean" else "n_asked"] >= k
            series[key][at] = float(day[key]) if enough and day[key] is not None else math.nan
    shared: dict[str, Any] = {
        "window_days": terms.window_days,
        "k": terms.k_of_n_days[0],
        "error": terms.error,
    }
    found = [
        of_level(
            "rating", "users",
            judge_level(series["rating_mean"], judged, **shared, min_change=0.15, side="below", is_relative=False),
            "mean rating of a day",
        ),
        of_level(
            "response", "users",
            judge_level(series["response_rate"], judged, **shared, min_change=terms.min_change, side="below"),
            "share that answers",
        ),
        of_level(
            "complaint-rate", "users",
            judge_level(series["complaint_rate"], judged, **shared, min_change=0.5, side="above"),
            "tickets a user asked",
        ),
    ]  # fmt: skip
    categories = []
    tickets = answers[answers["channel"] == "ticket"]
    dates = pd.to_datetime(tickets["departure_date"]).dt.date
    total = sum(asked.values())
    for category, rows in tickets.assign(day=dates).groupby("answer_category", sort=True):
        counts = rows.groupby("day")["counts"].sum().to_dict()
        rate = {at: counts.get(at, 0.0) / n for at, n in asked.items() if n >= k}
        usual = sum(rate.values()) / len(rate) if rate else 0.0
        mean_asked = total / len(asked) if asked else 1.0
        level = judge_level(
            rate,
            judged,
            **shared,
            min_change=0.5,
            side="above",
            noise=math.sqrt(max(usual, 1e-9) / max(mean_asked, 1.0)),
        )
        n = int(sum(counts.values()))  # rounded down: what counts less than k is not shown
        categories.append(
            {
                "category": str(category),
                "n": n if n >= k else None,
                "rate": plain(n / total) if total and n >= k else None,
                "trend": level.state,
            }
        )
        if n >= k:
            found.append(of_level(f"complaints:{category}", "users", level, "tickets a user asked"))
    return categories, found


def judge_limits(
    limits: Mapping[str, FeedbackLimit], answers: pd.DataFrame, known: Sequence[date], k: int, error: float
) -> list[Condition]:
    """`feedback-limit:<category>` of each limit: the category's share of the answers that say what they are about.

    It alerts when the share is above the limit on k of the last n of the `known` days, and over all of these days
    beyond chance, days being the clusters. A day on which fewer than `k` such answers count is not above anything.

    Args:
        answers: what `opinions.counted` returns.
    """
    if not limits:
        return []
    said = answers[answers["answer_category"] != "none"]
    dates = pd.to_datetime(said["departure_date"]).dt.date
    counts = said.assign(day=dates)
    total = counts.groupby("day")["counts"].sum()
    found = []
    for category, limit in sorted(limits.items()):
        least, span = limit.k_of_n_days
        days = [day for day in known[-span:] if total.get(day, 0.0) >= k]
        own = counts[counts["answer_category"] == category].groupby("day")["counts"].sum()
        above = own.reindex(days, fill_value=0.0).to_numpy()
        below = total.reindex(days).to_numpy()
        share = ratio_estimate(above, below)
        over = int((above > limit.share * below).sum())
        if len(days) < least or not share.is_usable:
            found.append(
                condition(
                    f"{LIMIT}{category}", "users", "unknown",
                    f"{len(days)} of the last {span} days have {k} answers that say what they are about",
                    limit=limit.share,
                )
            )  # fmt: skip
            continue
        low, high = share.bound(error)
        state: State = "alert" if over >= least and low > limit.share else "warn" if over >= least else "ok"
        found.append(
            condition(
                f"{LIMIT}{category}", "users", state,
                f"{share.value:.1%} of {below.sum():.0f} answers, at least {low:.1%}; above {limit.share:.0%} on "
                f"{over} of {len(days)} days",
                value=share.value, limit=limit.share, low=low, high=high,
            )
        )  # fmt: skip
    return found


def perceived(
    cohorts: pd.DataFrame, days: Sequence[date], k: int, margin: float, error: float
) -> list[dict[str, Any]]:
    """Mean rating by cohort over `days` against everybody's; a cohort of fewer than `k` ratings shows no number."""
    inside = set(days)
    served = cohorts[cohorts["is_served"].astype(bool)]
    served = served[
        np.array([day in inside for day in pd.to_datetime(served["departure_date"]).dt.date], dtype=bool)
    ]
    everybody = _rating(served[served["cohort_dimension"] == "all"])
    answers: list[dict[str, Any]] = []
    for (dimension, cohort), rows in served.groupby(["cohort_dimension", "cohort_value"], sort=True):
        if dimension == "all":
            continue
        rating = _rating(rows)
        if rating.units < k:
            answers.append(
                {
                    "dimension": str(dimension),
                    "cohort": str(cohort),
                    "n": None,
                    "rating_mean": None,
                    "state": "fewer than k",
                }
            )
            continue
        gap = Estimate(rating.value - everybody.value, rating.standard_error, rating.clusters, rating.units)
        worse = gap.is_usable and gap.bound(error)[1] < -margin
        answers.append(
            {
                "dimension": str(dimension),
                "cohort": str(cohort),
                "n": rating.units,
                "rating_mean": plain(rating.value),
                "low": told(rating, error)["low"],
                "high": told(rating, error)["high"],
                "state": "worse" if worse else "ok" if gap.is_usable else "not enough evidence",
            }
        )
    return answers


def _rating(rows: pd.DataFrame) -> Estimate:
    daily = by_day(rows)
    return ratio_estimate(daily["sum_rating"], daily["n_ratings"])
