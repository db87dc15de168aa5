"""Effects with clustered errors, from the sums of each cluster.

Units of one cluster (for flights: of one departure day) share their circumstances, so the cluster is the
sample: variances are over clusters, few clusters take Student's t with n - 1 degrees of freedom, and
`Estimate.z` is the normal quantile with the same one-sided p-value, which is what a group-sequential
boundary compares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit

Z_LIMIT = 37.0  # normal tail probabilities underflow beyond
SKEW_WEIGHT = 3.0  # few clusters show less skewness than there is; by simulation, docs/adr/0012
DEGENERATE = 1e-12  # a standard error this small beside the value says that nothing varied


@dataclass(frozen=True)
class Estimate:
    """An effect, its clustered standard error, and what it rests on.

    `standard_error` is nan with fewer than two clusters: such an estimate decides nothing. `fitted` numbers were
    taken from the clusters (the mean, and a covariate's slope): Student's t has clusters - fitted degrees. `skewness`
    is that of the clusters' parts of the value, 0 where it is not known.
    """

    value: float
    standard_error: float
    clusters: int
    units: int
    fitted: int = 1
    skewness: float = 0.0

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the standard error."""
        return self.clusters - self.fitted

    @property
    def is_usable(self) -> bool:
        """Whether value and error are finite and rest on more clusters than numbers fitted."""
        return self.degrees >= 1 and math.isfinite(self.value) and math.isfinite(self.standard_error)

    @property
    def is_degenerate(self) -> bool:
        """Whether no cluster differs from another: right for a constant, suspicious for a loss."""
        return self.is_usable and self.standard_error <= DEGENERATE * max(abs(self.value), DEGENERATE)

    def z_against(self, reference: float = 0.0) -> float:
        """Normal quantile of the one-sided t test of value > reference; nan when it can't be tested.

        Equal value and reference with no variance give 0, unequal ones the largest value told apart, 37.
        """
        if not self.is_usable:
            return math.nan
        gap = self.value - reference
        if self.standard_error == 0:
            return math.copysign(Z_LIMIT, gap) if gap else 0.0
        return t_to_z(gap / self.standard_error, self.degrees)

    def careful_z(self, reference: float = 0.0, direction: float = 1.0) -> float:
        """Normal quantile of the one-sided test of direction * (value - reference) > 0, clusters being skewed.

        Where the long tail of the clusters lies against `direction` (many good days, a few very bad ones), t is too
        large too often; it is replaced by Hall's transformation of it (Hall 1992, JRSS B 54:221-228, equation 2.4; no
        skewness correction ever makes it larger), with the skewness that was seen times `SKEW_WEIGHT`.
        """
        z = self.z_against(reference) * direction
        tail = SKEW_WEIGHT * direction * self.skewness
        if not math.isfinite(z) or self.standard_error == 0 or not tail < 0:
            return z
        t, root = direction * (self.value - reference) / self.standard_error, math.sqrt(self.clusters)
        bent = t + tail * t * t / (3 * root) + tail * tail * t**3 / (27 * root * root) + tail / (6 * root)
        return min(z, t_to_z(bent, self.degrees))

    @property
    def z(self) -> float:
        """`z_against(0)`."""
        return self.z_against(0.0)

    def bound(self, error: float) -> tuple[float, float]:
        """Lower and upper limit, each wrong with probability `error`; (-inf, inf) when not usable."""
        if not 0 < error < 0.5:
            raise ValueError(f"error is {error}; expected a one-sided probability in (0, 0.5)")
        if not self.is_usable:
            return -math.inf, math.inf
        reach = float(-stdtrit(self.degrees, error)) * self.standard_error
        return self.value - reach, self.value + reach

    def evidence(self, error: float = 0.025) -> dict[str, Any]:
        """Plain numbers for a record: value, standard error, limits, z, clusters, units; None for unknown."""
        low, high = self.bound(error)
        return {
            "value": plain(self.value),
            "standard_error": plain(self.standard_error),
            "low": plain(low),
            "high": plain(high),
            "one_sided_error": error,
            "z": plain(self.z),
            "clusters": self.clusters,
            "units": self.units,
            "fitted": self.fitted,
        }

    @classmethod
    def from_evidence(cls, content: Mapping[str, Any]) -> Estimate:
        """The estimate that `evidence` wrote.

        Raises:
            KeyError, ValueError: a key is missing or no number.
        """
        return cls(
            unplain(content["value"]),
            unplain(content["standard_error"]),
            int(content["clusters"]),
            int(content["units"]),
            int(content.get("fitted", 1)),
        )


def unplain(value: float | None) -> float:
    """The number that `plain` wrote, nan for None."""
    return math.nan if value is None else float(value)


def plain(value: float) -> float | None:
    """The value as a Python float, None when it is not finite (JSON has no nan)."""
    number = float(value)
    return number if math.isfinite(number) else None


def t_to_z(t: float, degrees: int) -> float:
    """The normal quantile with the one-sided p-value of `t` at `degrees` degrees of freedom."""
    if math.isnan(t):
        return math.nan
    tail = float(stdtr(degrees, -abs(t)))
    size = Z_LIMIT if tail <= 0 else min(Z_LIMIT, float(-ndtri(tail)))
    return math.copysign(size, t) if size else 0.0


def ratio_estimate(differences: ArrayLike, counts: ArrayLike) -> Estimate:
    """Mean difference per unit from per-cluster sums: sum(differences) / sum(counts).

    Both arrays have one entry per cluster; clusters with count 0 are left out. The standard error is
    sqrt(n / (n - 1) * sum((d_i - r c_i) ** 2)) / sum(c), the linearised ratio estimator over clusters
    (Cochran 1977, Sampling Techniques, 3rd edition, section 6.3).

    Raises:
        ValueError: shapes differ, a count is negative, or a sum of a counted cluster is not finite.
    """
    sums, sizes = _cluster_arrays(differences, counts)
    kept = sizes > 0
    sums, sizes = sums[kept], sizes[kept]
    clusters, total = len(sizes), float(sizes.sum())
    if clusters == 0:
        return Estimate(math.nan, math.nan, 0, 0)
    value = float(sums.sum() / total)
    parts = (sums - value * sizes) / total
    return Estimate(value, _clustered_error(parts), clusters, round(total), skewness=skewness(parts))


def arm_difference(
    treated_sums: ArrayLike, treated_counts: ArrayLike, control_sums: ArrayLike, control_counts: ArrayLike
) -> Estimate:
    """Treated mean minus control mean; each mean is sum / count over all clusters, errors by cluster.

    The four arrays are aligned by cluster. A cluster's linearised contribution is
    (s1 - r1 c1) / C1 - (s0 - r0 c0) / C0, so what a day does to both arms cancels (delta method at the
    cluster; Deng, Knoblich and Lu 2018, arXiv:1803.06336). `clusters` counts those that have both arms.

    Raises:
        ValueError: as in `ratio_estimate`.
    """
    sums1, sizes1 = _cluster_arrays(treated_sums, treated_counts)
    sums0, sizes0 = _cluster_arrays(control_sums, control_counts)
    if len(sizes1) != len(sizes0):
        raise ValueError(f"{len(sizes1)} treated and {len(sizes0)} control clusters; align them first")
    both = (sizes1 > 0) & (sizes0 > 0)
    sums1, sizes1, sums0, sizes0 = sums1[both], sizes1[both], sums0[both], sizes0[both]
    clusters = int(both.sum())
    if clusters == 0:
        return Estimate(math.nan, math.nan, 0, 0)
    total1, total0 = float(sizes1.sum()), float(sizes0.sum())
    mean1, mean0 = float(sums1.sum() / total1), float(sums0.sum() / total0)
    parts = (sums1 - mean1 * sizes1) / total1 - (sums0 - mean0 * sizes0) / total0
    units = round(total1 + total0)
    return Estimate(mean1 - mean0, _clustered_error(parts), clusters, units, skewness=skewness(parts))


def unit_difference(treated: tuple[float, float, float], control: tuple[float, float, float]) -> Estimate:
    """Treated mean minus control mean of independent units, from (units, sum, sum of squares) of each arm.

    Each unit is its own cluster: the error is sqrt(s1^2 / n1 + s0^2 / n0) (Welch 1947, Biometrika 34:28-35), with
    n1 + n0 - 2 degrees of freedom. For a rate the sum of squares is the sum.

    Raises:
        ValueError: a sum is not finite, or the squares are less than the sum allows.
    """
    if not all(math.isfinite(number) for number in (*treated, *control)):
        raise ValueError(f"sums {treated} and {control} are not finite")
    parts = []
    for units, total, squares in (treated, control):
        if units < 2:
            return Estimate(math.nan, math.nan, 0, 0)
        spread = squares - total * total / units
        if spread < -1e-9 * max(squares, 1.0):
            raise ValueError(f"squares {squares} are too small for the sum {total} of {units:.0f} units")
        parts.append((total / units, max(spread, 0.0) / (units - 1) / units))
    (mean1, error1), (mean0, error0) = parts
    units = round(treated[0] + control[0])
    return Estimate(mean1 - mean0, math.sqrt(error1 + error0), units, units, fitted=2)


def holm(p_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Which hypotheses Holm's step-down procedure rejects at family-wise error `alpha`; nan never is.

    Holm 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    order = sorted(range(len(p_values)), key=lambda i: (math.isnan(p_values[i]), p_values[i]))
    rejected = [False] * len(p_values)
    for rank, index in enumerate(order):
        if not p_values[index] <= alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return tuple(rejected)


def _cluster_arrays(sums: ArrayLike, counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, sizes = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if values.ndim != 1 or values.shape != sizes.shape:
        raise ValueError(f"one sum and one count per cluster expected; got {values.shape} and {sizes.shape}")
    if not np.isfinite(sizes).all() or (sizes < 0).any():
        raise ValueError("a cluster's count is negative or not a number")
    if not np.isfinite(values[sizes > 0]).all():
        raise ValueError("the sum of a counted cluster is not finite")
    return values, sizes


def skewness(parts: NDArray[np.float64]) -> float:
    """The adjusted Fisher-Pearson skewness of numbers with mean zero; 0 for fewer than three or without spread."""
    n, squares = len(parts), float(parts @ parts)
    if n < 3 or not squares > 0:
        return 0.0
    plain_one = math.sqrt(n) * float((parts**3).sum()) / squares**1.5
    return plain_one * math.sqrt(n * (n - 1)) / (n - 2) if math.isfinite(plain_one) else 0.0


def _clustered_error(parts: NDArray[np.float64]) -> float:
    n = len(parts)
    return math.sqrt(n / (n - 1) * float(parts @ parts)) if n >= 2 else math.nan
