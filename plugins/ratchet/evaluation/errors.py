"""Kinds of error within each cohort, and the gaps between cohorts, against the champion's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from ratchet.evaluation.cohorts import Cohort, rejections, signed_gap
from ratchet.evaluation.facts import GateResult, gate
from ratchet.evaluation.sums import CANDIDATE, CHAMPION
from ratchet.experiment.paired import Estimate, plain, ratio_estimate

if TYPE_CHECKING:
    from ratchet.loop import Loop

#: The kinds of error and the sums that count them: a positive below the threshold, a negative at or above it.
ERRORS = {"false_reassurance": "missed", "false_alarm": "alarms"}


def errors_gate(loop: Loop, cohorts: Sequence[Cohort]) -> GateResult:
    """In no judged cohort one kind of error became more frequent by more than the margin, beyond chance.

    False reassurance is the share of positives scored below the decision threshold, a false alarm the share of
    negatives at or above it.
    """
    limits, name = loop.gates.evaluation, "errors_by_cohort"
    keys: list[str] = []
    effects: list[Estimate] = []
    table: dict[str, Any] = {}
    judged = [cohort for cohort in cohorts if cohort.is_judged]
    for cohort in cohorts:
        for kind, part in ERRORS.items():
            among = cohort.among(kind)
            own = ratio_estimate(cohort.scored[CANDIDATE][part], among)
            row: dict[str, Any] = {"value": plain(own.value), "units": own.units}
            if cohort.is_judged and cohort.reference == CHAMPION:
                more = ratio_estimate(cohort.scored[CANDIDATE][part] - cohort.scored[CHAMPION][part], among)
                keys.append(f"{cohort.name} {kind}")
                effects.append(more)
                row |= {"more_than_champion": plain(more.value), "standard_error": plain(more.standard_error)}
            table[f"{cohort.name} {kind}"] = row | {
                "state": "judged" if cohort.is_judged else "not enough evidence"
            }
    if not judged:
        return gate(name, False, "no cohort has enough evidence", errors=table)
    if not effects:
        return gate(name, True, f"no champion yet: {len(judged)} cohorts are reported", errors=table)
    p_values = [float(ndtr(-effect.z)) if effect.is_usable else math.nan for effect in effects]
    rejected = rejections(p_values, limits.alpha)
    bad = [
        key
        for key, effect, is_rejected in zip(keys, effects, rejected, strict=True)
        if is_rejected and effect.value > limits.error_share_margin
    ]
    for key in bad:
        table[key]["state"] = "worse"
    most = max(
        range(len(effects)), key=lambda i: -math.inf if math.isnan(effects[i].value) else effects[i].value
    )
    reason = f"more frequent: {', '.join(bad)}" if bad else "no kind of error is more frequent in a cohort"
    return gate(
        name,
        not bad,
        f"{reason}; the largest change is {keys[most]} {effects[most].value:+.4f} against the champion's, "
        f"margin {limits.error_share_margin:g}, {len(effects)} compared",
        errors=table,
        threshold=limits.decision_threshold,
        margin=limits.error_share_margin,
    )


def fairness_gates(loop: Loop, cohorts: Sequence[Cohort]) -> list[GateResult]:
    """For each declared dimension: the gap between its worst and best cohort is not wider than the champion's.

    Gaps of the calibration error and of false reassurance. Refused when one is wider by more than the margin,
    and wider beyond chance: the limit of the difference takes the delete-one-day jackknife (Efron 1982) and
    Student's t, corrected for the number of gaps compared.
    """
    limits, results = loop.gates.evaluation, []
    count = 2 * len(limits.fairness.dimensions)
    for dimension in limits.fairness.dimensions:
        name = f"fairness_gap:{dimension}"
        judged = [c for c in cohorts if c.is_judged and c.dimension == dimension]
        if len(judged) < 2:
            results.append(
                gate(
                    name, False, f"{len(judged)} cohorts of {dimension} have enough evidence; a gap needs two"
                )
            )
            continue
        evidence: dict[str, Any] = {"cohorts": [c.value for c in judged], "margin": limits.fairness.margin}
        if judged[0].reference != CHAMPION:
            own = {kind: plain(value) for kind, value in gaps_between(judged, CANDIDATE).items()}
            results.append(gate(name, True, "no champion yet: the gaps are reported", **evidence, gaps=own))
            continue
        wider = {
            kind: _wider(judged, kind, limits.alpha / count)
            for kind in ("calibration_error", "false_reassurance")
        }
        bad = [
            k for k, found in wider.items() if found["value"] > limits.fairness.margin and found["low"] > 0
        ]
        unknown = [k for k, found in wider.items() if not math.isfinite(found["value"])]
        told = ", ".join(
            f"{k} {found['value']:+.4f}, at least {found['low']:+.4f}" for k, found in wider.items()
        )
        results.append(
            gate(
                name,
                not bad and not unknown,
                f"{'wider' if bad else 'not wider'} between {len(judged)} cohorts than the champion's: {told}; "
                f"margin {limits.fairness.margin:g}",
                **evidence,
                gaps={k: {part: plain(v) for part, v in found.items()} for k, found in wider.items()},
            )
        )
    return results


def gaps_between(cohorts: Sequence[Cohort], scorer: str) -> dict[str, float]:
    """Worst minus best cohort, of calibration error and of false reassurance."""
    return {kind: float(_gap(cohorts, scorer, kind)) for kind in ("calibration_error", "false_reassurance")}


def _gap(cohorts: Sequence[Cohort], scorer: str, kind: str, without: int | None = None) -> float:
    found = []
    for cohort in cohorts:
        kept = np.ones(len(cohort.rows), dtype=bool)
        if without is not None:
            kept[without] = False
        if kind == "calibration_error":
            top, bottom = signed_gap(cohort.scored[scorer]["gaps"][kept]).sum(), cohort.rows[kept].sum()
        else:
            top, bottom = cohort.scored[scorer]["missed"][kept].sum(), cohort.labels[kept].sum()
        found.append(top / bottom if bottom > 0 else math.nan)
    return float(np.max(found) - np.min(found))


def _wider(cohorts: Sequence[Cohort], kind: str, error: float) -> dict[str, float]:
    days = len(cohorts[0].rows)
    mine, theirs = _gap(cohorts, CANDIDATE, kind), _gap(cohorts, CHAMPION, kind)
    left = np.array(
        [_gap(cohorts, CANDIDATE, kind, d) - _gap(cohorts, CHAMPION, kind, d) for d in range(days)]
    )
    spread = math.sqrt((days - 1) / days * float(((left - left.mean()) ** 2).sum())) if days > 1 else math.nan
    estimate = Estimate(mine - theirs, spread, days, int(sum(c.rows.sum() for c in cohorts)))
    return {"candidate": mine, "champion": theirs, "value": mine - theirs, "low": estimate.bound(error)[0]}
