"""One day's look while it is taken: the tests made, their looks to keep, and the evidence to record."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from ratchet.experiment.boundaries import MIN_STEP
from ratchet.experiment.metrics import Effect, information
from ratchet.experiment.paired import Estimate, plain
from ratchet.experiment.sequential import SequentialTest, sequential_test
from ratchet.experiment.state import Look, RolloutState

if TYPE_CHECKING:
    from ratchet.loop import Loop


@dataclass
class Looking:
    """Collects what one look does; `looks` and `evidence` go into the verdict."""

    loop: Loop
    state: RolloutState
    day: date
    evidence: dict[str, Any]
    looks: dict[str, Look] = field(default_factory=dict)
    guardrails: dict[str, Effect] = field(default_factory=dict)
    horizon: int = 0

    def __post_init__(self) -> None:
        self.horizon = self.horizon or self.loop.rollout.information

    def fraction(self, estimate: Estimate) -> float:
        """Information so far as a share of the horizon's."""
        return information(self.loop, estimate) / self.horizon

    def z(self, estimate: Estimate, reference: float = 0.0, direction: float = 1.0) -> float:
        """z of direction * (value - reference) > 0, by the shape that the loop file allows its clusters."""
        if self.loop.rollout.cluster_shape == "skewed":
            return estimate.careful_z(reference, direction)
        return direction * estimate.z_against(reference)

    def test(self, name: str, estimate: Estimate, z: float, alpha: float) -> SequentialTest:
        """The group-sequential test of `z`, with its look kept and its numbers recorded."""
        test = sequential_test(
            self.state.looks.get(name, ()),
            clusters=information(self.loop, estimate),
            horizon=self.horizon,
            z=z,
            alpha=alpha,
            power=self.loop.rollout.spending_power,
        )
        self.evidence.setdefault("tests", {})[name] = {
            "z": plain(test.z),
            "bound": plain(test.bound),
            "information_fraction": test.fraction,
            "alpha": test.alpha,
            "crossed": test.is_crossed,
            "new_look": test.is_new_look,
        }
        if test.is_new_look:
            self.looks[name] = Look(self.day, test.fraction, float(test.z), test.is_crossed)
        return test

    def e_test(self, name: str, effect: Effect, alpha: float) -> float:
        """The largest log e-value so far, with a look kept: its z is the log e-value of the day."""
        largest = max(0.0, float(effect.log_e.max())) if len(effect.log_e) else 0.0
        current = float(effect.log_e[-1]) if len(effect.log_e) else 0.0
        is_crossed = largest >= -math.log(alpha)
        self.evidence.setdefault("e_values", {})[name] = {
            "log_e": current,
            "largest_log_e": largest,
            "alarm_above": -math.log(alpha),
            "alpha": alpha,
            "clusters": len(effect.log_e),
            "crossed": is_crossed,
        }
        fraction = self.fraction(effect.estimate)
        past = self.state.looks.get(name, ())
        if len(effect.log_e) and (not past or fraction - past[-1].fraction >= MIN_STEP):
            self.looks[name] = Look(self.day, fraction, current, is_crossed)
        return largest
