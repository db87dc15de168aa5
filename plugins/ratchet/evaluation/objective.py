"""Several objectives by the loop file's written rule: bounds that must hold, then one weighted sum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ratchet.evaluation.cohorts import Cohort
from ratchet.evaluation.errors import gaps_between
from ratchet.evaluation.facts import CandidateFacts, GateResult, gate
from ratchet.evaluation.sums import ALL, CANDIDATE, CHAMPION
from ratchet.experiment.calibration import calibration_error
from ratchet.experiment.paired import plain

if TYPE_CHECKING:
    from ratchet.loop import Loop


def objective_gate(
    loop: Loop, sums: Mapping[str, Any], cohorts: Sequence[Cohort], facts: CandidateFacts
) -> GateResult:
    """Whether each bound holds, and the candidate's utility is not below the champion's by more than the margin."""
    rule = loop.gates.evaluation.objective
    mine = measures(loop, sums, cohorts, facts, CANDIDATE)
    broken = []
    for name, bound in rule.must.items():
        value = mine.get(name, math.nan)
        if bound.at_most is not None and not value <= bound.at_most:
            broken.append(f"{name} is {value:.4g}, at most {bound.at_most:g} is allowed")
        if bound.at_least is not None and not value >= bound.at_least:
            broken.append(f"{name} is {value:.4g}, at least {bound.at_least:g} is needed")
    utility = _utility(rule.utility, mine)
    evidence: dict[str, Any] = {
        "candidate": {name: plain(value) for name, value in sorted(mine.items())},
        "utility": plain(utility),
        "weights": dict(rule.utility),
    }
    if broken:
        return gate("objective", False, f"must hold: {'; '.join(broken)}", **evidence)
    if facts.champion_train_end is None:
        told = f"{len(rule.must)} bounds hold, utility {utility:+.4f}; no champion yet to compare it with"
        return gate("objective", math.isfinite(utility), told, **evidence)
    theirs = measures(loop, sums, cohorts, facts, CHAMPION)
    champion = _utility(rule.utility, theirs)
    return gate(
        "objective",
        utility >= champion - rule.margin,
        f"{len(rule.must)} bounds hold, utility {utility:+.4f} against the champion's {champion:+.4f}; "
        f"lower by more than {rule.margin:g} is refused",
        **evidence,
        champion={name: plain(value) for name, value in sorted(theirs.items())},
        champion_utility=plain(champion),
        margin=rule.margin,
    )


def _utility(weights: Mapping[Any, float], values: Mapping[str, float]) -> float:
    return math.fsum(weight * values.get(name, math.nan) for name, weight in sorted(weights.items()))


def measures(
    loop: Loop, sums: Mapping[str, Any], cohorts: Sequence[Cohort], facts: CandidateFacts, scorer: str
) -> dict[str, float]:
    """What an objective may name, of one scorer, on the newest window; nan for what is not known."""
    window, cell = sums["windows"][-1], sums["cohorts"][ALL][ALL]
    rows, labels = float(np.sum(window["rows"])), float(np.sum(window["labels"]))
    found: dict[str, float] = {
        metric: float(np.sum(values)) / rows
        for metric, values in window["scorers"][scorer].items()
        if metric != "scores"
    }
    strength = sums["auc"].get(scorer)
    found["auc"] = math.nan if strength is None else float(strength)
    part = cell[scorer]
    found["calibration_error"] = calibration_error(
        np.asarray(part["gaps"], dtype=np.float64), np.asarray(cell["rows"], dtype=np.float64), 0.05
    )[0]
    found["false_reassurance"] = float(np.sum(part["missed"])) / labels
    found["false_alarm"] = float(np.sum(part["alarms"])) / (rows - labels)
    gaps = [
        gap
        for dimension in loop.gates.evaluation.fairness.dimensions
        if len(judged := [c for c in cohorts if c.is_judged and c.dimension == dimension]) > 1
        for gap in gaps_between(judged, scorer).values()
    ]
    found["fairness_gap"] = max(gaps) if gaps else math.nan
    is_candidate = scorer == CANDIDATE
    found["latency_ms_per_1000"] = (
        facts.latency_ms_per_1000 if is_candidate else facts.champion_latency_ms_per_1000
    )
    found["model_megabytes"] = (facts.model_bytes if is_candidate else facts.champion_bytes) / 1e6
    if is_candidate:
        found["training_seconds"] = facts.training_seconds
        found["training_megabytes"] = facts.training_megabytes
    return found
