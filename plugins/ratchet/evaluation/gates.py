"""The gates between a trained candidate and the registry: each named, each closed unless shown otherwise.

`judge_candidate` answers pass only when every gate passed. Differences are of rows later than the training
rows, paired by row, with errors over clusters (departure days). Without a champion (the first model ever) the
constant takes its place in the cohort gates and the comparison with it is passed over, in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ratchet.evaluation.cohorts import judge_cohorts
from ratchet.evaluation.facts import Answer, CandidateFacts, Evaluation, GateResult, gate, gates_of_facts
from ratchet.evaluation.intervals import Floats, auc, calibration_by_day, cluster_gain, losses
from ratchet.evaluation.leak import single_feature_aucs
from ratchet.experiment.paired import plain

if TYPE_CHECKING:
    from ratchet.loop import Loop

CANDIDATE, CHAMPION, CONSTANT, LOGISTIC = "candidate", "champion", "constant", "logistic"
MIN_CLUSTERS = 5  # an interval over fewer days says little about the next one


def judge_candidate(
    loop: Loop,
    eval_frame: pd.DataFrame,
    scores: Mapping[str, Floats | None],
    cohorts: pd.DataFrame,
    facts: CandidateFacts,
) -> Evaluation:
    """The gates' answers for a candidate.

    `eval_frame` has departure_date, label and the feature columns, one row per unit; `cohorts` one column per
    cohort dimension, row for row; `scores` has candidate, constant, logistic and champion (None without one).
    Nothing is raised for bad data: the gate that can't be judged refuses, with the reason.
    """
    results = gates_of_facts(loop, eval_frame, facts)
    usable = _finite_scores(eval_frame, scores, cohorts, facts)
    results.append(usable)
    metrics: dict[str, dict[str, float | None]] = {}
    if usable.verdict == "pass":
        labels = eval_frame["label"].to_numpy(dtype=np.float64)
        given = {
            name: np.asarray(value, dtype=np.float64) for name, value in scores.items() if value is not None
        }
        metrics = {
            name: {metric: plain(losses(metric, labels, value).mean()) for metric in ("log_loss", "brier")}
            | {
                "auc": plain(auc(labels, value)),
                "mean_score": plain(value.mean()),
                "rate": plain(labels.mean()),
            }
            for name, value in sorted(given.items())
        }
        results += _judged(loop, eval_frame, labels, given, cohorts)
        results.append(_leak(loop, eval_frame, labels, facts))
    else:
        results += [
            GateResult(name, "refuse", f"not judged: {usable.reason}", {})
            for name in (
                "beats_constant",
                "no_simpler_model_is_better",
                "not_worse_than_champion",
                "calibration",
                "cohorts",
                "leak_single_feature",
            )
        ]
    verdict: Answer = "pass" if all(result.verdict == "pass" for result in results) else "refuse"
    return Evaluation(verdict, tuple(results), metrics)


def _finite_scores(
    frame: pd.DataFrame, scores: Mapping[str, Floats | None], cohorts: pd.DataFrame, facts: CandidateFacts
) -> GateResult:
    faults: list[str] = []
    needed = [CANDIDATE, CONSTANT, LOGISTIC]
    if facts.champion_train_end is not None:
        needed.append(CHAMPION)
    elif scores.get(CHAMPION) is not None:
        faults.append("the champion has scores but no training window")
    if frame.empty or not {"departure_date", "label"} <= set(frame.columns):
        faults.append(f"{len(frame)} evaluation rows, with departure_date and label expected")
    else:
        labels = frame["label"].to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = int((~np.isin(labels, (0.0, 1.0))).sum())
        days = int(frame["departure_date"].nunique())
        if wrong:
            faults.append(f"{wrong} labels are neither 0 nor 1")
        elif len(np.unique(labels)) < 2:
            faults.append("all labels are equal")
        if days < MIN_CLUSTERS:
            faults.append(f"{days} evaluation days; at least {MIN_CLUSTERS} are needed")
    if len(cohorts) != len(frame):
        faults.append(f"{len(cohorts)} cohort rows for {len(frame)} evaluation rows")
    for name in needed:
        value = scores.get(name)
        if value is None:
            faults.append(f"no scores of the {name}")
            continue
        array = np.asarray(value, dtype=np.float64)
        if array.shape != (len(frame),):
            faults.append(f"{name} has scores of shape {array.shape} for {len(frame)} rows")
        elif bad := int((~(np.isfinite(array) & (array >= 0) & (array <= 1))).sum()):
            faults.append(f"{bad} of {len(array)} {name} scores are not numbers in [0, 1]")
        elif name == CANDIDATE and len(array) and np.ptp(array) == 0:
            faults.append(f"the candidate gives {array[0]:.4f} to every row")
    return gate(
        "finite_scores",
        not faults,
        "; ".join(faults) or f"{len(frame)} rows, {len(needed)} scorers",
        rows=len(frame),
        scorers=needed,
    )


def _judged(
    loop: Loop, frame: pd.DataFrame, labels: Floats, scores: Mapping[str, Floats], cohorts: pd.DataFrame
) -> list[GateResult]:
    limits, metric = loop.gates.evaluation, loop.metrics.primary
    days = frame["departure_date"]
    row_losses = {name: losses(metric, labels, value) for name, value in scores.items()}
    results = []
    for name, needed in ((CONSTANT, limits.baseline_margin), (LOGISTIC, -limits.simpler_margin)):
        gain = cluster_gain(days, row_losses[name], row_losses[CANDIDATE])
        low = gain.bound(limits.alpha)[0]
        results.append(
            gate(
                "beats_constant" if name == CONSTANT else "no_simpler_model_is_better",
                low > needed,
                f"{metric} gain over the {name} {gain.value:+.4f}, at least {low:+.4f} over {gain.clusters} "
                f"days; more than {needed:+g} is required",
                **gain.evidence(limits.alpha),
            )
        )
    reference = CHAMPION if CHAMPION in scores else CONSTANT
    if reference == CHAMPION:
        gain = cluster_gain(days, row_losses[CHAMPION], row_losses[CANDIDATE])
        worst = -gain.bound(limits.alpha)[0]
        results.append(
            gate(
                "not_worse_than_champion",
                worst < limits.champion_margin,
                f"{metric} is {-gain.value:+.4f} against the champion's, at most {worst:+.4f} over "
                f"{gain.clusters} days; less than {limits.champion_margin:g} is required",
                **gain.evidence(limits.alpha),
            )
        )
    else:
        results.append(
            gate("not_worse_than_champion", True, "no champion yet: constant and logistic stand for it")
        )
    value, low = calibration_by_day(days, labels, scores[CANDIDATE], limits.alpha)
    results.append(
        gate(
            "calibration",
            low <= limits.calibration_error,
            f"calibration error {value:.4f}, at least {low:.4f} over the days seen; "
            f"limit {limits.calibration_error:g}",
            value=plain(value),
            low=plain(low),
            limit=limits.calibration_error,
        )
    )
    return results + _cohort_gates(
        loop, days, cohorts, row_losses[reference] - row_losses[CANDIDATE], reference
    )


def _cohort_gates(
    loop: Loop, days: pd.Series, cohorts: pd.DataFrame, gains: Floats, reference: str
) -> list[GateResult]:
    limits = loop.gates.evaluation
    try:
        judgements = judge_cohorts(loop, days, cohorts, gains)
    except ValueError as error:
        return [gate("cohorts", False, f"not judged: {error}")]
    results = []
    for judged in judgements:
        estimate = judged.effect.estimate
        results.append(
            gate(
                f"cohort:{judged.effect.name}",
                judged.state != "worse",
                f"{judged.state}: {loop.metrics.primary} is {-estimate.value:+.4f} against the "
                f"{reference}'s on {estimate.units} units and {estimate.clusters} days, "
                f"p = {judged.p_value:.4f} among {judged.compared} cohorts; margin {limits.cohort_margin:g}",
                state=judged.state,
                reference=reference,
                p_value=plain(judged.p_value),
                compared=judged.compared,
                pooled=list(judged.effect.pooled),
                margin=limits.cohort_margin,
                **estimate.evidence(limits.alpha),
            )
        )
    for dimension in loop.cohorts.dimensions:
        if not any(j.effect.dimension == dimension and j.state != "not enough evidence" for j in judgements):
            results.append(
                gate(f"cohort:{dimension}", False, f"no cohort of {dimension} has enough evidence")
            )
    return results


def _leak(loop: Loop, frame: pd.DataFrame, labels: Floats, facts: CandidateFacts) -> GateResult:
    limit = loop.gates.evaluation.single_feature_auc
    try:
        strengths = single_feature_aucs(frame, labels, facts.feature_columns)
    except ValueError as error:
        return gate("leak_single_feature", False, f"not judged: {error}")
    told = {name: value for name, value in strengths.items() if math.isfinite(value)}
    if not told:
        return gate("leak_single_feature", False, "no feature could be judged")
    strongest = max(told, key=lambda name: told[name])
    leaks = sorted(name for name, value in told.items() if value > limit)
    reason = f"{', '.join(leaks)} alone tells the label" if leaks else "no feature alone tells the label"
    return gate(
        "leak_single_feature",
        not leaks,
        f"{reason}: strongest is {strongest}, AUC {told[strongest]:.3f}, limit {limit:g}",
        strongest=strongest,
        auc=told[strongest],
        limit=limit,
        leaks=leaks,
    )
