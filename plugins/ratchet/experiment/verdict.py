"""The verdict of one day of a rollout: advance, hold, roll back, promote, or inconclusive.

`judge_day` answers in a fixed order: (1) exposure not as planned: hold; (2) harm: roll back; (3) the last
stage, boundary crossed and every guardrail proven not worse than its margin: promote; (4) horizon used up:
inconclusive; (5) stage not long enough, or not the time to promote: hold; (6) else advance. Whatever can't be
judged holds. Where the loop excludes cohorts, harm to one of them alone takes it out of the rollout: exclude.
Effects are oriented so that positive is better for the challenger.
"""

from __future__ import annotations

from datetime import date, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

import pandas as pd

from ratchet.experiment.admission import Admission
from ratchet.experiment.cohorts import Cohort
from ratchet.experiment.harm import cohort_harm, cohorts_of, guardrail_harm, left_out, primary_harm
from ratchet.experiment.integrity import Shares, check_integrity
from ratchet.experiment.looks import Looking
from ratchet.experiment.metrics import Effect, information, primary_effect
from ratchet.experiment.planning import outlook
from ratchet.experiment.state import Action, RolloutState, Verdict
from ratchet.experiment.sums import EVERYONE, Sums, read_sums

if TYPE_CHECKING:
    from ratchet.loop import Loop

FEWEST_STAGE_CLUSTERS = 2  # a stage is left only when some of its own days were judged


