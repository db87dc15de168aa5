"""Who was exposed to what: arm sizes, overall and by cohort, units that changed arms, and the champion by arm.

All of them may be read at every look. The arm sizes share `sample_ratio_alpha`: half for the units of all, a quarter
for the labels, a quarter for the cohorts by e-BH.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ratchet.experiment.admission import EXCLUDED
from ratchet.experiment.assignment import WEIGHT_TOTAL, arm_weights
from ratchet.experiment.evalue import e_bh, either, symmetric
from ratchet.experiment.paired import plain
from ratchet.experiment.sample_ratio import log_e_path, ratio_of
from ratchet.experiment.state import RolloutState
from ratchet.experiment.sums import EVERYONE, Cells, Sums

if TYPE_CHECKING:
    from ratchet.loop import Loop

Array = NDArray[np.float64]
ARMS = ("challenger", "rest", "control")
EVERYWHERE = 1e9  # stands for an infinite log e-value in a record


def check_exposure(
    loop: Loop,
    state: RolloutState,
    sums: Sums,
    shares: tuple[float | None, ...],
    evidence: dict[str, Any],
) -> list[str]:
    """Findings; adds to `evidence`. `shares` has the challenger's planned share of each day, None for no plan."""
    strays = _strays(sums, state) + _not_excluded(sums, state, evidence)
    if strays:
        return strays
    findings = _arms_present(state, sums, shares)
    findings += _sample_ratios(loop, sums, shares, evidence)
    findings += _cohort_ratios(loop, sums, shares, evidence)
    findings += _both_arms(sums, evidence)
    if not loop.prediction.influences_outcome:
        findings += _champion_by_arm(loop, sums, evidence)
    return findings


def _strays(sums: Sums, state: RolloutState) -> list[str]:
    found = []
    known = ARMS if state.admission is None else (*ARMS, EXCLUDED)
    for table, cells in (("exp_arm_daily", sums.arms), ("exp_exposure_daily", sums.exposure)):
        named = sorted(
            {key[-1] for key, n in zip(cells.keys, cells.columns["n_units"], strict=True) if n.sum()}
        )
        stray = [arm for arm in named if arm not in known]
        if stray:
            found.append(f"{table} has units in arm {', '.join(stray)}, which no stage has")
    units = np.stack([_units(sums.arms, arm) for arm in ARMS])
    exposed = np.stack([_units(sums.exposure, *EVERYONE, arm) for arm in ARMS])
    apart = int((units != exposed).any(axis=0).sum())
    if apart:
        found.append(f"exp_exposure_daily and exp_arm_daily count other units on {apart} of {sums.days} days")
    return found


def _not_excluded(sums: Sums, state: RolloutState, evidence: dict[str, Any]) -> list[str]:
    """A cohort that is not admitted has no unit in any arm, from the first day on which that is so."""
    admission = state.admission
    if admission is None:
        return []
    first = 0 if admission.since is None else max(0, sums.index_of(admission.since))
    found, apart = [], 0.0
    for cohort in sorted({key[:2] for key in sums.exposure.keys} - {EVERYONE}):
        if admission.allows(*cohort):
            continue
        apart += float(_units(sums.exposure, *cohort, EXCLUDED)[first:].sum())
        inside = {arm: int(_units(sums.exposure, *cohort, arm)[first:].sum()) for arm in ARMS}
        if any(inside.values()):
            found.append(
                f"cohort {'='.join(cohort)} is excluded since {sums.date_at(first)}, and has units in arms: {inside}"
            )
    evidence["excluded_units"] = {
        "of_excluded_cohorts": int(apart),
        "all": int(sums.arms.of("n_units", EXCLUDED)[first:].sum()),
    }
    return found


def _units(cells: Cells, *key: str) -> Array:
    return cells.of("n_units", *key)


def _arms_present(state: RolloutState, sums: Sums, shares: tuple[float | None, ...]) -> list[str]:
    since = sums.index_of(state.stage_started_on)
    if not shares or not shares[-1] or since >= sums.days:
        return []
    return [
        f"arm {arm} has no unit since stage {state.stage_name} began on {state.stage_started_on}"
        for arm in ("challenger", "control")
        if not _units(sums.arms, arm)[since:].sum() > 0
    ]


def _plans(shares: tuple[float | None, ...]) -> tuple[NDArray[np.intp], Array]:
    """The days that have a plan, and the planned share of each arm on them."""
    days = np.array([i for i, share in enumerate(shares) if share is not None], dtype=np.intp)
    plans = [
        [weight / WEIGHT_TOTAL for _, weight in arm_weights(share)] for share in shares if share is not None
    ]
    return days, np.array(plans, dtype=np.float64).reshape(len(days), len(ARMS))


