"""One look of one test against its group-sequential boundary, given the looks before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ratchet.experiment.boundaries import MIN_STEP, boundary_at
from ratchet.experiment.state import Look


@dataclass(frozen=True)
class SequentialTest:
    """z, its boundary, and whether it was reached.

    Without a new cluster since the last look there is nothing new to test: `is_new_look` is false and
    `is_crossed` repeats the last look's answer. `why_not` says in words why it was not reached.
    """

    z: float
    bound: float
    fraction: float
    alpha: float
    is_crossed: bool
    is_new_look: bool

    @property
    def why_not(self) -> str:
        if not math.isfinite(self.z):
            return "can't be tested"
        if not self.is_new_look:
            return "no new mature cluster since the last look"
        return "not reached"


def sequential_test(
    past: Sequence[Look], *, clusters: int, horizon: int, z: float, alpha: float, power: float
) -> SequentialTest:
    """The test of today's `z` with `clusters` of `horizon` clusters seen, after the looks `past`.

    The boundary spends alpha * t ** power at information fraction t = clusters / horizon, one-sided.

    Raises:
        ValueError: alpha or power out of range, or fewer than one cluster.
    """
    if clusters < 1:
        raise ValueError("a test needs at least one cluster")
    fraction = min(1.0, clusters / horizon)
    if past and fraction - past[-1].fraction < MIN_STEP:
        return SequentialTest(past[-1].z, math.nan, past[-1].fraction, alpha, past[-1].is_crossed, False)
    if not math.isfinite(z):
        return SequentialTest(z, math.nan, fraction, alpha, False, False)
    bound = boundary_at([*(look.fraction for look in past), fraction], alpha, power)
    return SequentialTest(z, bound, fraction, alpha, z >= bound, True)
