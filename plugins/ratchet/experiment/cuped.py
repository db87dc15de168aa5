"""Less noise between arms: what a covariate from before the experiment explains is taken out (CUPED).

Deng, Xu, Kohavi and Walker 2013, "Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data" (WSDM): difference - theta * (the covariate's difference) has the same mean, as assignment can't
change the covariate, and a variance smaller by the squared correlation.
"""

from __future__ import annotations

import math

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
