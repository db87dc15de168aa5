"""What can be measured between arms or on the same units, and how: the catalogue, and a metric's effect.

Effects are oriented so that positive is better for the challenger. A loop whose `cluster` is its `unit` has
independent units; else the variance is over clusters (departure days), whatever the kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ratchet.experiment.cuped import CUPED_SUMS, cuped_difference, cuped_units, slope_before
from ratchet.experiment.evalue import mean_bets, symmetric, two_by_two
from ratchet.experiment.paired import Estimate, arm_difference, ratio_estimate, unit_difference
from ratchet.experiment.sums import EVERYONE, Sums

if TYPE_CHECKING:
    from ratchet.loop import Guardrail, Loop

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
KNOWN_UNITS = 100.0  # what the days before count for: enough to start right, little enough to be corrected
Kind = Literal["binary", "continuous", "ratio"]


@dataclass(frozen=True)
class Metric:
    """Columns of exp_arm_daily: the metric is total / count.

    `binary`: 0 or 1 a unit. `continuous`: one number a unit. `ratio`: the count is not the number of units, so
    that its variance is the delta method's, at the cluster. `squares`, where it is kept, is the sum of squares.
    `covariates` are sums, over the same count, of what was known before the arm was: name -> column.
    `products` has, for a covariate, the columns of its squares and of its products with the metric: with them units
    that are independent need no days to tell what the covariate explains.
    `has_pairs`: exp_paired_daily has sum_<name>_champion and sum_<name>_challenger.
    """

    kind: Kind
    total: str
    count: str
    squares: str | None = None
    covariates: Mapping[str, str] = field(default_factory=dict)
    products: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    has_pairs: bool = False


CATALOGUE: Mapping[str, Metric] = {
    "log_loss": Metric("continuous", "sum_log_loss", "n_labelled", has_pairs=True),
    "brier": Metric("continuous", "sum_brier", "n_labelled", has_pairs=True),
    "outcome_rate": Metric("binary", "sum_label", "n_labelled"),
    "rating": Metric(
        "ratio",
        "sum_rating",
        "n_ratings",
        "sum_rating_squared",
        {"champion_score": "sum_champion_score_rated"},
        {"champion_score": ("sum_champion_score_squared_rated", "sum_rating_by_champion_score")},
    ),
    "rating_rate": Metric("ratio", "n_ratings", "n_asked"),
    "ticket_rate": Metric("ratio", "n_tickets", "n_units"),
    "latency_ms": Metric("continuous", "sum_latency_ms", "n_units"),
}


@dataclass(frozen=True, eq=False)
class Effect:
    """A metric's effect over its mature days, and the evidence of harm beyond `margin` after each of them.

    `log_e` is the log e-value by used day; `is_exact` says that it needs no assumption on the clusters' shape, so
    that no second test stands beside it.
    """

    estimate: Estimate
    log_e: Array
    is_exact: bool = False


def is_independent(loop: Loop) -> bool:
    """Whether the loop's units are independent: each is its own cluster."""
    return loop.cluster == loop.unit


def information(loop: Loop, estimate: Estimate) -> int:
    """What a horizon counts: clusters, which are units where units are independent."""
    return estimate.units if is_independent(loop) else estimate.clusters


def harm_path(loop: Loop, harms: Array) -> Array:
    """Log e-values of harm by cluster, time last: by sign, or by the mean where the loop's clusters may be skewed."""
    return mean_bets(harms) if loop.rollout.cluster_shape == "skewed" else symmetric(harms)


def paired_effect(loop: Loop, metric: str, sums: Sums, days: int, *, margin: float = 0.0) -> Effect:
    """Champion's loss minus challenger's on the same units, over the first `days` days.

    Raises:
        ValueError: the metric has no paired sums.
    """
    if not CATALOGUE[metric].has_pairs:
        raise ValueError(f"metric {metric} has no paired sums; compare it between arms")
    counts = sums.paired.of("n_labelled", *EVERYONE)[:days]
    gains = paired_gains(metric, sums)[sums.paired.keys.index(EVERYONE), :days]
    used = counts > 0
    harms = -(gains[used] + margin * counts[used])
    return Effect(ratio_estimate(gains, counts), harm_path(loop, harms))


def paired_gains(metric: str, sums: Sums) -> Array:
    """Champion's minus challenger's loss, cohorts by days."""
    columns = sums.paired.columns
    return columns[f"sum_{metric}_champion"] - columns[f"sum_{metric}_challenger"]


