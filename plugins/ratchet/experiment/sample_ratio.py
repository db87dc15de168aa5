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
from scipy.special import gammaln

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
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected a probability in (0, 1)")
    finished, current, largest = 0.0, 0.0, 0.0
    plan: dict[str, float] = {}
    counts: dict[str, int] = {}
    observed: dict[str, int] = {}
    expected: dict[str, float] = {}
    for shares, units in periods:
        _check(shares, units)
        if dict(shares) != plan:
            finished, current, plan, counts = finished + current, 0.0, dict(shares), dict.fromkeys(shares, 0)
        total = sum(units.values())
        for arm, share in shares.items():
            counts[arm] += int(units.get(arm, 0))
            observed[arm] = observed.get(arm, 0) + int(units.get(arm, 0))
            expected[arm] = expected.get(arm, 0.0) + share * total
        current = _log_e(counts, plan, concentration)
        largest = max(largest, finished + current)
    return SampleRatio(
        is_alarm=largest >= -math.log(alpha),
        log_e_value=_finite(finished + current),
        largest_log_e_value=_finite(largest),
        alpha=alpha,
        units=sum(observed.values()),
        observed=observed,
        expected=expected,
    )


def _log_e(counts: Mapping[str, int], plan: Mapping[str, float], concentration: float) -> float:
    if any(counts[arm] and not plan[arm] for arm in plan):
        return math.inf
    arms = [arm for arm in plan if plan[arm] > 0]
    if len(arms) < 2:
        return 0.0
    share = np.array([plan[arm] for arm in arms])
    seen = np.array([counts[arm] for arm in arms], dtype=np.float64)
    prior = concentration * share
    mixture = gammaln(concentration) - gammaln(concentration + seen.sum())
    mixture += float(np.sum(gammaln(prior + seen) - gammaln(prior)))
    return float(mixture - np.sum(seen * np.log(share)))


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
