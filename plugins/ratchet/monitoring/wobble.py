"""How much a daily number moves by itself, and whether a day is beyond that.

Days are the sample: what rows of one day share (weather, a campaign) is not noise that more rows would average away.
A day's number is compared with the prediction interval of one more day of the reference, mean and spread estimated
from the reference's own days (Student's t; Hahn and Meeker 1991, Statistical Intervals, section 4.7).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]
State = Literal["ok", "warn", "alert", "unknown"]
Side = Literal["above", "below", "both"]
#: Fewer reference days say nothing of how much days differ.
MIN_DAYS = 7


@dataclass(frozen=True)
class Wobble:
    """Mean and standard deviation of a daily number over `days` reference days; `noise` is a least spread."""

    days: int
    mean: float
    spread: float
    noise: float = 0.0

    @classmethod
    def of(cls, values: ArrayLike, noise: float = 0.0) -> Wobble:
        """The wobble of the finite numbers among `values`."""
        kept = np.asarray(values, dtype=np.float64)
        kept = kept[np.isfinite(kept)]
        spread = float(kept.std(ddof=1)) if len(kept) > 1 else math.nan
        return cls(len(kept), float(kept.mean()) if len(kept) else math.nan, spread, noise)

    @property
    def is_usable(self) -> bool:
        """Whether enough days were seen."""
        return self.days >= MIN_DAYS and math.isfinite(self.spread)

    @property
    def _reach(self) -> float:
        return math.hypot(self.spread, self.noise) * math.sqrt(1 + 1 / self.days)

    def p_value(self, value: float, side: Side = "above") -> float:
        """How probable a day this far out is; nan when it can't be told."""
        if not self.is_usable or not math.isfinite(value):
            return math.nan
        gap = value - self.mean
        if side == "below":
            gap = -gap
        if self._reach == 0:
            return 1.0 if gap == 0 or (gap < 0 and side != "both") else 0.0
        gap /= self._reach
        if side == "both":
            return min(1.0, 2 * float(stdtr(self.days - 1, -abs(gap))))
        return float(stdtr(self.days - 1, -gap))

    def limits(self, error: float) -> tuple[float, float]:
        """Between which numbers a day lies, each side wrong with probability `error`."""
        if not self.is_usable:
            return -math.inf, math.inf
        reach = float(-stdtrit(self.days - 1, error)) * self._reach
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True)
class Level:
    """A daily number's last days against its own past."""

    state: State
    value: float
    expected: float
    low: float
    high: float
    alert_days: tuple[date, ...]
    reference_days: int
    reason: str


def judge_level(
    daily: Mapping[date, float],
    judged: Sequence[date],
    *,
    window_days: int,
    k: int,
    error: float,
    min_change: float,
    side: Side = "both",
    is_relative: bool = True,
    noise: float = 0.0,
    same_weekday: bool = False,
) -> Level:
    """Whether `daily` has left its level on `k` of the `judged` days; the newest compared day is told.

    The reference is the `window_days` before the first judged day. A day alerts when it lies beyond the limits (wrong
    with probability `error`) and differs from the mean by `min_change` (of the mean when `is_relative`). With
    `same_weekday` a day is compared with its weekday's mean, where each weekday was seen three times at least; the
    spread is then of what is left of all days after their weekday's mean.
    """
    days = sorted(judged)
    nothing = Level("unknown", math.nan, math.nan, math.nan, math.nan, (), 0, "no day to judge")
    if not days:
        return nothing
    first = days[0]
    past = {
        day: value
        for day, value in daily.items()
        if 0 < (first - day).days <= window_days and math.isfinite(value)
    }
    if len(past) < MIN_DAYS:
        return Level(
            "unknown", math.nan, math.nan, math.nan, math.nan, (), len(past),
            f"{len(past)} days to compare with; {MIN_DAYS} are needed",
        )  # fmt: skip
    by_weekday = {weekday: [v for d, v in past.items() if d.weekday() == weekday] for weekday in range(7)}
    weekly = same_weekday and len(past) >= 21 and all(len(values) >= 3 for values in by_weekday.values())
    means = {weekday: float(np.mean(values)) for weekday, values in by_weekday.items()} if weekly else {}
    rest = [value - means.get(day.weekday(), 0.0) for day, value in past.items()]
    alerts, told = [], nothing
    for day in days:
        value = daily.get(day, math.nan)
        if not math.isfinite(value):
            continue
        wobble = Wobble.of(rest, noise)
        shift = means.get(day.weekday(), 0.0)
        low, high = (limit + shift for limit in wobble.limits(error))
        expected = wobble.mean + shift
        change = abs(value - expected)
        enough = change >= min_change * (abs(expected) if is_relative else 1.0)
        beyond = (side != "below" and value > high) or (side != "above" and value < low)
        if enough and beyond:
            alerts.append(day)
        told = Level("ok", value, expected, low, high, (), len(past), "")
    if told is nothing:
        return nothing
    state: State = "alert" if len(alerts) >= k else "warn" if alerts else "ok"
    reason = f"{told.value:.4g}; {told.low:.4g} to {told.high:.4g} by {told.reference_days} days before"
    return Level(
        state, told.value, told.expected, told.low, told.high, tuple(alerts), told.reference_days, reason
    )
