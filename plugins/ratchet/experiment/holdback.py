"""After a promotion: the former champion keeps a share for some weeks, and the comparison goes on.

The promoted version is the challenger, in an arm as large as the former champion's, which is the control; the
promoted version serves the rest too. `judge_holdback_day` answers hold, or roll_back when there is harm, by the
tests of a rollout with looks of their own; when the days are over it answers inconclusive, which here ends the
holdback and changes nothing, and says whether the gain lasted.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ratchet.experiment.harm import cohort_harm, cohorts_of, guardrail_harm, primary_harm
from ratchet.experiment.integrity import check_integrity
from ratchet.experiment.looks import Looking
from ratchet.experiment.metrics import CATALOGUE, is_independent, paired_gains, primary_effect
from ratchet.experiment.paired import Estimate, arm_difference, plain, ratio_estimate
from ratchet.experiment.state import RolloutState, Verdict
from ratchet.experiment.sums import EVERYONE, Sums, read_sums
from ratchet.experiment.verdict import repeated_looks

if TYPE_CHECKING:
    from ratchet.loop import Loop


def judge_holdback_day(
    loop: Loop,
    state: RolloutState,
    paired: pd.DataFrame,
    arms: pd.DataFrame,
    day: date,
    *,
    exposure: pd.DataFrame | None = None,
) -> Verdict:
    """The verdict at the end of `day`; tables and maturity as in `judge_day`.

    Where the former champion scores its own share only, `paired` has no row of the experiment and every metric is
    compared between arms. `verdict.evidence["gain"]` has the gain with its interval, of the whole time and of
    each half: intervals for one reading, at the end.
    """
    evidence: dict[str, Any] = {
        "experiment_id": state.experiment_id,
        "day": day.isoformat(),
        "stage": state.stage_name,
        "stage_index": state.stage_index,
    }
    holdback = loop.rollout.holdback
    found = repeated_looks(state, day)
    if not loop.guardrails:
        found.append("the loop file declares no guardrail: a holdback without one is not judged")
    if holdback is None:
        found.append("the terms of this rollout have no holdback: its share and days are unknown")
    if found or holdback is None:
        return Verdict("hold", tuple(found), evidence)
    last = state.started_on + timedelta(days=holdback.days - 1 + math.ceil(loop.label.maturity_hours / 24))
    is_over = day >= last
    sums, faults = read_sums(state, paired, arms, exposure, day, needs_pairs=False)
    if sums is None:
        return Verdict("inconclusive" if is_over else "hold", tuple(faults), evidence)
    are_paired = EVERYONE in sums.paired.keys
    shares = (holdback.share,) * sums.days
    findings, evidence["integrity"] = check_integrity(loop, state, sums, shares, are_paired=are_paired)
    if findings:
        return Verdict("inconclusive" if is_over else "hold", tuple(findings), evidence)
    horizon = loop.rollout.information if is_independent(loop) else holdback.days
    looking = Looking(loop, state, day, evidence, horizon=horizon)
    effect = primary_effect(loop, sums, are_paired=are_paired)
    evidence["primary"] = {
        "metric": loop.metrics.primary,
        "kind": "paired" if are_paired and not loop.prediction.influences_outcome else "between_arms",
        **effect.estimate.evidence(loop.rollout.alpha),
        "information_fraction": looking.fraction(effect.estimate),
    }
    harm = primary_harm(looking, effect)
    harm += guardrail_harm(looking, sums, are_paired=are_paired)
    cohorts = cohorts_of(loop, sums, are_paired=are_paired, admission=state.admission)
    harm += [reason for _, reason in cohort_harm(looking, cohorts)]
    evidence["gain"] = _gain(loop, sums, are_paired=are_paired)
    if harm:
        return Verdict("roll_back", tuple(harm), evidence, looking.looks)
    told = _told(loop, evidence["gain"])
    if is_over:
        over = f"the holdback's {holdback.days} days are over without harm"
        return Verdict("inconclusive", (over, told), evidence, looking.looks)
    return Verdict("hold", (f"no harm until {last}, when the holdback ends", told), evidence, looking.looks)


def _gain(loop: Loop, sums: Sums, *, are_paired: bool) -> dict[str, Any]:
    """The gain of the whole time, of its first and second half, and their difference."""
    days = sums.mature(loop.label.maturity_hours)
    error = loop.rollout.alpha
    whole = _between(loop, sums, 0, days, are_paired=are_paired)
    first = _between(loop, sums, 0, days // 2, are_paired=are_paired)
    second = _between(loop, sums, days // 2, days, are_paired=are_paired)
    change, low, high = math.nan, -math.inf, math.inf
    if first.is_usable and second.is_usable:
        change = second.value - first.value
        spread = math.hypot(first.standard_error, second.standard_error)
        reach = float(-stdtrit(min(first.degrees, second.degrees), error)) * spread
        low, high = change - reach, change + reach
    is_durable = None
    if whole.is_usable and math.isfinite(change):
        is_durable = bool(whole.bound(error)[0] > 0 and second.value > 0 and high >= 0)
    return {
        "whole": whole.evidence(error),
        "first_half": first.evidence(error),
        "second_half": second.evidence(error),
        "change": {"value": plain(change), "low": plain(low), "high": plain(high)},
        "is_durable": is_durable,
    }


def _between(loop: Loop, sums: Sums, first: int, last: int, *, are_paired: bool) -> Estimate:
    metric, days = loop.metrics.primary, slice(first, last)
    if are_paired and not loop.prediction.influences_outcome:
        everyone = sums.paired.keys.index(EVERYONE)
        counts = sums.paired.of("n_labelled", *EVERYONE)[days]
        gains = np.where(counts > 0, paired_gains(metric, sums)[everyone, days], 0.0)
        return ratio_estimate(gains, counts)
    known = CATALOGUE[metric]
    y1, n1, y0, n0 = (
        sums.arms.of(column, arm)[days]
        for arm in ("challenger", "control")
        for column in (known.total, known.count)
    )
    return arm_difference(-y1, n1, -y0, n0)


def _told(loop: Loop, gain: dict[str, Any]) -> str:
    whole, change = gain["whole"], gain["change"]
    if whole["value"] is None or whole["low"] is None:
        return f"the gain of {loop.metrics.primary} is not known yet"
    text = (
        f"{loop.metrics.primary} gain {whole['value']:+.5f} ({whole['low']:+.5f} to {whole['high']:+.5f}) over "
        f"{whole['clusters']} clusters"
    )
    if change["value"] is None or gain["is_durable"] is None:
        return text
    word = "durable" if gain["is_durable"] else "not shown to be durable"
    return f"{text}, second half minus first {change['value']:+.5f}: {word}"
