"""Is there harm? The primary metric, each guardrail beyond its margin, each cohort beyond the cohort margin.

An e-process sees gross harm within days and may be read for ever; a group-sequential test sees mild harm sooner, as
its horizon is known. On clusters both are asked, at half the error each (docs/adr/0012), in a form that suits the
`cluster_shape` of the loop file. Where units are independent
and the metric is a rate, the exact e-process of two rates stands alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ratchet.experiment.admission import Admission
from ratchet.experiment.cohorts import Cohort, pooled_cohorts
from ratchet.experiment.evalue import e_bh
from ratchet.experiment.looks import Looking
from ratchet.experiment.metrics import (
    CATALOGUE,
    Effect,
    guardrail_effect,
    harm_path,
    information,
    paired_gains,
)
from ratchet.experiment.paired import plain, ratio_estimate
from ratchet.experiment.sums import Sums

if TYPE_CHECKING:
    from ratchet.loop import Loop

Array = NDArray[np.float64]
FEWEST_HARM_CLUSTERS = 4  # below, a t test has hardly a tail to look at


def primary_harm(looking: Looking, gain: Effect) -> list[str]:
    """Reasons when the primary metric is worse."""
    loop, estimate = looking.loop, gain.estimate
    worse = f"{loop.metrics.primary} is worse by {-estimate.value:.5f} per unit"
    return [
        f"{worse}: {found}" for found in _asked(looking, "harm", gain, 0.0, loop.rollout.rollback_alpha, 0)
    ]


def guardrail_harm(looking: Looking, sums: Sums, *, are_paired: bool = True) -> list[str]:
    """Reasons for each guardrail that is worse by more than its margin; the guardrails share the error."""
    loop = looking.loop
    reasons: list[str] = []
    looking.evidence["guardrails"] = {}
    error = loop.rollout.rollback_alpha / len(loop.guardrails)
    for guardrail in loop.guardrails:
        effect = guardrail_effect(loop, guardrail, sums, are_paired=are_paired)
        looking.guardrails[guardrail.metric] = effect
        looking.evidence["guardrails"][guardrail.metric] = {
            **effect.estimate.evidence(loop.rollout.rollback_alpha),
            "kind": guardrail.kind,
            "margin": guardrail.margin,
            "covariate": guardrail.covariate,
        }
        worse = (
            f"guardrail {guardrail.metric} is worse by {-effect.estimate.value:.4f}, beyond its margin "
            f"{guardrail.margin}"
        )
        name = f"guardrail_harm:{guardrail.metric}"
        found = _asked(looking, name, effect, -guardrail.margin, error, guardrail.min_clusters)
        reasons += [f"{worse}: {one}" for one in found]
    return reasons


def _asked(
    looking: Looking, name: str, effect: Effect, reference: float, error: float, fewest: int
) -> list[str]:
    """What the two tests found; `reference` is the limit of the effect."""
    loop, estimate = looking.loop, effect.estimate
    found: list[str] = []
    part = error if effect.is_exact else error / 2
    largest = looking.e_test(f"{name}_e", effect, part)
    if largest >= -math.log(part):
        found.append(
            f"log e-value {largest:.2f} reached {-math.log(part):.2f} after {estimate.clusters} clusters"
        )
    if effect.is_exact or estimate.clusters < FEWEST_HARM_CLUSTERS or information(loop, estimate) < fewest:
        return found
    z = looking.z(estimate, reference, direction=-1.0)
    test = looking.test(name, estimate, z, part)
    if test.is_crossed:
        found.append(f"z = {test.z:.2f} reached {test.bound:.2f} after {estimate.clusters} clusters")
    return found


def cohorts_of(
    loop: Loop, sums: Sums, *, are_paired: bool = True, admission: Admission | None = None
) -> tuple[Cohort, ...]:
    """Gains of the primary metric by cohort over the mature days: paired, or between arms where paired would be wrong.

    Only values that `admission` admits are judged, alone or in a pool; a large cohort in the pool is then no evidence
    for the small ones.
    """
    keys, counts, gains = _by_value(loop, sums, are_paired=are_paired)
    kept = [i for i, key in enumerate(keys) if admission is None or admission.allows(key[0], key[1])]
    return pooled_cohorts(
        [keys[i] for i in kept],
        counts[kept],
        gains[kept],
        loop.cohorts.dimensions,
        min_units=loop.cohorts.min_units,
        min_clusters=loop.cohorts.min_clusters,
        pool_as=loop.cohorts.pool_small_as,
        may_borrow=admission is None,
    )


def left_out(
    loop: Loop, sums: Sums, admission: Admission, *, are_paired: bool = True
) -> dict[str, dict[str, Any]]:
    """What is known by now of each cohort that is not admitted: for whoever thinks of releasing it."""
    keys, counts, gains = _by_value(loop, sums, are_paired=are_paired)
    return {
        "=".join(key): {
            **ratio_estimate(gains[i], counts[i]).evidence(loop.rollout.rollback_alpha),
            "is_enough": bool(
                counts[i].sum() >= loop.cohorts.min_units
                and (counts[i] > 0).sum() >= loop.cohorts.min_clusters
            ),
        }
        for i, key in enumerate(keys)
        if key[0] in loop.cohorts.dimensions and not admission.allows(key[0], key[1])
    }


def _by_value(loop: Loop, sums: Sums, *, are_paired: bool) -> tuple[list[tuple[str, ...]], Array, Array]:
    """Keys (dimension, value), and counts and gains of the mature days, keys by days.

    Between arms a day's count is n1 n0 / (n1 + n0), and its gain the difference of the arms' means times that.
    """
    days = sums.mature(loop.label.maturity_hours)
    metric = loop.metrics.primary
    keys: list[tuple[str, ...]]
    if are_paired and not loop.prediction.influences_outcome:
        keys = list(sums.paired.keys)
        counts = sums.paired.columns["n_labelled"][:, :days]
        gains = np.where(counts > 0, paired_gains(metric, sums)[:, :days], 0.0)
    else:
        keys = sorted({key[:2] for key in sums.exposure.keys})
        known = CATALOGUE[metric]
        y1, n1, y0, n0 = (
            np.stack([sums.exposure.of(column, *key, arm)[:days] for key in keys])
            for arm in ("challenger", "control")
            for column in (known.total, known.count)
        )
        used = (n1 > 0) & (n0 > 0)
        counts = np.divide(n1 * n0, n1 + n0, out=np.zeros_like(n1), where=used)
        gains = np.where(used, y0 * n1 - y1 * n0, 0.0) / np.where(used, n1 + n0, 1.0)
    return keys, counts, gains


def cohort_harm(looking: Looking, cohorts: tuple[Cohort, ...]) -> list[tuple[Cohort, str]]:
    """Each cohort that is worse by more than the cohort margin, with the reason: e-BH over the judged cohorts.

    The value of an e-process at the look, not its maximum, is what e-BH may take.
    """
    loop = looking.loop
    margin, alpha = loop.gates.evaluation.cohort_margin, loop.rollout.cohort_alpha
    estimates = [ratio_estimate(cohort.gains, cohort.counts) for cohort in cohorts]
    judged = [i for i, cohort in enumerate(cohorts) if cohort.is_judged and estimates[i].is_usable]
    log_e = [math.nan] * len(cohorts)
    if judged:
        paths = harm_path(loop, np.stack([-(cohorts[i].gains + margin * cohorts[i].counts) for i in judged]))
        for i, value in zip(judged, paths[:, -1], strict=True):
            log_e[i] = float(value)
    looking.evidence["cohorts"] = {
        cohort.name: {
            **estimates[i].evidence(loop.rollout.rollback_alpha),
            "judged": i in judged,
            "pooled": list(cohort.pooled),
            "log_e": plain(log_e[i]),
        }
        for i, cohort in enumerate(cohorts)
    }
    looking.evidence["cohort_test"] = {"judged": len(judged), "alpha": alpha, "margin": margin}
    rejected = e_bh([log_e[i] for i in judged], alpha)
    return [
        (
            cohorts[i],
            f"cohort {cohorts[i].name} is worse by {-estimates[i].value:.4f}, beyond the cohort margin {margin}: log "
            f"e-value {log_e[i]:.2f} after {estimates[i].clusters} clusters ({len(judged)} cohorts judged)",
        )
        for i, is_out in zip(judged, rejected, strict=True)
        if is_out
    ]
