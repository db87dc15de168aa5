"""No cohort may pay for the average: the candidate against its reference within each cohort.

A cohort is refused when it is worse by more than the margin *and* worse than zero beyond chance, after Holm's
correction over the cohorts judged. One with too few units or clusters, also after pooling, is `not enough
evidence`: it does not refuse, and is named so that nobody takes it for a pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd
from scipy.special import ndtr

from ratchet.evaluation.intervals import Floats
from ratchet.experiment.cohorts import CohortEffect, cohort_effects
from ratchet.experiment.paired import holm

if TYPE_CHECKING:
    from ratchet.loop import Loop

State = Literal["not worse", "worse", "not enough evidence"]


@dataclass(frozen=True)
class CohortJudgement:
    """One cohort's effect (positive = candidate better), its one-sided p-value of being worse, its state."""

    effect: CohortEffect
    state: State
    p_value: float
    compared: int


def cohort_sums(clusters: pd.Series, cohorts: pd.DataFrame, gains: Floats) -> pd.DataFrame:
    """Per cluster and cohort the sum of gains and the count: the columns that `cohort_effects` reads.

    Rows without a value in a dimension count as cohort "missing".
    """
    parts = []
    for dimension in cohorts.columns:
        values = cohorts[dimension].astype("object").where(cohorts[dimension].notna(), "missing").astype(str)
        rows = pd.DataFrame(
            {"departure_date": clusters.to_numpy(), "cohort_value": values.to_numpy(), "gain": gains}
        )
        sums = rows.groupby(["departure_date", "cohort_value"], sort=True)["gain"].agg(gain="sum", n="count")
        parts.append(sums.reset_index().assign(cohort_dimension=dimension))
    return pd.concat(parts, ignore_index=True)


def judge_cohorts(
    loop: Loop, clusters: pd.Series, cohorts: pd.DataFrame, gains: Floats
) -> list[CohortJudgement]:
    """A judgement for each cohort of the loop's dimensions, in the order of dimension, then value.

    `cohorts` has one column a dimension, aligned with `clusters` and `gains` (reference minus candidate
    loss).

    Raises:
        ValueError: a dimension of the loop is no column of `cohorts`, or there is no row.
    """
    missing = [name for name in loop.cohorts.dimensions if name not in cohorts.columns]
    if missing:
        raise ValueError(f"no cohort column {', '.join(missing)}; the loop file declares it as a dimension")
    rules = loop.cohorts
    table = cohort_sums(clusters, cohorts[list(rules.dimensions)], gains)
    effects = cohort_effects(
        table,
        rules.dimensions,
        min_units=rules.min_units,
        min_clusters=rules.min_clusters,
        pool_as=rules.pool_small_as,
    )
    judged = [effect for effect in effects if effect.is_judged and effect.estimate.is_usable]
    p_values = {effect.name: float(ndtr(effect.estimate.z)) for effect in judged}
    rejected = dict(zip(p_values, holm(list(p_values.values()), loop.gates.evaluation.alpha), strict=True))
    answers = []
    for effect in effects:
        state: State = "not enough evidence"
        if effect.name in p_values:
            is_large = -effect.estimate.value > loop.gates.evaluation.cohort_margin
            state = "worse" if is_large and rejected[effect.name] else "not worse"
        answers.append(CohortJudgement(effect, state, p_values.get(effect.name, math.nan), len(judged)))
    return answers
