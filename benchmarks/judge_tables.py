"""The decision tables: each rule of the product beside the naive one, on the same simulated experiments.

A rule here is the product's own function over the sums of a look; only the loop over experiments is the bench's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import beta, chi2

from benchmarks.report import Figure
from benchmarks.worlds import Floats, Sums

NEVER = 10**6


@dataclass(frozen=True)
class Crossed:
    """The first look (1-based) at which each experiment crossed; NEVER where it did not."""

    day: NDArray[np.int64]

    @property
    def share(self) -> float:
        return float((self.day < NEVER).mean())

    @property
    def median(self) -> float:
        """Median day over all experiments; infinite when fewer than half crossed."""
        middle = float(np.median(self.day))
        return middle if middle < NEVER else math.inf


def first_look(crossed: NDArray[np.bool_]) -> Crossed:
    """From looks of experiments x days to the first one that crossed."""
    return Crossed(np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, NEVER))


def naive_z(sums: Sums) -> Floats:
    """z of two proportions as a spreadsheet would compute it, at each day from the counts so far."""
    n1, y1, n0, y0 = (part.cumsum(axis=1) for part in (sums.n1, sums.y1, sums.n0, sums.y0))
    p1, p0, pooled = y1 / n1, y0 / n0, (y1 + y0) / (n1 + n0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num((p1 - p0) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0)))


def bayes(sums: Sums) -> Floats:
    """P(treated > control) under flat priors, by the normal approximation of both posteriors."""
    n1, y1, n0, y0 = (part.cumsum(axis=1) for part in (sums.n1, sums.y1, sums.n0, sums.y0))
    one, none = beta(y1 + 1, n1 - y1 + 1), beta(y0 + 1, n0 - y0 + 1)
    from scipy.special import ndtr

    return np.asarray(ndtr((one.mean() - none.mean()) / np.sqrt(one.var() + none.var())))


def by_look(
    sums: Sums, z_of: Callable[[Sums, int, int], float], bounds: list[float], first: int = 1
) -> Crossed:
    """The first look from `first` on at which `z_of(sums, experiment, days)` reaches its bound."""
    days = np.full(len(sums.n1), NEVER, dtype=np.int64)
    for run in range(len(sums.n1)):
        for index, bound in enumerate(bounds):
            look = first + index
            if z_of(sums, run, look) >= bound:
                days[run] = look
                break
    return Crossed(days)


def chi_square_alarm(one: Floats, none: Floats, share: float, level: float) -> NDArray[np.bool_]:
    """Pearson's test of the arms' sizes read each day."""
    a, b = one.cumsum(axis=1), none.cumsum(axis=1)
    total = a + b
    statistic = (a - share * total) ** 2 / (share * total) + (b - (1 - share) * total) ** 2 / (
        (1 - share) * total
    )
    return np.asarray(statistic > chi2.isf(level, 1))


def simulation_error(share: float, runs: int) -> float:
    """Two standard errors of a simulated share."""
    return 2 * math.sqrt(max(share * (1 - share), 1e-12) / runs)


def at_most(name: str, crossed: Crossed, limit: float, note: str = "") -> Figure:
    """A share in percent that must not be above `limit` by more than the simulation's error."""
    runs = len(crossed.day)
    allowed = limit + simulation_error(limit, runs)
    return Figure(name, 100 * crossed.share, "%", 100 * allowed, "lower", note or f"limit {limit:.1%}")


def at_least(name: str, crossed: Crossed, limit: float, note: str = "") -> Figure:
    """A share in percent that must not be below `limit` by more than the simulation's error."""
    runs = len(crossed.day)
    allowed = limit - simulation_error(limit, runs)
    return Figure(name, 100 * crossed.share, "%", 100 * allowed, "higher", note or f"reach {limit:.1%}")


def soon(name: str, crossed: Crossed, day: float, note: str = "") -> Figure:
    """A median day that must not be later than `day`."""
    return Figure(name, crossed.median, "day", day, "lower", note)


def told(name: str, crossed: Crossed, note: str = "") -> Iterator[Figure]:
    """A rule that is shown beside ours, without a target."""
    yield Figure(f"{name}", 100 * crossed.share, "%", note=note)


def two_sided(level: float) -> float:
    """The z of a two-sided test."""
    return float(-ndtri(level / 2))
