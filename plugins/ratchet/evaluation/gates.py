"""The gates between a trained candidate and the registry: each named, each closed unless shown otherwise.

`judge` is a pure function of the loop's terms, the sums and the facts that a record holds; `judge_recorded` judges
such a record again. It answers pass only when every gate passed; a gate whose numbers are missing, not numbers,
or rest on nothing refuses. Without a champion (the first model ever) the constant takes its place in the cohort
gates, and comparisons with it are passed over, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ratchet.evaluation.ablation import ablation_gate
from ratchet.evaluation.cohorts import Cohort, calibration_gate, cohorts_of, quality_gates
from ratchet.evaluation.errors import errors_gate, fairness_gates
from ratchet.evaluation.facts import (
    Answer,
    CandidateFacts,
    Evaluation,
    GateResult,
    configured,
    gate,
    gates_of_facts,
)
from ratchet.evaluation.leak import leak_gates
from ratchet.evaluation.objective import objective_gate
from ratchet.evaluation.probes import probe_gates
from ratchet.evaluation.quality import (
    beats_constant,
    calibration,
    durable,
    gain_from_new_rows,
    no_simpler,
    not_worse_than_champion,
    usable_sums,
)
from ratchet.evaluation.terms import loop_with
from ratchet.experiment.paired import plain

if TYPE_CHECKING:
    from ratchet.loop import Loop

Answers = Callable[[], GateResult | Sequence[GateResult]]
#: What a sum, a fact or a bound that is missing or of another type raises.
UNUSABLE = (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, AttributeError)
#: Gates whose numbers are told when every gate passed.
TOLD_WHEN_PASSED = ("no_simpler_model_is_better", "not_worse_than_champion", "gain_comes_from_new_data")


def judge(loop: Loop, sums: Mapping[str, Any], facts: Mapping[str, Any] | CandidateFacts) -> Evaluation:
    """The gates' answers for a candidate, from sums (`summarise`) and facts (`CandidateFacts.evidence`).

    Reads the loop's metrics, cohorts, gates, training and features. Nothing is raised for bad data: the gate
    that can't be judged refuses, with the reason.
    """
    try:
        known = facts if isinstance(facts, CandidateFacts) else CandidateFacts.from_evidence(facts)
        results = gates_of_facts(loop, sums, known)
        usable = usable_sums(loop, sums, known)
    except UNUSABLE as error:
        reason = f"the record can't be judged: {type(error).__name__}: {error}"
        return Evaluation("refuse", (configured(loop), gate("finite_scores", False, reason)), {})
    results.append(usable)
    if usable.verdict == "refuse":
        results += [gate(name, False, f"not judged: {usable.reason}") for name in SCORED]
        return Evaluation("refuse", tuple(results), {})
    for name, answer in (
        ("beats_constant", lambda: beats_constant(loop, sums)),
        ("durable_gain", lambda: durable(loop, sums, known)),
        ("no_simpler_model_is_better", lambda: no_simpler(loop, sums)),
        ("not_worse_than_champion", lambda: not_worse_than_champion(loop, sums, known)),
        ("gain_comes_from_new_data", lambda: gain_from_new_rows(loop, sums, known)),
        ("calibration", lambda: calibration(loop, sums)),
        ("cohorts", lambda: _cohort_gates(loop, sums, known)),
        ("leak_single_feature", lambda: leak_gates(loop, sums)),
        ("stability", lambda: probe_gates(loop, sums)),
        ("feature_ablation", lambda: ablation_gate(loop, sums)),
    ):
        results += _answered(name, answer)
    try:
        metrics = _metrics(sums)
    except UNUSABLE as error:
        metrics = {}
        results.append(gate("finite_scores", False, f"the metrics can't be told: {error!r}"))
    verdict: Answer = "pass" if all(result.verdict == "pass" for result in results) else "refuse"
    return Evaluation(verdict, tuple(results), metrics)


#: Gates that need usable scores.
SCORED = (
    "beats_constant",
    "durable_gain",
    "no_simpler_model_is_better",
    "not_worse_than_champion",
    "gain_comes_from_new_data",
    "calibration",
    "cohorts",
    "leak_single_feature",
    "stability",
    "feature_ablation",
)


def judge_recorded(record: Mapping[str, Any]) -> Evaluation:
    """The evaluation of a ledger entry's payload, judged again from its terms, sums and facts.

    A record without sums is of a candidate that was refused before it could be scored: refused again.

    Raises:
        ValueError: the terms are not those of a loop file.
    """
    if record.get("sums") is None:
        return Evaluation("refuse", (), {})
    return judge(loop_with(record["terms"]), record["sums"], record["facts"])


def reasons_of(evaluation: Evaluation) -> list[str]:
    """What is told of a verdict: each refusal, or the numbers that matter when there is none."""
    told = [f"{result.name}: {result.reason}" for result in evaluation.refusals]
    return told or [result.reason for result in evaluation.gates if result.name in TOLD_WHEN_PASSED]


def _answered(name: str, answer: Answers) -> list[GateResult]:
    try:
        given = answer()
    except UNUSABLE as error:
        return [gate(name, False, f"not judged: {error}")]
    return [given] if isinstance(given, GateResult) else list(given)


def _cohort_gates(loop: Loop, sums: Mapping[str, Any], facts: CandidateFacts) -> list[GateResult]:
    cohorts: tuple[Cohort, ...] = cohorts_of(loop, sums)
    results = quality_gates(loop, cohorts)
    for name, answer in (
        ("calibration_by_cohort", lambda: calibration_gate(loop, cohorts)),
        ("errors_by_cohort", lambda: errors_gate(loop, cohorts)),
        ("fairness_gap", lambda: fairness_gates(loop, cohorts)),
        ("objective", lambda: objective_gate(loop, sums, cohorts, facts)),
    ):
        results += _answered(name, answer)
    return results


def _metrics(sums: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """By scorer the means of the newest window."""
    window = sums["windows"][-1]
    rows = float(np.sum(window["rows"]))
    rate = float(np.sum(window["labels"])) / rows
    return {
        name: {
            metric: plain(float(np.sum(values)) / rows)
            for metric, values in part.items()
            if metric != "scores"
        }
        | {
            "auc": sums["auc"].get(name),
            "mean_score": plain(float(np.sum(part["scores"])) / rows),
            "rate": plain(rate),
        }
        for name, part in sorted(window["scorers"].items())
    }
