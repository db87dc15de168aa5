"""What a rollout watches beside its primary metric: guardrails and cohorts."""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, Any

import pandas as pd

from ratchet.experiment.boundaries import MIN_STEP, boundary_at
from ratchet.experiment.cohorts import cohort_effects
from ratchet.experiment.integrity import Sums, is_mature
from ratchet.experiment.paired import Estimate, arm_difference, plain, ratio_estimate
from ratchet.experiment.state import Look, RolloutState

if TYPE_CHECKING:
    from ratchet.loop import Guardrail, Loop

# between arms: the sum of a metric and the count it is a mean over
ARM_SUMS = {
    "rating": ("sum_rating", "n_ratings"),
    "brier": ("sum_brier", "n_labelled"),
    "log_loss": ("sum_log_loss", "n_labelled"),
    "latency_ms": ("sum_latency_ms", "n_units"),
}
COHORT_TEST = "cohort_harm"


def guardrail_effect(guardrail: Guardrail, sums: Sums, day: date) -> Estimate:
    """The challenger's effect on a guardrail over its mature days, positive = better.

    Paired: champion against challenger on the same units. Between arms: challenger against control.

    Raises:
        ValueError: the metric has no sums of that kind.
    """
    sign = 1.0 if guardrail.better == "higher" else -1.0
    if guardrail.kind == "paired":
        if guardrail.metric not in ("brier", "log_loss"):
            raise ValueError(f"guardrail {guardrail.metric} has no paired sums; use kind between_arms")
        rows = sums.paired[sums.paired["cohort_dimension"] == "all"]
        rows = rows[is_mature(rows["departure_date"], guardrail.maturity_hours, day)]
        change = rows[f"sum_{guardrail.metric}_challenger"] - rows[f"sum_{guardrail.metric}_champion"]
        return ratio_estimate(sign * change, rows["n_labelled"])
    total, count = ARM_SUMS[guardrail.metric]
    rows = sums.arms[is_mature(sums.arms["departure_date"], guardrail.maturity_hours, day)]
    rows = rows[rows["arm"].isin(("challenger", "control")) & (rows[count] > 0)]
    if rows.empty:
        return Estimate(math.nan, math.nan, 0, 0)
    wide = rows.pivot_table(
        index="departure_date", columns="arm", values=[total, count], aggfunc="sum", fill_value=0.0
    )
    for arm in ("challenger", "control"):
        if (count, arm) not in wide.columns:
            return Estimate(math.nan, math.nan, 0, 0)
    return arm_difference(
        sign * wide[total, "challenger"],
        wide[count, "challenger"],
        sign * wide[total, "control"],
        wide[count, "control"],
    )


def cohort_harm(
    loop: Loop,
    state: RolloutState,
    mature: pd.DataFrame,
    gain: Estimate,
    day: date,
    looks: dict[str, Look],
    evidence: dict[str, Any],
) -> list[str]:
    """Reasons for each cohort that is worse by more than the cohort margin; adds to `looks` and `evidence`.

    Peek-safe across looks by the group-sequential boundary, across cohorts by Holm's step-down: the worst of
    m cohorts is held against the boundary at rollback_alpha / m, the next at rollback_alpha / (m - 1), ...
    """
    rollout, margin = loop.rollout, loop.gates.evaluation.cohort_margin
    metric = loop.metrics.primary
    rows = mature[mature["cohort_dimension"] != "all"]
    table = pd.DataFrame(
        {
            "departure_date": rows["departure_date"],
            "cohort_dimension": rows["cohort_dimension"],
            "cohort_value": rows["cohort_value"],
            "n": rows["n_labelled"],
            "gain": rows[f"sum_{metric}_champion"] - rows[f"sum_{metric}_challenger"],
        }
    )
    present = [d for d in loop.cohorts.dimensions if (table["cohort_dimension"] == d).any()]
    effects = cohort_effects(
        table,
        present,
        min_units=loop.cohorts.min_units,
        min_clusters=loop.cohorts.min_clusters,
        pool_as=loop.cohorts.pool_small_as,
    )
    judged = [effect for effect in effects if effect.is_judged and effect.estimate.is_usable]
    evidence["cohorts"] = {
        effect.name: {
            **effect.estimate.evidence(rollout.rollback_alpha),
            "judged": effect in judged,
            "pooled": list(effect.pooled),
        }
        for effect in effects
    }
    fraction = min(1.0, gain.clusters / rollout.horizon_days)
    past = state.looks.get(COHORT_TEST, ())
    if not judged or (past and fraction - past[-1].fraction < MIN_STEP):
        return []
    path = [*(look.fraction for look in past), fraction]
    worst_first = sorted(
        ((-c.estimate.z_against(-margin), c.name, c.estimate) for c in judged),
        key=lambda item: (-item[0], item[1]),
    )
    reasons: list[str] = []
    for rank, (z, name, estimate) in enumerate(worst_first):
        error = rollout.rollback_alpha / (len(judged) - rank)
        bound = boundary_at(path, error, rollout.spending_power)
        evidence["cohorts"][name] |= {"harm_z": plain(z), "harm_bound": plain(bound)}
        if not z >= bound:
            break
        reasons.append(
            f"cohort {name} is worse by {-estimate.value:.4f}, beyond the cohort margin {margin}: "
            f"z = {z:.2f} reached {bound:.2f} over {estimate.clusters} days ({len(judged)} cohorts judged)"
        )
    looks[COHORT_TEST] = Look(day, fraction, float(worst_first[0][0]), bool(reasons))
    return reasons
