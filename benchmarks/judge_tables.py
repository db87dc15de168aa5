"""The decision tables: each rule of the product beside the naive one, on the same simulated experiments.

A rule here is the product's own function over the sums of a look; only the loop over experiments is the bench's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import beta, chi2

from benchmarks.report import Figure
from benchmarks.worlds import Floats, Sums
from ratchet.experiment.boundaries import critical_values, power_spending
from ratchet.experiment.paired import Estimate, unit_difference
from ratchet.loop import Loop, load_loop

ROOT = Path(__file__).parents[1]
NEVER = 10**6
DAYS, PER_ARM, BASE = 60, 200, 0.2
FIRST_CLUSTERED = 7  # rollout.min_clusters of the demo's loop
Rows = list[Figure]


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


def told(name: str, crossed: Crossed) -> Rows:
    """A rule that is shown beside ours, without a target."""
    return [Figure(name, 100 * crossed.share, "%")]


def two_sided(level: float) -> float:
    """The z of a two-sided test."""
    return float(-ndtri(level / 2))


def generator(name: str) -> np.random.Generator:
    """The generator of a table's row, from its name."""
    return np.random.default_rng([20130101, *name.encode()])


def boundary(first: int, days: int, alpha: float, power: float = 2.0) -> list[float]:
    """The boundary at each look from `first` on, when the information grows by a day a day."""
    fractions = [(look + 1) / days for look in range(first - 1, days)]
    return list(critical_values(fractions, power_spending(alpha, power)))


def looks(count: int, bounds: list[float], first: int, z_at: Callable[[int, int], float]) -> Crossed:
    """The first look at which `z_at(experiment, days)` reaches its bound, by experiment."""
    found = np.full(count, NEVER, dtype=np.int64)
    for run in range(count):
        for look, bound in enumerate(bounds, first):
            if z_at(run, look) >= bound:
                found[run] = look
                break
    return Crossed(found)


def unit_rule(
    sums: Sums, bounds: list[float], first: int = 1, *, margin: float = 0.0, is_binary: bool = True
) -> Crossed:
    """Independent units against a group-sequential boundary, on the counts so far."""
    squares1, squares0 = (sums.y1, sums.y0) if is_binary else (sums.yy1, sums.yy0)
    assert squares1 is not None and squares0 is not None
    n1, y1, q1, n0, y0, q0 = (
        part.cumsum(axis=1) for part in (sums.n1, sums.y1, squares1, sums.n0, sums.y0, squares0)
    )

    def z_at(run: int, look: int) -> float:
        k = look - 1
        return unit_difference(
            (n1[run, k], y1[run, k], q1[run, k]), (n0[run, k], y0[run, k], q0[run, k])
        ).z_against(-margin)

    return looks(len(n1), bounds, first, z_at)


def cluster_rule(
    bounds: list[float], first: int, count: int, estimate_at: Callable[[int, int], Estimate]
) -> Crossed:
    """The first look at which an estimate over clusters reaches its bound."""
    return looks(count, bounds, first, lambda run, look: estimate_at(run, look).z)


def reach(z: Floats, bounds: list[float]) -> Crossed:
    """Where z reaches its bounds first."""
    return first_look(z >= np.array(bounds))


def demo() -> Loop:
    """The demo's loop."""
    return load_loop(ROOT / "loops" / "flights.yml")
