"""The verdict of one day of a rollout: advance, hold, roll back, promote, or inconclusive.

`judge_day` answers in a fixed order: (1) exposure not as planned: hold; (2) harm: roll back; (3) the last
stage, boundary crossed and every guardrail proven not worse than its margin: promote; (4) horizon used up:
inconclusive; (5) stage not long enough, or not the time to promote: hold; (6) else advance. Whatever can't be
judged holds. Effects are oriented so that positive is better for the challenger.
"""

from __future__ import annotations

from datetime import date, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

import pandas as pd

from ratchet.experiment.integrity import Sums, check_integrity, is_mature, read_sums
from ratchet.experiment.paired import Estimate, plain, ratio_estimate
from ratchet.experiment.sequential import SequentialTest, sequential_test
from ratchet.experiment.state import Action, Look, RolloutState, Verdict
from ratchet.experiment.watch import cohort_harm, guardrail_effect

if TYPE_CHECKING:
    from ratchet.loop import Loop

FEWEST_STAGE_CLUSTERS = 2  # a stage is left only when some of its own days were judged
FEWEST_HARM_CLUSTERS = 4  # below, a t test has hardly a tail to look at


def judge_day(
    loop: Loop, state: RolloutState, paired: pd.DataFrame, arms: pd.DataFrame, day: date
) -> Verdict:
    """The verdict at the end of `day` (local), from the sums of exp_paired_daily and exp_arm_daily.

    Rows outside the experiment, before its first day or after `day` are ignored, and each metric uses only
    the departure days whose window is closed: departure_date + maturity <= day. `verdict.looks` are to be
    kept with `state.after(verdict)`: without them the next look would not be peek-safe.

    Nothing is raised for bad data: it holds, with the reason.
    """
    evidence: dict[str, Any] = {
        "experiment_id": state.experiment_id,
        "day": day.isoformat(),
        "stage": state.stage_name,
        "stage_index": state.stage_index,
    }
    contradictions = _contradictions(loop, state, day)
    if contradictions:
        return Verdict("hold", tuple(contradictions), evidence)
    sums, faults = read_sums(state, paired, arms, day)
    if sums is None:
        return _late_or_hold(loop, state, day, faults, evidence)
    findings, evidence["integrity"] = check_integrity(loop, state, sums, day)
    if findings:
        return _late_or_hold(loop, state, day, findings, evidence)
    return _judge_effects(loop, state, sums, day, evidence)


def _judge_effects(
    loop: Loop, state: RolloutState, sums: Sums, day: date, evidence: dict[str, Any]
) -> Verdict:
    rollout, metric = loop.rollout, loop.metrics.primary
    mature = sums.paired[is_mature(sums.paired["departure_date"], loop.label.maturity_hours, day)]
    mature = mature[mature["n_labelled"] > 0]
    everyone = mature[mature["cohort_dimension"] == "all"]
    gain = ratio_estimate(
        everyone[f"sum_{metric}_champion"] - everyone[f"sum_{metric}_challenger"], everyone["n_labelled"]
    )
    fraction = gain.clusters / rollout.horizon_days
    evidence["primary"] = {"metric": metric, **gain.evidence(rollout.alpha), "information_fraction": fraction}
    looks: dict[str, Look] = {}

    harm = _harm(loop, state, sums, mature, gain, day, looks, evidence)
    if harm:
        return Verdict("roll_back", tuple(harm), evidence, looks)

    is_last = state.stage_index == len(rollout.stages) - 1
    stage = rollout.stages[state.stage_index]
    stage_days = (day - state.stage_started_on).days + 1
    stage_mature = int((everyone["departure_date"] >= state.stage_started_on).sum())
    evidence |= {"stage_days": stage_days, "stage_mature_days": stage_mature}
    waits: list[str] = []
    if stage_days < stage.min_days or stage_mature < FEWEST_STAGE_CLUSTERS:
        waits.append(
            f"stage {stage.name} is in day {stage_days} since {state.stage_started_on}, {stage_mature} "
            f"mature; it needs {stage.min_days} days, {FEWEST_STAGE_CLUSTERS} of them mature"
        )
    if is_last and gain.clusters < rollout.min_clusters:
        waits.append(f"{gain.clusters} mature days in all; a promotion needs {rollout.min_clusters}")
    if is_last:
        waits += _unjudged_cohorts(loop, evidence)
    if is_last and not waits:
        open_points, proof = _promotion(loop, state, sums, gain, day, looks, evidence)
        if not open_points:
            return Verdict("promote", tuple(proof), evidence, looks)
        waits = open_points
    spent = _horizon_reason(loop, state, fraction, gain.clusters, day)
    if spent:
        return Verdict("inconclusive", (spent, *waits), evidence, looks)
    if waits or is_last:
        return Verdict("hold", tuple(waits), evidence, looks)
    return Verdict(
        "advance",
        (
            f"stage {stage.name} has had {stage_days} days (needs {stage.min_days}) and shows no harm: "
            f"{metric} gain {gain.value:+.5f}, z = {gain.z:.2f} over {gain.clusters} days",
        ),
        evidence,
        looks,
    )


