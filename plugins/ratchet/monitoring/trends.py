"""Jumps and slow leaks in a series of runs: Theil-Sen's slope with Mann and Kendall's test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, theilslopes

from ratchet.monitoring.wobble import State, Wobble

MIN_RUNS = 8
#: One-sided probability of a trend this clear in runs that have none.
TREND_ERROR = 0.001


@dataclass(frozen=True)
class Trend:
    """Whether the numbers creep or have jumped; `growth` is the slope over all runs as a share of their median."""

    name: str
    state: State
    growth: float
    low: float
    high: float
    runs: int
    reason: str


def judge_trend(name: str, values: Sequence[float], leak_share: float) -> Trend:
    """Whether `values`, in the order of their runs, grow by more than `leak_share` beyond chance, or have jumped."""
    kept = np.array([value for value in values if math.isfinite(value)])
    if len(kept) < MIN_RUNS:
        reason = f"{len(kept)} runs; {MIN_RUNS} are needed"
        return Trend(name, "unknown", math.nan, math.nan, math.nan, len(kept), reason)
    middle = float(np.median(kept)) or 1.0
    runs = np.arange(len(kept))
    slope, _, low, high = theilslopes(kept, runs, alpha=0.98)
    p = float(kendalltau(runs, kept, alternative="greater").pvalue) if np.ptp(kept) else 1.0
    growth, low, high = (float(v) * (len(kept) - 1) / abs(middle) for v in (slope, low, high))
    past = Wobble.of(kept[:-2])
    jumped = bool(
        past.is_usable
        and min(kept[-2:]) > past.limits(TREND_ERROR)[1]
        and min(kept[-2:]) >= past.mean * (1 + 2 * leak_share)
    )
    leaks = p < TREND_ERROR and growth >= leak_share and low > 0
    told = f"{growth:+.0%} over {len(kept)} runs ({low:+.0%} to {high:+.0%})"
    if jumped:
        told = f"{kept[-1]:.4g}, the runs before {past.mean:.4g}"
    state: State = "alert" if jumped or leaks else "ok"
    return Trend(
        name,
        state,
        growth,
        low,
        high,
        len(kept),
        f"{'jumped: ' if jumped else 'grows: ' if leaks else ''}{told}",
    )
