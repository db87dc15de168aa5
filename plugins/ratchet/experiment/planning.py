"""How long a rollout is expected to take, and what it can find: known before it begins."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ratchet.experiment.boundaries import critical_values, crossing_probabilities, power_spending
from ratchet.experiment.metrics import information
from ratchet.experiment.paired import Estimate

if TYPE_CHECKING:
    from ratchet.loop import Loop

MOST_LOOKS = 60  # a plan with more looks than this is computed at evenly spaced ones


@dataclass(frozen=True)
class Plan:
    """What the horizon buys, if the gain is the least one worth having.

    `power` is the probability of a proof by the horizon, `expected_clusters` the mean number of clusters until the
    verdict (proof or horizon), `median_clusters` when half of such rollouts have their proof, None if fewer have.
    `clusters_for_power` are needed for 90 %. `expected_days` adds the wait for labels. `can_find` is the least gain
    that has power 90 % at the horizon.
    """

    minimum_effect: float
    cluster_sd: float
    horizon_clusters: int
    horizon_days: int
    first_look: int
    power: float
    median_clusters: int | None
    expected_clusters: float
    expected_days: float
    clusters_for_power: int
    can_find: float

    def evidence(self) -> dict[str, Any]:
        """Plain numbers for a record."""
        return asdict(self)


def plan(loop: Loop, cluster_sd: float, *, clusters_per_day: float = 1.0) -> Plan | None:
    """The plan of a rollout whose clusters' gains have this standard deviation; None without a minimum effect.

    The gain is that of the primary metric per unit, a cluster's standard deviation is that of its mean gain. Looks
    are daily from the first day on which a promotion is possible. Departure days are one cluster a day.

    Raises:
        ValueError: the standard deviation or the clusters a day are not a positive number.
    """
    effect = loop.rollout.minimum_effect
    if effect is None:
        return None
    for name, value in (("standard deviation", cluster_sd), ("number a day", clusters_per_day)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"the clusters' {name} is {value}; expected a positive number")
    rollout = loop.rollout
    maturity = math.ceil(loop.label.maturity_hours / 24)
    horizon, first = rollout.information, _first_look(loop, clusters_per_day)
    looks, crossed = _crossings(horizon, first, rollout.alpha, rollout.spending_power, effect / cluster_sd)
    power, half, expected, total = sum(crossed), None, 0.0, 0.0
    for look, chance in zip(looks, crossed, strict=True):
        total += chance
        expected += look * chance
        if half is None and total >= 0.5:
            half = look
    expected += horizon * (1 - power)
    drift = _drift_for(0.9, horizon, first, rollout.alpha, rollout.spending_power)
    needed = (drift * cluster_sd / effect) ** 2
    return Plan(
        minimum_effect=effect,
        cluster_sd=cluster_sd,
        horizon_clusters=horizon,
        horizon_days=rollout.horizon_days,
        first_look=first,
        power=power,
        median_clusters=half,
        expected_clusters=expected,
        expected_days=expected / clusters_per_day + maturity,
        clusters_for_power=math.ceil(needed),
        can_find=drift * cluster_sd / math.sqrt(horizon),
    )


def plan_from(loop: Loop, estimate: Estimate) -> Plan | None:
    """The plan by the spread of an estimate made before, such as the evaluation's; None where that is not known."""
    if not estimate.is_usable or estimate.standard_error <= 0:
        return None
    spread = estimate.standard_error * math.sqrt(information(loop, estimate))
    return plan(loop, spread, clusters_per_day=information(loop, estimate) / estimate.clusters)


def outlook(loop: Loop, estimate: Estimate) -> dict[str, Any]:
    """What the rollout's own spread says so far: the least gain it can find, and clusters needed for the least
    one worth having (power 90 %); None where that is not known yet.
    """
    effect = loop.rollout.minimum_effect
    answer: dict[str, Any] = {"minimum_effect": effect, "horizon_clusters": loop.rollout.information}
    answer |= {"cluster_sd": None, "can_find": None, "clusters_for_power": None}
    if estimate.is_usable and estimate.standard_error > 0:
        horizon, rollout = loop.rollout.information, loop.rollout
        clusters = information(loop, estimate)
        spread = estimate.standard_error * math.sqrt(clusters)
        per_day = clusters / estimate.clusters
        drift = _drift_for(0.9, horizon, _first_look(loop, per_day), rollout.alpha, rollout.spending_power)
        answer |= {"cluster_sd": spread, "can_find": drift * spread / math.sqrt(horizon)}
        if effect is not None:
            answer["clusters_for_power"] = math.ceil((drift * spread / effect) ** 2)
    return answer


def _first_look(loop: Loop, clusters_per_day: float) -> int:
    """Clusters seen on the first day on which a promotion is possible, at least 1 % of the horizon."""
    rollout = loop.rollout
    days = sum(stage.min_days for stage in rollout.stages) - math.ceil(loop.label.maturity_hours / 24)
    least = max(rollout.min_clusters, round(days * clusters_per_day), math.ceil(rollout.information / 100))
    return min(rollout.information, least)


def _crossings(
    horizon: int, first: int, alpha: float, power: float, per_cluster: float
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    looks, bounds = _bounds(horizon, first, alpha, power)
    fractions = [look / horizon for look in looks]
    return looks, crossing_probabilities(fractions, bounds, per_cluster * math.sqrt(horizon))


@lru_cache(maxsize=64)
def _bounds(
    horizon: int, first: int, alpha: float, power: float
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    step = max(1, math.ceil((horizon - first + 1) / MOST_LOOKS))
    looks = tuple(sorted({*range(first, horizon + 1, step), horizon}))
    return looks, critical_values(
        [look / horizon for look in looks], power_spending(float(alpha), float(power))
    )


@lru_cache(maxsize=64)
def _drift_for(wanted: float, horizon: int, first: int, alpha: float, power: float) -> float:
    """The mean of z at the horizon with which the proof comes with probability `wanted`, to 0.001."""
    low, high = 0.0, 10.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        reached = sum(_crossings(horizon, first, alpha, power, middle / math.sqrt(horizon))[1])
        low, high = (middle, high) if reached < wanted else (low, middle)
    return high
