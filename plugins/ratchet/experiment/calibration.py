"""Expected calibration error from sums, with its limit over clusters."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

BINS = 10


def calibration_error(
    gaps: NDArray[np.float64], counts: NDArray[np.float64], error: float
) -> tuple[float, float]:
    """Expected calibration error over score bins, and its lower limit over clusters.

    `gaps` is clusters x bins: sum of scores minus sum of labels; `counts` the rows of each cluster. The error
    is the sum over bins of |gap| divided by the rows (Naeini, Cooper and Hauskrecht 2015, AAAI). The limit,
    wrong with probability `error`, takes the delete-one-cluster jackknife (Efron 1982) and Student's t; it is
    nan with fewer than two clusters. A week in which everything is late makes a good model look badly
    calibrated: the limit says what the days seen can prove.

    Raises:
        ValueError: shapes differ, or there is no row.
    """
    if gaps.ndim != 2 or gaps.shape[0] != len(counts) or not counts.sum() > 0:
        raise ValueError(f"gaps are {gaps.shape} for {len(counts)} clusters of {counts.sum():.0f} rows")
    total = gaps.sum(axis=0)
    value = float(np.abs(total).sum() / counts.sum())
    clusters = len(counts)
    if clusters < 2:
        return value, math.nan
    without = np.abs(total[None, :] - gaps).sum(axis=1) / (counts.sum() - counts)
    spread = math.sqrt((clusters - 1) / clusters * float(((without - without.mean()) ** 2).sum()))
    return value, value + float(stdtrit(clusters - 1, error)) * spread
