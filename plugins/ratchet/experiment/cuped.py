"""Less noise between arms: what a covariate from before the experiment explains is taken out (CUPED).

Deng, Xu, Kohavi and Walker 2013, "Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data" (WSDM): difference - theta * (the covariate's difference) has the same mean, as assignment can't
change the covariate, and a variance smaller by the squared correlation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ratchet.experiment.paired import Estimate, skewness

Array = NDArray[np.float64]


def cuped_difference(
    treated: tuple[ArrayLike, ArrayLike, ArrayLike], control: tuple[ArrayLike, ArrayLike, ArrayLike]
) -> Estimate:
    """Treated minus control mean from each cluster's (sums, counts, covariate sums), adjusted for the covariate.

    Arrays are aligned by cluster. A cluster's linearised contributions (see `arm_difference`) of metric and
    covariate give theta = sum(y x) / sum(x x) over clusters, and the error of y - theta x, with one degree of
    freedom less for theta: the standard error of a regression's intercept (Draper and Smith 1998, section 1.4), as a
    constant theta would call 3.1 % instead of 2.5 % of equal arms different. A covariate that does not vary adjusts
    nothing.

    Raises:
        ValueError: lengths differ, or a counted cluster's number is not finite.
    """
    arrays = [np.asarray(part, dtype=np.float64) for part in (*treated, *control)]
    if len({part.shape for part in arrays}) != 1 or arrays[0].ndim != 1:
        raise ValueError(f"shapes {[part.shape for part in arrays]} differ; align the clusters first")
    both = (arrays[1] > 0) & (arrays[4] > 0)
    y1, n1, x1, y0, n0, x0 = (part[both] for part in arrays)
    clusters = int(both.sum())
    if not all(np.isfinite(part).all() for part in (y1, n1, x1, y0, n0, x0)):
        raise ValueError("a counted cluster has a sum that is not finite")
    if clusters == 0:
        return Estimate(math.nan, math.nan, 0, 0)
    gap_y, parts_y = _linearised(y1, n1, y0, n0)
    gap_x, parts_x = _linearised(x1, n1, x0, n0)
    spread = float(parts_x @ parts_x)
    theta = float(parts_y @ parts_x) / spread if spread > 0 else 0.0
    parts = parts_y - theta * parts_x
    error = math.nan
    if clusters > 2:
        # The slope is fitted too: its own error counts as far as the arms' covariates happen to differ.
        leverage = gap_x * gap_x / (clusters * spread) if spread > 0 else 0.0
        error = math.sqrt(clusters / (clusters - 2) * float(parts @ parts) * (1 + leverage))
    units = round(float(n1.sum() + n0.sum()))
    return Estimate(gap_y - theta * gap_x, error, clusters, units, fitted=2, skewness=skewness(parts))


#: What `cuped_units` takes of an arm, in order.
CUPED_SUMS = ("units", "sum", "sum of squares", "covariate's sum", "its squares", "products")


def cuped_units(treated: Sequence[float], control: Sequence[float]) -> Estimate:
    """Treated minus control mean of independent units, adjusted for the covariate, from `CUPED_SUMS` of each arm.

    theta is the slope within the arms, pooled; the error is that of y - theta x within each arm (Welch), and theta's
    own as far as the arms' covariates differ. A covariate that does not vary adjusts nothing.

    Raises:
        ValueError: a sum is not finite, or squares are less than the sums allow.
    """
    if not all(math.isfinite(number) for number in (*treated, *control)):
        raise ValueError(f"sums {tuple(treated)} and {tuple(control)} are not finite")
    means, spreads = [], []
    for n, y, yy, x, xx, xy in (treated, control):
        if n < 3:
            return Estimate(math.nan, math.nan, 0, 0)
        within = (yy - y * y / n, xx - x * x / n, xy - x * y / n)
        if within[0] < -1e-9 * max(yy, 1.0) or within[1] < -1e-9 * max(xx, 1.0):
            raise ValueError(f"squares {yy} and {xx} are too small for the sums {y} and {x} of {n:.0f} units")
        means.append((y / n, x / n))
        spreads.append((n, max(within[0], 0.0), max(within[1], 0.0), within[2]))
    squares = sum(part[2] for part in spreads)
    theta = sum(part[3] for part in spreads) / squares if squares > 0 else 0.0
    left = [max(yy - 2 * theta * xy + theta * theta * xx, 0.0) for _, yy, xx, xy in spreads]
    units = sum(part[0] for part in spreads)
    gap_x = means[0][1] - means[1][1]
    variance = sum(own / (part[0] - 1) / part[0] for own, part in zip(left, spreads, strict=True))
    if squares > 0:
        variance += gap_x * gap_x * sum(left) / (units - 3) / squares
    value = means[0][0] - means[1][0] - theta * gap_x
    return Estimate(value, math.sqrt(variance), round(units), round(units), fitted=3)


def slope_before(gaps_y: Array, gaps_x: Array, weights: Array) -> Array:
    """Before each cluster, the slope of weighted regression through the origin over the clusters before; 0 at first.

    Known before the cluster is seen, it may be used in a test that is read at every look.
    """
    products = (weights * gaps_y * gaps_x).cumsum() - weights * gaps_y * gaps_x
    squares = (weights * gaps_x * gaps_x).cumsum() - weights * gaps_x * gaps_x
    return np.divide(products, squares, out=np.zeros_like(products), where=squares > 0)


def _linearised(sums1: Array, n1: Array, sums0: Array, n0: Array) -> tuple[float, Array]:
    total1, total0 = n1.sum(), n0.sum()
    mean1, mean0 = sums1.sum() / total1, sums0.sum() / total0
    return float(mean1 - mean0), (sums1 - mean1 * n1) / total1 - (sums0 - mean0 * n0) / total0
