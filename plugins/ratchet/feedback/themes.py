"""What people complain of, ranked: how many, how bad, whether it grows, what mending it is worth, what was done. Pure.

The sums are of days (`monitoring.mon_feedback_daily`), so that every interval is over days. A theme that fewer than k
people are behind has no number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ratchet.experiment.paired import Estimate, arm_difference, plain, ratio_estimate
from ratchet.loop_feedback import Category, Taxonomy

Trend = Literal["rising", "falling", "no change shown", "not enough evidence"]

WINDOW = timedelta(days=28)  # now, and before
LEAST_DAYS = 7  # of each, for a trend
ERROR = 0.025  # of each limit
COLUMNS = (
    "departure_date", "answer_category", "n_asked", "n_answers", "sum_weight", "sum_weight_rated",
    "sum_rating_weighted",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """Something that the ledger says was done about the model, and when."""

    as_of: str
    what: str


@dataclass(frozen=True)
class Theme:
    """One category. Numbers are None below k, and where the days can't tell them.

    `rate`: complaints a person asked, of the last 28 complete days; `people_share` of everybody who wrote.
    `trend_value`: that rate less the rate of the 28 days before. `rating_gap`: mean rating of answers that are about it
    less that of the others, on the same days; `gain`: what the mean rating would be more if they rated like the
    others. Both are associations: who complains may be unhappy for another reason.
    """

    category: str
    title: str
    maps_to: str
    severity: int
    is_hidden: bool
    volume: float | None = None
    n_answers: int | None = None
    people: int | None = None
    people_share: float | None = None
    rate: float | None = None
    trend: Trend = "not enough evidence"
    trend_value: float | None = None
    trend_low: float | None = None
    trend_high: float | None = None
    rating_gap: float | None = None
    rating_gap_low: float | None = None
    rating_gap_high: float | None = None
    gain: float | None = None
    weeks: tuple[dict[str, Any], ...] = ()
    done: tuple[Done, ...] = ()

    @property
    def rank(self) -> tuple[float, str]:
        """Severity times how often, of what people are less happy with; what they are happy with comes last."""
        if self.is_hidden or self.rate is None:
            return (math.inf, self.category)
        is_praise = self.rating_gap_low is not None and self.rating_gap_low > 0
        return (0.0 if is_praise else -self.severity * self.rate, self.category)

    def to_json(self) -> dict[str, Any]:
        """Plain types for a summary."""
        return asdict(self)


def themes(
    taxonomy: Taxonomy,
    sums: pd.DataFrame,
    people: Mapping[str, int],
    everybody: int,
    closed: date,
    done: Sequence[Done],
    k: int,
) -> list[Theme]:
    """Every category of the taxonomy, the most pressing first.

    Args:
        sums: rows with `COLUMNS`, of everybody served; days after `closed` are left out.
        people: how many different people wrote about each category in the last 28 complete days.
        everybody: how many wrote about any.
        done: what was done about the model; it is told of categories that are about the model.

    Raises:
        KeyError: a column is missing.
    """
    rows = sums[list(COLUMNS)]
    when = list(pd.to_datetime(rows["departure_date"]).dt.date)
    rows = rows.assign(day=when)[np.array([day <= closed for day in when], dtype=bool)]
    whole = rows[rows["answer_category"] == "all"].groupby("day").sum(numeric_only=True).sort_index()
    found = []
    for name, category in taxonomy.categories.items():
        own = rows[rows["answer_category"] == name].groupby("day").sum(numeric_only=True)
        own = own.reindex(whole.index, fill_value=0)
        told = done if category.maps_to != "not_the_model" else ()
        found.append(_theme(name, category, own, whole, people.get(name, 0), everybody, closed, told, k))
    return sorted(found, key=lambda theme: theme.rank)


def _theme(
    name: str,
    category: Category,
    own: pd.DataFrame,
    whole: pd.DataFrame,
    people: int,
    everybody: int,
    closed: date,
    done: Sequence[Done],
    k: int,
) -> Theme:
    recent = np.array([day > closed - WINDOW for day in whole.index], dtype=bool)
    before = np.array([closed - 2 * WINDOW < day <= closed - WINDOW for day in whole.index], dtype=bool)
    answers = int(own.loc[recent, "n_answers"].sum())
    about: dict[str, Any] = {
        "category": name,
        "title": category.title,
        "maps_to": category.maps_to,
        "severity": category.severity,
    }
    if answers < k or people < k:
        return Theme(**about, is_hidden=True, done=tuple(done))
    now, then = (ratio_estimate(own.loc[p, "sum_weight"], whole.loc[p, "n_asked"]) for p in (recent, before))
    trend, change, low, high = _trend(now, then)
    both = recent | before
    gap = _rating_gap(own[both], whole[both])
    gap_low, gap_high = gap.bound(ERROR)
    rated = float(whole.loc[both, "sum_weight_rated"].sum())
    share = float(own.loc[both, "sum_weight_rated"].sum()) / rated if rated else math.nan
    is_told = gap.is_usable and int(own.loc[both, "n_answers"].sum()) >= k
    return Theme(
        **about,
        is_hidden=False,
        volume=plain(float(own.loc[recent, "sum_weight"].sum())),
        n_answers=answers,
        people=people,
        people_share=plain(people / everybody) if everybody >= k else None,
        rate=plain(now.value),
        trend=trend,
        trend_value=change,
        trend_low=low,
        trend_high=high,
        rating_gap=plain(gap.value) if is_told else None,
        rating_gap_low=plain(gap_low) if is_told else None,
        rating_gap_high=plain(gap_high) if is_told else None,
        gain=plain(-gap.value * share) if is_told else None,
        weeks=_weeks(own, whole, closed, k),
        done=tuple(done),
    )


def _trend(now: Estimate, then: Estimate) -> tuple[Trend, float | None, float | None, float | None]:
    """The change between two times: their days are different ones, so the variances add."""
    if min(now.clusters, then.clusters) < LEAST_DAYS or not (now.is_usable and then.is_usable):
        return "not enough evidence", None, None, None
    change = now.value - then.value
    reach = float(-stdtrit(min(now.degrees, then.degrees), ERROR)) * math.hypot(
        now.standard_error, then.standard_error
    )
    low, high = change - reach, change + reach
    state: Trend = "rising" if low > 0 else "falling" if high < 0 else "no change shown"
    return state, plain(change), plain(low), plain(high)


def _rating_gap(own: pd.DataFrame, whole: pd.DataFrame) -> Estimate:
    """Mean rating with the category less without, by days that have both."""
    sums, counts = own["sum_rating_weighted"], own["sum_weight_rated"]
    # Nine decimals are kept of a sum: what is left of equal ones is none.
    others = (whole["sum_weight_rated"] - counts).where(lambda left: left > 1e-6, 0.0)
    return arm_difference(sums, counts, (whole["sum_rating_weighted"] - sums).where(others > 0, 0.0), others)


def _weeks(own: pd.DataFrame, whole: pd.DataFrame, closed: date, k: int) -> tuple[dict[str, Any], ...]:
    """The rate of each week, the oldest first; a week of fewer than k answers has none."""
    told = []
    for back in range(7, -1, -1):
        last = closed - timedelta(days=7 * back)
        inside = np.array([last - timedelta(days=7) < day <= last for day in whole.index], dtype=bool)
        asked, n = float(whole.loc[inside, "n_asked"].sum()), int(own.loc[inside, "n_answers"].sum())
        rate = float(own.loc[inside, "sum_weight"].sum()) / asked if asked and n >= k else None
        told.append({"until": last.isoformat(), "rate": rate})
    return tuple(told)