def _contradictions(loop: Loop, state: RolloutState, day: date) -> list[str]:
    stages = loop.rollout.stages
    found = []
    if not loop.guardrails:
        found.append("the loop file declares no guardrail: a rollout without one is not judged")
    if loop.prediction.influences_outcome:
        found.append("predictions of this loop influence the outcome: a paired comparison would be wrong")
    if not 0 <= state.stage_index < len(stages) or stages[state.stage_index].name != state.stage_name:
        found.append(
            f"the rollout is in stage {state.stage_index} {state.stage_name!r}; the loop file has "
            f"{[stage.name for stage in stages]}"
        )
    elif len(state.stage_starts) != state.stage_index + 1 or state.stage_starts[0] != state.started_on:
        found.append(
            f"{len(state.stage_starts)} stage starts are recorded for stage index {state.stage_index}, "
            f"the first {state.stage_starts[:1]}, the rollout began on {state.started_on}"
        )
    late = sorted(look.day for looks in state.looks.values() for look in looks if look.day >= day)
    if late:
        found.append(f"a look at {late[-1]} is already recorded; {day} can't be judged after it")
    return found


def _harm(
    loop: Loop,
    state: RolloutState,
    sums: Sums,
    mature: pd.DataFrame,
    gain: Estimate,
    day: date,
    looks: dict[str, Look],
    evidence: dict[str, Any],
) -> list[str]:
    """Reasons to roll back; adds to `looks` and `evidence`."""
    rollout = loop.rollout
    reasons: list[str] = []
    if gain.clusters >= FEWEST_HARM_CLUSTERS:
        test = _test(loop, state, "harm", day, gain, -gain.z, rollout.rollback_alpha)
        _record(test, "harm", day, looks, evidence)
        if test.is_crossed:
            reasons.append(
                f"{loop.metrics.primary} is worse by {-gain.value:.5f} per unit: z = {gain.z:.2f} is at "
                f"or below -{test.bound:.2f} after {gain.clusters} days"
            )
    evidence["guardrails"] = {}
    error = rollout.rollback_alpha / len(loop.guardrails)
    for guardrail in loop.guardrails:
        effect = guardrail_effect(guardrail, sums, day)
        record = {
            **effect.evidence(rollout.rollback_alpha),
            "kind": guardrail.kind,
            "margin": guardrail.margin,
        }
        evidence["guardrails"][guardrail.metric] = record
        if effect.clusters >= max(FEWEST_HARM_CLUSTERS, guardrail.min_clusters):
            name = f"guardrail_harm:{guardrail.metric}"
            worse = -effect.z_against(-guardrail.margin)
            test = _test(loop, state, name, day, effect, worse, error)
            _record(test, name, day, looks, evidence)
            if test.is_crossed:
                reasons.append(
                    f"guardrail {guardrail.metric} is worse by {-effect.value:.4f}, beyond its margin "
                    f"{guardrail.margin}: z = {worse:.2f} reached {test.bound:.2f} after {effect.clusters} "
                    "days"
                )
    reasons += cohort_harm(loop, state, mature, gain, day, looks, evidence)
    return reasons


