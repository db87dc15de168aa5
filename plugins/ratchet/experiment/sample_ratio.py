"""Sample-ratio check that may be read every day: the sequential multinomial test.

Lindon and Malek 2022, "Anytime-valid inference for multinomial count data" (NeurIPS, arXiv:2011.03567): a
Dirichlet mixture over the arm probabilities against the planned ones is a martingale with mean 1 when the
plan holds, so it exceeds 1 / alpha at any time with probability alpha at most (Ville).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

Array = NDArray[np.float64]
CONCENTRATION = 1000.0  # prior weight of the plan in units: alternatives within a few points of it


@dataclass(frozen=True)
class SampleRatio:
    """The test after the last period: the largest e-value seen, and whether it passed 1 / alpha."""

    is_alarm: bool
    log_e_value: float
    largest_log_e_value: float
    alpha: float
    units: int
    observed: dict[str, int]
    expected: dict[str, float]

    def evidence(self) -> dict[str, Any]:
        """Plain numbers for a record."""
        return {
            "alarm": self.is_alarm,
            "log_e_value": self.log_e_value,
            "largest_log_e_value": self.largest_log_e_value,
            "alarm_above": -math.log(self.alpha),
            "units": self.units,
            "observed": dict(self.observed),
            "expected": {arm: round(value, 3) for arm, value in self.expected.items()},
        }


def sample_ratio(
    periods: Sequence[tuple[Mapping[str, float], Mapping[str, int]]],
    alpha: float,
    concentration: float = CONCENTRATION,
) -> SampleRatio:
    """The e-process over `periods`, each (planned shares by arm, units counted by arm), in time order.

    Consecutive periods with the same plan share one mixture; when the plan changes a new one starts and the
    e-values multiply. An arm with planned share 0 that holds a unit is an alarm at once.

    Raises:
        ValueError: a plan that does not sum to 1, a negative count, an arm outside the plan, or alpha
            out of range.
    """
    arms = sorted({arm for shares, _ in periods for arm in shares})
    for shares, units in periods:
        _check(shares, units)
    plans = np.array([[shares.get(arm, 0.0) for arm in arms] for shares, _ in periods])
    counts = np.array([[units.get(arm, 0) for arm in arms] for _, units in periods], dtype=np.float64)
    shape = (len(periods), len(arms))
    return ratio_of(arms, plans.reshape(shape), counts.reshape(shape), alpha, concentration)


def ratio_of(
    arms: Sequence[str], plans: Array, counts: Array, alpha: float, concentration: float = CONCENTRATION
) -> SampleRatio:
    """`sample_ratio` from arrays of periods by arms.

    Raises:
        ValueError: alpha out of range.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected a probability in (0, 1)")
    path = log_e_path(plans, counts[None], concentration)[0]
    largest = max(0.0, float(path.max())) if len(path) else 0.0
    expected = (plans * counts.sum(axis=1, keepdims=True)).sum(axis=0)
    return SampleRatio(
        is_alarm=largest >= -math.log(alpha),
        log_e_value=_finite(float(path[-1])) if len(path) else 0.0,
        largest_log_e_value=_finite(largest),
        alpha=alpha,
        units=int(counts.sum()),
        observed={arm: int(n) for arm, n in zip(arms, counts.sum(axis=0), strict=True)},
        expected={arm: float(n) for arm, n in zip(arms, expected, strict=True)},
    )


def log_e_path(plans: Array, counts: Array, concentration: float = CONCENTRATION) -> Array:
    """Log e-values, cohorts by periods, of counts of cohorts by periods by arms against plans of periods by arms.

    Infinite from the period on in which an arm of planned share 0 holds a unit.
    """
    cohorts, periods, _ = counts.shape
    path = np.zeros((cohorts, periods))
    finished = np.zeros(cohorts)
    first = 0
    while first < periods:
        last = first + 1
        while last < periods and (plans[last] == plans[first]).all():
            last += 1
        share = plans[first]
        planned = share > 0
        seen = counts[:, first:last].cumsum(axis=1)
        current = np.zeros(seen.shape[:2])
        if planned.sum() >= 2:
            prior, kept = concentration * share[planned], seen[..., planned]
            current = gammaln(concentration) - gammaln(concentration + kept.sum(axis=-1))
            current = current + (gammaln(prior + kept) - gammaln(prior)).sum(axis=-1)
            current = current - xlogy(kept, share[planned]).sum(axis=-1)
        current = np.where(seen[..., ~planned].sum(axis=-1) > 0, np.inf, current)
        path[:, first:last] = finished[:, None] + current
        finished = path[:, last - 1]
        first = last
    return path


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 1e9


def _check(shares: Mapping[str, float], units: Mapping[str, int]) -> None:
    if not shares or abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) < 0:
        raise ValueError(f"planned shares {dict(shares)} are no distribution; they must sum to 1")
    if any(count < 0 for count in units.values()):
        raise ValueError(f"negative unit count in {dict(units)}")
    extra = sorted(arm for arm, count in units.items() if count and arm not in shares)
    if extra:
        raise ValueError(f"units in arm {', '.join(extra)}, which the plan {dict(shares)} does not name")