def arm_effect(
    loop: Loop,
    metric: str,
    sums: Sums,
    days: int,
    *,
    sign: float,
    margin: float,
    covariate: str | None = None,
) -> Effect:
    """Challenger minus control over the first `days` days; `sign` is -1 for a metric that should be low.

    Independent units: a binary metric has the exact test of two rates, one with squares its variance by unit. With
    a covariate both estimate and evidence are adjusted for it; the evidence by the slope of the days before.
    """
    known = CATALOGUE[metric]
    y1, n1, y0, n0 = (
        sums.arms.of(column, arm)[:days]
        for arm in ("challenger", "control")
        for column in (known.total, known.count)
    )
    used = (n1 > 0) & (n0 > 0)
    y1, n1, y0, n0 = y1[used], n1[used], y0[used], n0[used]
    if is_independent(loop) and known.kind == "binary":
        estimate = unit_difference((n1.sum(), y1.sum(), y1.sum()), (n0.sum(), y0.sum(), y0.sum()))
        good1, good0 = (y1, y0) if sign > 0 else (n1 - y1, n0 - y0)
        prior = _rate_known(sums, known, used, sign)
        log_e = two_by_two(n1, good1, n0, good0, effect=margin, margin=margin, prior=prior)
        return Effect(_signed(estimate, sign), log_e, is_exact=True)
    gaps = y1 / n1 - y0 / n0
    weights = n1 * n0 / (n1 + n0)
    if covariate is not None:
        column = known.covariates[covariate]
        x1, x0 = (sums.arms.of(column, arm)[:days][used] for arm in ("challenger", "control"))
        by_unit = _by_unit(loop, known, covariate, sums, days, used)
        estimate = by_unit or cuped_difference((y1, n1, x1), (y0, n0, x0))
        gaps_x = x1 / n1 - x0 / n0
        gaps = gaps - slope_before(gaps, gaps_x, weights) * gaps_x
    elif is_independent(loop) and known.squares is not None:
        q1, q0 = (sums.arms.of(known.squares, arm)[:days][used].sum() for arm in ("challenger", "control"))
        estimate = unit_difference((n1.sum(), y1.sum(), q1), (n0.sum(), y0.sum(), q0))
    else:
        estimate = arm_difference(y1, n1, y0, n0)
    return Effect(_signed(estimate, sign), harm_path(loop, -weights * (sign * gaps + margin)))


def _by_unit(
    loop: Loop, metric: Metric, covariate: str, sums: Sums, days: int, used: Mask
) -> Estimate | None:
    """The difference adjusted by unit; None where units are not independent or the sums are not kept."""
    columns = (metric.count, metric.total, metric.squares, metric.covariates[covariate],
               *metric.products.get(covariate, ()))  # fmt: skip
    kept = [column for column in columns if column is not None and column in sums.arms.columns]
    if not is_independent(loop) or len(kept) < len(CUPED_SUMS):
        return None
    arms = [
        tuple(float(sums.arms.of(column, arm)[:days][used].sum()) for column in kept)
        for arm in ("challenger", "control")
    ]
    return cuped_units(arms[0], arms[1])


def primary_effect(loop: Loop, sums: Sums, *, are_paired: bool = True) -> Effect:
    """The gain of the primary metric over its mature days: on the same units, or between arms where the prediction
    changes the outcome or not both models scored every unit.
    """
    days = sums.mature(loop.label.maturity_hours)
    if are_paired and not loop.prediction.influences_outcome:
        return paired_effect(loop, loop.metrics.primary, sums, days)
    return arm_effect(loop, loop.metrics.primary, sums, days, sign=-1.0, margin=0.0)


def _rate_known(sums: Sums, metric: Metric, used: Mask, sign: float) -> tuple[float, float]:
    """Successes and failures of the rest on the days before both arms had units, as of 100 units at most.

    Those days are the shadow: what they say is known before the arms' first unit.
    """
    first = int(used.argmax()) if used.any() else 0
    units = float(sums.arms.of(metric.count, "rest")[:first].sum())
    hits = float(sums.arms.of(metric.total, "rest")[:first].sum())
    if not units > 0:
        return 1.0, 1.0
    weight = min(units, KNOWN_UNITS)
    share = min(max(hits / units, 0.01), 0.99)
    good = share if sign > 0 else 1 - share
    return weight * good, weight * (1 - good)


def guardrail_effect(loop: Loop, guardrail: Guardrail, sums: Sums, *, are_paired: bool = True) -> Effect:
    """The challenger's effect on a guardrail over its mature days, and the evidence that it is beyond its margin.

    Raises:
        ValueError: the metric has no sums of that kind.
    """
    days = sums.mature(guardrail.maturity_hours)
    if guardrail.kind == "paired" and are_paired:
        return paired_effect(loop, guardrail.metric, sums, days, margin=guardrail.margin)
    sign = 1.0 if guardrail.better == "higher" else -1.0
    return arm_effect(
        loop,
        guardrail.metric,
        sums,
        days,
        sign=sign,
        margin=guardrail.margin,
        covariate=guardrail.covariate,
    )


def _signed(estimate: Estimate, sign: float) -> Estimate:
    value = estimate.value if math.isnan(estimate.value) else sign * estimate.value
    return replace(estimate, value=value, skewness=sign * estimate.skewness)