def _promotion(
    loop: Loop,
    state: RolloutState,
    sums: Sums,
    gain: Estimate,
    day: date,
    looks: dict[str, Look],
    evidence: dict[str, Any],
) -> tuple[list[str], list[str]]:
    """What still stands against promotion, and the proof gathered; adds to `looks` and `evidence`."""
    rollout = loop.rollout
    missing: list[str] = []
    proof: list[str] = []
    if gain.is_degenerate:
        missing.append(
            f"the gain is {gain.value:+.5f} on each day alike: no comparison of two models looks so"
        )
    test = _test(loop, state, "promotion", day, gain, gain.z, rollout.alpha)
    _record(test, "promotion", day, looks, evidence)
    summary = (
        f"{loop.metrics.primary} gain {gain.value:+.5f} per unit, z = {gain.z:.2f}, boundary "
        f"{test.bound:.2f} at {gain.clusters} of {rollout.horizon_days} days"
    )
    if test.is_crossed:
        proof.append(f"{summary}: crossed")
    else:
        missing.append(f"{summary}: {test.why_not}")
    for guardrail in loop.guardrails:
        effect = guardrail_effect(guardrail, sums, day)
        if effect.clusters < max(2, guardrail.min_clusters) or not effect.is_usable or effect.is_degenerate:
            missing.append(
                f"guardrail {guardrail.metric} can't be judged yet: {effect.clusters} mature days, "
                f"{effect.units} units; it needs {max(2, guardrail.min_clusters)} days"
            )
            continue
        name = f"guardrail:{guardrail.metric}"
        test = _test(loop, state, name, day, effect, effect.z_against(-guardrail.margin), rollout.alpha)
        _record(test, name, day, looks, evidence)
        summary = (
            f"guardrail {guardrail.metric} effect {effect.value:+.4f}, margin {guardrail.margin}, "
            f"z = {test.z:.2f}, boundary {test.bound:.2f} at {effect.clusters} days"
        )
        (proof if test.is_crossed else missing).append(
            f"{summary}: {'not worse' if test.is_crossed else test.why_not}"
        )
    return missing, proof


def _unjudged_cohorts(loop: Loop, evidence: dict[str, Any]) -> list[str]:
    judged = [name for name, record in evidence["cohorts"].items() if record["judged"]]
    return [
        f"no cohort of {dimension} has enough mature units to be judged"
        for dimension in loop.cohorts.dimensions
        if not any(name.startswith(f"{dimension}=") for name in judged)
    ]


def _test(
    loop: Loop, state: RolloutState, name: str, day: date, effect: Estimate, z: float, alpha: float
) -> SequentialTest:
    return sequential_test(
        state.looks.get(name, ()),
        clusters=effect.clusters,
        horizon=loop.rollout.horizon_days,
        z=z,
        alpha=alpha,
        power=loop.rollout.spending_power,
    )


def _record(
    test: SequentialTest, name: str, day: date, looks: dict[str, Look], evidence: dict[str, Any]
) -> None:
    evidence.setdefault("tests", {})[name] = {
        "z": plain(test.z),
        "bound": plain(test.bound),
        "information_fraction": test.fraction,
        "alpha": test.alpha,
        "crossed": test.is_crossed,
        "new_look": test.is_new_look,
    }
    if test.is_new_look:
        looks[name] = Look(day, test.fraction, float(test.z), test.is_crossed)


def _last_day(loop: Loop, state: RolloutState) -> date:
    """The day on which the horizon's last departure day is mature."""
    maturity = ceil(loop.label.maturity_hours / 24)
    return state.started_on + timedelta(days=loop.rollout.horizon_days - 1 + maturity)


def _horizon_reason(loop: Loop, state: RolloutState, fraction: float, clusters: int, day: date) -> str | None:
    horizon = loop.rollout.horizon_days
    if fraction >= 1 or day >= _last_day(loop, state):
        return (
            f"the horizon of {horizon} days is used up ({clusters} mature days by {day}) without a proof: "
            "nothing is promoted"
        )
    return None


def _late_or_hold(
    loop: Loop, state: RolloutState, day: date, reasons: list[str], evidence: dict[str, Any]
) -> Verdict:
    """Exposure that can't be trusted holds; past the horizon there is nothing left to wait for."""
    action: Action = "inconclusive" if day >= _last_day(loop, state) else "hold"
    return Verdict(action, tuple(reasons), evidence)