def _sample_ratios(
    loop: Loop, sums: Sums, shares: tuple[float | None, ...], evidence: dict[str, Any]
) -> list[str]:
    found: list[str] = []
    planned, plans = _plans(shares)
    for column, what, maturity, part in (
        ("n_units", "units", 0, 2),
        ("n_labelled", "labels", loop.label.maturity_hours, 4),
    ):
        alpha = loop.rollout.sample_ratio_alpha / part
        kept = planned < sums.mature(maturity)
        counts = np.stack([sums.arms.of(column, arm) for arm in ARMS], axis=-1)[planned[kept]]
        result = ratio_of(ARMS, plans[kept], counts, alpha)
        evidence[f"sample_ratio_{what}"] = result.evidence()
        if result.is_alarm:
            found.append(
                f"sample ratio of {what}: observed {result.observed}, planned "
                f"{ {arm: round(n) for arm, n in result.expected.items()} }; log e-value "
                f"{min(result.largest_log_e_value, EVERYWHERE):.1f} is above {-math.log(alpha):.1f}"
            )
    return found


def _cohort_ratios(
    loop: Loop, sums: Sums, shares: tuple[float | None, ...], evidence: dict[str, Any]
) -> list[str]:
    """e-BH over the cohorts, at each day: an alarm once raised stays."""
    alpha = loop.rollout.sample_ratio_alpha / 4
    cohorts = sorted({key[:2] for key in sums.exposure.keys} - {EVERYONE})
    planned, plans = _plans(shares)
    evidence["sample_ratio_cohorts"] = {"checked": len(cohorts), "alpha": alpha, "largest": {}}
    if not cohorts or not len(planned):
        return []
    counts = np.stack(
        [
            np.stack([_units(sums.exposure, *cohort, arm) for arm in ARMS], axis=-1)[planned]
            for cohort in cohorts
        ]
    )
    path = log_e_path(plans, counts)
    largest = path.max(axis=1)
    # e-BH has no alarm on a day on which no cohort passes the least of its limits, 1 / alpha.
    days = np.flatnonzero((path >= -math.log(alpha)).any(axis=0))
    alarmed = {i for day in days for i, is_out in enumerate(e_bh(path[:, day].tolist(), alpha)) if is_out}
    worst = sorted(range(len(cohorts)), key=lambda i: (-largest[i], i))[:3]
    evidence["sample_ratio_cohorts"]["largest"] = {
        "=".join(cohorts[i]): min(float(largest[i]), EVERYWHERE) for i in worst
    }
    return [
        f"sample ratio in cohort {'='.join(cohorts[i])}: "
        f"{ {arm: int(n) for arm, n in zip(ARMS, counts[i].sum(axis=0), strict=True)} }, not as planned; log "
        f"e-value {min(float(largest[i]), EVERYWHERE):.1f} ({len(cohorts)} cohorts)"
        for i in sorted(alarmed)
    ]


def _both_arms(sums: Sums, evidence: dict[str, Any]) -> list[str]:
    """A unit stays in the arm it was put in, however often it returns."""
    count = sum(
        int(sums.exposure.of("n_in_other_arm", *EVERYONE, arm).sum()) for arm in ("challenger", "control")
    )
    evidence["units_in_both_arms"] = count
    if count:
        return [
            f"{count} units were served in one experimental arm after the other: assignment does not hold"
        ]
    return []


def _champion_by_arm(loop: Loop, sums: Sums, evidence: dict[str, Any]) -> list[str]:
    """Scores minus labels of the champion, on units served by the challenger and by the control.

    The champion scores both alike, so the means agree unless what was served changed the outcome, or the arms
    hold other units. Two-sided, over mature days.
    """
    mature = sums.mature(loop.label.maturity_hours)
    gaps, counts = (
        [sums.arms.of(column, arm)[:mature] for arm in ("challenger", "control")]
        for column in ("sum_champion_gap", "n_champion_labelled")
    )
    used = (counts[0] > 0) & (counts[1] > 0)
    n1, n0 = counts[0][used], counts[1][used]
    difference = gaps[0][used] / n1 - gaps[1][used] / n0
    weighted = difference * n1 * n0 / (n1 + n0)
    alpha = loop.rollout.sample_ratio_alpha
    path = either(symmetric(weighted), symmetric(-weighted))
    largest = float(path.max()) if len(path) else 0.0
    mean = float(gaps[0][used].sum() / n1.sum() - gaps[1][used].sum() / n0.sum()) if len(path) else math.nan
    evidence["champion_calibration_by_arm"] = {
        "difference": plain(mean),
        "days": int(used.sum()),
        "largest_log_e_value": largest,
        "alarm_above": -math.log(alpha),
    }
    if largest >= -math.log(alpha):
        return [
            f"the champion's scores minus labels differ by {mean:+.4f} between units served by challenger and "
            f"control, log e-value {largest:.1f} above {-math.log(alpha):.1f}: what was served changes the "
            "outcome, or the arms hold other units"
        ]
    return []
