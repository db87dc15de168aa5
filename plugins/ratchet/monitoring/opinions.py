"""What users said by a moment: answers counted by their weights as known then, and the conditions that follow.

One definition for the measures of a day, for the trigger and for a backtest: an answer is about what its words were
understood as, else what its sender chose (`mon_answers_daily`), and counts what was last said of it
(`mon_weights_daily`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet.loop_days import last_answered_day
from ratchet.monitoring import users
from ratchet.monitoring.conditions import Condition, condition
from ratchet.monitoring.health import MIN_DAYS

if TYPE_CHECKING:
    from ratchet.loop import Loop

#: Days without an answer after which nobody measures what users say any more.
SILENT_DAYS = 3
_KEYS = ["departure_date", "channel", "answer_category"]
CHANGES = (*_KEYS, "weighed_at", "sum_change")


@dataclass(frozen=True)
class Opinions:
    """`days`: a record a departure day before the as-of; `known`: those whose answers can come no more."""

    days: list[dict[str, Any]]
    known: tuple[date, ...]
    judged: tuple[date, ...]
    categories: list[dict[str, Any]]
    conditions: tuple[Condition, ...]


def counted(answers: pd.DataFrame, changes: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Answers by departure date, channel and category: `n_answers`, and `counts`, what they count at `as_of`.

    Args:
        answers: rows of mon_answers_daily.
        changes: rows of mon_weights_daily; what was weighed after `as_of` is not known yet.
    """
    known = changes[pd.to_datetime(changes["weighed_at"]) <= pd.Timestamp(as_of)]
    found = _summed(answers, "n_answers").merge(_summed(known, "sum_change"), on=_KEYS, how="left")
    counts = found["n_answers"] + found.pop("sum_change").fillna(0.0)
    # Sums of decimals: what counts nothing may come out as a little below it.
    return found.assign(counts=np.clip(counts, 0.0, found["n_answers"]))


def _summed(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    typed = rows.assign(departure_date=pd.to_datetime(rows["departure_date"])).astype({column: "float64"})
    return typed.groupby(_KEYS, as_index=False)[[column]].sum()


def judge_opinions(loop: Loop, cohorts: pd.DataFrame, answers: pd.DataFrame, as_of: datetime) -> Opinions:
    """Ratings, complaints and limits at `as_of`, on the days whose answers can come no more.

    Args:
        cohorts: rows of mon_cohorts_daily; those of the cohort all that were served are read.
        answers: what `counted` returns.
    """
    levels, k = loop.monitoring.measures.levels, loop.monitoring.min_group
    closed = last_answered_day(loop, as_of)
    days = [day for day in users.user_days(cohorts) if date.fromisoformat(day["date"]) < as_of.date()]
    complete = [day for day in days if date.fromisoformat(day["date"]) <= closed]
    known = [date.fromisoformat(day["date"]) for day in complete]
    judged = known[-levels.k_of_n_days[1] :]
    categories, found = users.judge_users(levels, complete, answers, judged, k)
    found += users.judge_limits(loop.triggers.event.feedback_limits, answers, known, k, levels.error)
    return Opinions(
        days,
        tuple(known),
        tuple(judged),
        categories,
        (_silence(complete, known, closed), *(item for item in found if item["state"] != "unknown")),
    )


def _silence(complete: Sequence[dict[str, Any]], known: Sequence[date], closed: date) -> Condition:
    answered = [date.fromisoformat(day["date"]) for day in complete if day["n_answers"] or day["n_tickets"]]
    silent = bool(known) and known[0] < closed - timedelta(days=MIN_DAYS) and (
        not answered or answered[-1] < closed - timedelta(days=SILENT_DAYS)
    )  # fmt: skip
    told_of = f"last answers about departures of {answered[-1]}" if answered else "nobody has answered yet"
    return condition("not-measured:users", "users", "unknown" if silent else "ok", told_of)