def judge_day(
    loop: Loop,
    state: RolloutState,
    paired: pd.DataFrame,
    arms: pd.DataFrame,
    day: date,
    *,
    exposure: pd.DataFrame | None = None,
) -> Verdict:
    """The verdict at the end of `day` (local), from exp_paired_daily, exp_arm_daily and exp_exposure_daily.

    Rows outside the experiment, before its first day or after `day` are ignored, and each metric uses only
    the departure days whose window is closed: departure_date + maturity <= day. `verdict.looks` are to be
    kept with `state.after(verdict)`: without them the next look would not be peek-safe.

    Nothing is raised for bad data, or for a table that is not given: it holds, with the reason.
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
    sums, faults = read_sums(state, paired, arms, exposure, day)
    if sums is None:
        return _late_or_hold(loop, state, day, faults, evidence)
    findings, evidence["integrity"] = check_integrity(loop, state, sums, _shares(loop, state, sums))
    if findings:
        return _late_or_hold(loop, state, day, findings, evidence)
    return _judge_effects(Looking(loop, state, day, evidence), sums)


def _judge_effects(looking: Looking, sums: Sums) -> Verdict:
    loop, state, evidence = looking.loop, looking.state, looking.evidence
    rollout, metric = loop.rollout, loop.metrics.primary
    effect = primary_effect(loop, sums)
    gain = effect.estimate
    fraction = looking.fraction(gain)
    evidence["primary"] = {
        "metric": metric,
        "kind": "between_arms" if loop.prediction.influences_outcome else "paired",
        **gain.evidence(rollout.alpha),
        "information_fraction": fraction,
    }
    evidence["plan"] = outlook(loop, gain)
    admission = state.admission
    cohorts = cohorts_of(loop, sums, admission=admission)
    harm = [*primary_harm(looking, effect), *guardrail_harm(looking, sums)]
    worse = cohort_harm(looking, cohorts)
    if admission is not None:
        evidence["cohorts_left_out"] = left_out(loop, sums, admission)
        left = admission.without({name: why for cohort, why in worse for name in cohort.names})
        if worse and not harm and left.is_possible:
            evidence["admission"] = left.to_json()
            return Verdict("exclude", tuple(why for _, why in worse), evidence, looking.looks)
    harm += [why for _, why in worse]
    if harm:
        return Verdict("roll_back", tuple(harm), evidence, looking.looks)

    is_last = state.stage_index == len(rollout.stages) - 1
    stage = rollout.stages[state.stage_index]
    stage_days = (looking.day - state.stage_started_on).days + 1
    labelled = sums.paired.of("n_labelled", *EVERYONE)[: sums.mature(loop.label.maturity_hours)]
    stage_mature = int((labelled[sums.index_of(state.stage_started_on) :] > 0).sum())
    evidence |= {"stage_days": stage_days, "stage_mature_days": stage_mature}
    waits: list[str] = []
    if stage_days < stage.min_days or stage_mature < FEWEST_STAGE_CLUSTERS:
        waits.append(
            f"stage {stage.name} is in day {stage_days} since {state.stage_started_on}, {stage_mature} "
            f"mature; it needs {stage.min_days} days, {FEWEST_STAGE_CLUSTERS} of them mature"
        )
    clusters = information(loop, gain)
    if is_last and clusters < rollout.min_clusters:
        waits.append(f"{clusters} mature clusters in all; a promotion needs {rollout.min_clusters}")
    if is_last:
        waits += _unjudged_cohorts(loop, cohorts, evidence)
    if is_last and not waits:
        open_points, proof = _promotion(looking, effect)
        if not open_points:
            unsigned = evidence["needs_signature_for"]
            if unsigned:
                proof.append(f"without enough evidence, to be signed for: {', '.join(unsigned)}")
            if admission is not None:
                final = _admitted(admission, cohorts, evidence)
                evidence["admission"] = final.to_json()
                if final.excluded:
                    proof.append(f"the champion keeps {', '.join(name for name, _ in final.excluded)}")
            return Verdict("promote", tuple(proof), evidence, looking.looks)
        waits = open_points
    spent = _horizon_reason(loop, state, fraction, clusters, looking.day)
    if spent:
        return Verdict("inconclusive", (spent, *waits), evidence, looking.looks)
    if waits or is_last:
        return Verdict("hold", tuple(waits), evidence, looking.looks)
    return Verdict(
        "advance",
        (
            f"stage {stage.name} has had {stage_days} days (needs {stage.min_days}) and shows no harm: "
            f"{metric} gain {gain.value:+.5f}, z = {gain.z:.2f} over {gain.clusters} clusters",
        ),
        evidence,
        looking.looks,
    )


def _contradictions(loop: Loop, state: RolloutState, day: date) -> list[str]:
    stages = loop.rollout.stages
    found = []
    if not loop.guardrails:
        found.append("the loop file declares no guardrail: a rollout without one is not judged")
    if (loop.cohorts.without_evidence == "exclude") != (state.admission is not None):
        found.append(
            f"cohorts.without_evidence is {loop.cohorts.without_evidence}, and the rollout "
            f"{'names no' if state.admission is None else 'names'} cohorts that it may serve"
        )
    if loop.prediction.influences_outcome and any(rail.kind == "paired" for rail in loop.guardrails):
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
    return found + repeated_looks(state, day)


def repeated_looks(state: RolloutState, day: date) -> list[str]:
    """A finding when a look at `day` or later is recorded already."""
    late = max((look.day for looks in state.looks.values() for look in looks), default=None)
    if late is None or late < day:
        return []
    return [f"a look at {late} is already recorded; {day} can't be judged after it"]


def _shares(loop: Loop, state: RolloutState, sums: Sums) -> Shares:
    """The challenger's planned share of each day; None on the day before a change, when both plans may apply."""
    starts = [sums.index_of(start) for start in state.stage_starts]
    shares: list[float | None] = []
    for index, start in enumerate(starts):
        end = min(sums.days, starts[index + 1]) if index + 1 < len(starts) else sums.days
        shares += [loop.rollout.stages[index].share] * max(0, end - start)
    for start in starts[1:]:
        if 0 < start <= len(shares):
            shares[start - 1] = None
    return tuple(shares)


