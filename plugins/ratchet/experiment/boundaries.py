"""Group-sequential critical values with alpha spending, for looks that come one by one.

At information fraction t the test may have spent at most `alpha * t ** power` of its one-sided error
(Lan and DeMets 1983, Biometrika 70:659-663; power family of Kim and DeMets 1987, Biometrika 74:149-154).
The value for a look depends only on the fractions up to it, so looks need be neither planned nor evenly
spaced. Under the null hypothesis the score process B(t) = Z(t) * sqrt(t) has independent normal increments;
its sub-density among the paths that have not crossed is carried from look to look by numerical integration
(Armitage, McPherson and Rowe 1969, JRSS A 132:235-244; Jennison and Turnbull 2000, chapter 19).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

REACH_SD = 8.5  # the grid ends this many standard deviations below zero; 1e-17 of the mass lies beyond
MIN_STEP = 1e-4  # two looks closer than this in information need a grid finer than is worth its time
MIN_SPEND = 1e-15  # an increment below this can't be told from zero in double precision: no crossing


Spending = Callable[[float], float]


@dataclass(frozen=True, eq=False)
class _Surviving:
    """Score values on a grid, and the mass at each (density times quadrature weight) not crossed so far."""

    grid: NDArray[np.float64]
    mass: NDArray[np.float64]


@lru_cache(maxsize=256)
def power_spending(alpha: float, power: float) -> Spending:
    """The spending function t -> alpha * t ** power on [0, 1], constant from t = 1 on.

    Raises:
        ValueError: alpha outside (0, 0.5) or power not positive.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"one-sided alpha is {alpha}; expected a value in (0, 0.5)")
    if not power > 0:
        raise ValueError(f"spending power is {power}; expected a positive number")
    return lambda t: alpha * min(t, 1.0) ** power


def critical_values(fractions: Sequence[float], spending: Spending) -> tuple[float, ...]:
    """One-sided upper critical values of Z, one per look; `inf` where no error may be spent yet.

    `fractions` are information fractions, strictly increasing, in (0, 1]. `spending(t)` is the error that may
    have been spent by t. The k-th value does not change when looks are added after it.

    Raises:
        ValueError: a fraction is not finite, out of range, or less than 1e-4 above the one before.
    """
    times = _checked(fractions)
    return tuple(_bound(times[: k + 1], spending)[0] / math.sqrt(times[k]) for k in range(len(times)))


def boundary_at(fractions: Sequence[float], alpha: float, power: float) -> float:
    """The critical value of the last of `fractions` under the spending function alpha * t ** power.

    Raises:
        ValueError: no look, or as in `critical_values`.
    """
    return critical_values(fractions, power_spending(float(alpha), float(power)))[-1]


def crossing_probabilities(
    fractions: Sequence[float], bounds: Sequence[float], drift: float = 0.0
) -> tuple[float, ...]:
    """P(first crossing of Z >= bound at look k) for each look; `drift` is the mean of Z at full information.

    Raises:
        ValueError: unequal lengths, or fractions as in `critical_values`.
    """
    times = _checked(fractions)
    if len(bounds) != len(times):
        raise ValueError(f"{len(bounds)} bounds for {len(times)} looks; give one bound per look")
    answer: list[float] = []
    surviving: _Surviving | None = None
    for index, (time, z) in enumerate(zip(times, bounds, strict=True)):
        before = times[index - 1] if index else 0.0
        bound = z * math.sqrt(time) - drift * time
        answer.append(_tail(bound, time - before, surviving))
        if index + 1 < len(times):
            surviving = _carried(surviving, before, time, times[index + 1], bound)
    return tuple(answer)


# A look of the next day repeats the path of the day before: both caches make it one step instead of all.
@lru_cache(maxsize=8192)
def _bound(times: tuple[float, ...], spending: Spending) -> tuple[float, float]:
    """The last look's boundary on the score scale, and the error spent after it."""
    time, before = times[-1], times[-2] if len(times) > 1 else 0.0
    spent = _bound(times[:-1], spending)[1] if len(times) > 1 else 0.0
    bound = _solve(spending(time) - spent, time, time - before, _surviving_before(times, spending))
    return bound, spending(time) if math.isfinite(bound) else spent


@lru_cache(maxsize=8192)
def _surviving_before(times: tuple[float, ...], spending: Spending) -> _Surviving | None:
    """What has not crossed before the last look of `times`; None when there is no look before it."""
    if len(times) == 1:
        return None
    before = times[-3] if len(times) > 2 else 0.0
    bound = _bound(times[:-1], spending)[0]
    return _carried(_surviving_before(times[:-1], spending), before, times[-2], times[-1], bound)


def _checked(fractions: Sequence[float]) -> tuple[float, ...]:
    times = tuple(float(t) for t in fractions)
    if not times:
        raise ValueError("no look given; give the information fraction of at least one")
    for before, time in zip((0.0, *times), times, strict=False):
        if not math.isfinite(time) or not 0 < time <= 1:
            raise ValueError(f"information fraction {time} is outside (0, 1]")
        if time - before < MIN_STEP:
            raise ValueError(
                f"look at {time} follows {before} by less than {MIN_STEP}; leave one of them out"
            )
    return times


def _carried(
    surviving: _Surviving | None, before: float, time: float, after: float, bound: float
) -> _Surviving:
    """What survives the look at `time`, on a grid fine enough for the increments before and after it."""
    reach = REACH_SD * math.sqrt(time)
    high = min(bound, reach)
    cells = max(160, math.ceil((high + reach) / (math.sqrt(min(time - before, after - time)) / 5)))
    cells += cells % 2
    points = np.linspace(-reach, high, cells + 1)
    weights = np.full(cells + 1, 2.0)  # Simpson's rule
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    weights *= (high + reach) / cells / 3
    return _Surviving(points, weights * _density(points, time - before, surviving))


def _density(points: NDArray[np.float64], step: float, surviving: _Surviving | None) -> NDArray[np.float64]:
    sd = math.sqrt(step)
    scale = sd * math.sqrt(2 * math.pi)
    if surviving is None:
        return np.exp(-0.5 * (points / sd) ** 2) / scale
    gap = (points[:, None] - surviving.grid[None, :]) / sd
    return np.asarray(np.exp(-0.5 * gap * gap) @ surviving.mass / scale)


def _tail(bound: float, step: float, surviving: _Surviving | None) -> float:
    """P(not crossed before, and the score above `bound` now)."""
    sd = math.sqrt(step)
    if surviving is None:
        return float(ndtr(-bound / sd))
    return float(surviving.mass @ ndtr((surviving.grid - bound) / sd))


def _solve(allowed: float, time: float, step: float, surviving: _Surviving | None) -> float:
    if allowed < MIN_SPEND:
        return math.inf
    if surviving is None:
        return float(-ndtri(allowed) * math.sqrt(step))
    reach = REACH_SD * math.sqrt(time)
    return float(brentq(lambda b: _tail(b, step, surviving) - allowed, -reach, reach, xtol=1e-10))