def _promotion(looking: Looking, effect: Effect) -> tuple[list[str], list[str]]:
    """What still stands against promotion, and the proof gathered."""
    loop, gain = looking.loop, effect.estimate
    rollout = loop.rollout
    missing: list[str] = []
    proof: list[str] = []
    if gain.is_degenerate:
        missing.append(
            f"the gain is {gain.value:+.5f} in each cluster alike: no comparison of two models looks so"
        )
    if information(loop, gain) < 1:
        return [f"{loop.metrics.primary} has no mature cluster yet"], proof
    test = looking.test("promotion", gain, looking.z(gain), rollout.alpha)
    summary = (
        f"{loop.metrics.primary} gain {gain.value:+.5f} per unit, z = {test.z:.2f}, boundary "
        f"{test.bound:.2f} at {information(loop, gain)} of {looking.horizon} clusters"
    )
    if test.is_crossed:
        proof.append(f"{summary}: crossed")
    else:
        missing.append(f"{summary}: {test.why_not}")
    for guardrail in loop.guardrails:
        estimate = looking.guardrails[guardrail.metric].estimate
        clusters = information(loop, estimate)
        fewest = max(2, guardrail.min_clusters)
        if clusters < fewest or not estimate.is_usable or estimate.is_degenerate:
            missing.append(
                f"guardrail {guardrail.metric} can't be judged yet: {clusters} mature clusters, "
                f"{estimate.units} units; it needs {fewest} clusters"
            )
            continue
        name = f"guardrail:{guardrail.metric}"
        test = looking.test(name, estimate, looking.z(estimate, -guardrail.margin), rollout.guardrail_alpha)
        summary = (
            f"guardrail {guardrail.metric} effect {estimate.value:+.4f}, margin {guardrail.margin}, "
            f"z = {test.z:.2f}, boundary {test.bound:.2f} at {clusters} clusters"
        )
        (proof if test.is_crossed else missing).append(
            f"{summary}: {'not worse' if test.is_crossed else test.why_not}"
        )
    return missing, proof


def _unjudged_cohorts(loop: Loop, cohorts: tuple[Cohort, ...], evidence: dict[str, Any]) -> list[str]:
    """Cohorts without enough evidence hold a promotion, or are left to a person's signature, as the loop says."""
    without = [cohort.name for cohort in cohorts if not evidence["cohorts"][cohort.name]["judged"]]
    absent = [
        dimension
        for dimension in loop.cohorts.dimensions
        if not any(cohort.dimension == dimension and _has_a_say(loop, cohort, without) for cohort in cohorts)
    ]
    evidence["cohorts_without_evidence"] = without
    evidence["needs_signature_for"] = without if loop.cohorts.without_evidence == "accept" else []
    waits = [f"no cohort of {dimension} has enough mature units to be judged" for dimension in absent]
    if loop.cohorts.without_evidence == "hold":
        waits += [
            f"cohort {cohort.name} has {cohort.counts.sum():.0f} mature units in "
            f"{int((cohort.counts > 0).sum())} clusters: not enough evidence"
            for cohort in cohorts
            if cohort.name in without
        ]
    return waits


def _has_a_say(loop: Loop, cohort: Cohort, without: list[str]) -> bool:
    """Whether a cohort stands for its dimension: one that is to be excluded does not."""
    return loop.cohorts.without_evidence != "exclude" or cohort.name not in without


def _admitted(admission: Admission, cohorts: tuple[Cohort, ...], evidence: dict[str, Any]) -> Admission:
    """What a promotion may serve: of what was admitted, the cohorts that this rollout has judged."""
    judged = {
        name for cohort in cohorts if evidence["cohorts"][cohort.name]["judged"] for name in cohort.names
    }
    sizes = {name: cohort for cohort in cohorts for name in cohort.names}
    gone = {}
    for dimension, values in admission.by_dimension:
        for name in (f"{dimension}={value}" for value in values):
            if name in judged:
                continue
            gone[name] = "not enough evidence in the rollout: no mature unit"
            if name in sizes:
                counts = sizes[name].counts
                gone[name] = (
                    f"not enough evidence in the rollout: {counts.sum():.0f} units, {int((counts > 0).sum())} "
                    f"clusters as {sizes[name].name}"
                )
    return admission.without(gone)


def _last_day(loop: Loop, state: RolloutState) -> date:
    """The day on which the horizon's last departure day is mature."""
    maturity = ceil(loop.label.maturity_hours / 24)
    return state.started_on + timedelta(days=loop.rollout.horizon_days - 1 + maturity)


def _horizon_reason(loop: Loop, state: RolloutState, fraction: float, clusters: int, day: date) -> str | None:
    if fraction >= 1 or day >= _last_day(loop, state):
        return (
            f"the horizon of {loop.rollout.horizon_days} days or {loop.rollout.information} clusters is used up "
            f"({clusters} clusters by {day}) without a proof: nothing is promoted"
        )
    return None


def _late_or_hold(
    loop: Loop, state: RolloutState, day: date, reasons: list[str], evidence: dict[str, Any]
) -> Verdict:
    """Exposure that can't be trusted holds; past the horizon there is nothing left to wait for."""
    action: Action = "inconclusive" if day >= _last_day(loop, state) else "hold"
    return Verdict(action, tuple(reasons), evidence)
