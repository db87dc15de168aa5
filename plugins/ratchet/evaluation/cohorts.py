"""No cohort may pay for the average: quality and calibration within each.

Small cohorts are pooled; one that stays too small, also after pooling, is `not enough evidence`: it does not
refuse, and is named so that nobody takes it for a pass. A cohort is refused when it is worse by more than the
margin *and* worse than zero beyond chance, after Holm's correction over all that were judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import ndtr

from ratchet.evaluation.facts import GateResult, gate
from ratchet.evaluation.intervals import Floats
from ratchet.evaluation.sums import CANDIDATE, CHAMPION, CONSTANT
from ratchet.experiment.paired import Estimate, holm, plain, ratio_estimate

if TYPE_CHECKING:
    from ratchet.loop import Loop

State = Literal["not worse", "worse", "not enough evidence"]


@dataclass(frozen=True)
class Cohort:
    """One cohort's sums by day; `pooled` names the values that were too small on their own."""

    dimension: str
    value: str
    rows: Floats
    labels: Floats
    scored: Mapping[str, Mapping[str, Floats]]
    is_judged: bool
    pooled: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`dimension=value`."""
        return f"{self.dimension}={self.value}"

    @property
    def clusters(self) -> int:
        """Days that have rows."""
        return int((self.rows > 0).sum())

    @property
    def reference(self) -> str:
        """Who the candidate is compared with: the champion, or the constant while there is none."""
        return CHAMPION if CHAMPION in self.scored else CONSTANT

    def gain(self) -> Estimate:
        """Loss of the reference minus the candidate's, per row."""
        return ratio_estimate(self.scored[self.reference]["loss"] - self.scored[CANDIDATE]["loss"], self.rows)

    def among(self, kind: str) -> Floats:
        """By day the rows that can show this kind of error."""
        return self.labels if kind == "false_reassurance" else self.rows - self.labels


def cohorts_of(loop: Loop, sums: Mapping[str, Any]) -> tuple[Cohort, ...]:
    """The cohorts of the loop's dimensions, small ones pooled, by dimension, then value.

    Raises:
        ValueError: a dimension has no sums.
    """
    if sums.get("cohort_faults"):
        raise ValueError("; ".join(sums["cohort_faults"]))
    found: list[Cohort] = []
    for dimension in loop.cohorts.dimensions:
        values = sums["cohorts"].get(dimension)
        if not values:
            raise ValueError(f"no sums for dimension {dimension}")
        cells = [_cell(dimension, value, values[value], loop) for value in sorted(values)]
        counted = np.sum([cell.rows for cell in cells], axis=0).tolist()
        if counted != sums["windows"][-1]["rows"]:
            raise ValueError(f"the cohorts of {dimension} do not add up to the newest window's rows by day")
        found += [cell for cell in cells if cell.is_judged]
        small = [cell for cell in cells if not cell.is_judged]
        if small:
            found.append(_pool(dimension, loop, small))
    return tuple(
        sorted(found, key=lambda cohort: (loop.cohorts.dimensions.index(cohort.dimension), cohort.value))
    )


def _cell(dimension: str, value: str, content: Mapping[str, Any], loop: Loop) -> Cohort:
    rows = np.asarray(content["rows"], dtype=np.float64)
    names = [name for name in (CANDIDATE, CHAMPION, CONSTANT) if name in content]
    if CANDIDATE not in names or len(names) < 2:
        raise ValueError(f"{dimension}={value} has sums of {', '.join(names) or 'nobody'} only")
    scored = {
        name: {
            part: np.asarray(content[name][part], dtype=np.float64)
            for part in ("loss", "missed", "alarms", "gaps")
        }
        for name in names
    }
    for name, parts in scored.items():
        for part, sums in parts.items():
            if len(sums) != len(rows) or not np.isfinite(sums).all():
                raise ValueError(f"{part} of the {name} in {dimension}={value} is not {len(rows)} numbers")
    return Cohort(
        dimension, value, rows, np.asarray(content["labels"], dtype=np.float64), scored, _is_large(rows, loop)
    )


def _is_large(rows: Floats, loop: Loop) -> bool:
    return bool(rows.sum() >= loop.cohorts.min_units and (rows > 0).sum() >= loop.cohorts.min_clusters)


def _pool(dimension: str, loop: Loop, small: Sequence[Cohort]) -> Cohort:
    rows = np.sum([cell.rows for cell in small], axis=0)
    scored = {
        name: {part: np.sum([cell.scored[name][part] for cell in small], axis=0) for part in parts}
        for name, parts in small[0].scored.items()
    }
    labels = np.sum([cell.labels for cell in small], axis=0)
    pooled = tuple(cell.value for cell in small)
    return Cohort(dimension, loop.cohorts.pool_small_as, rows, labels, scored, _is_large(rows, loop), pooled)


def signed_gap(gaps: Floats) -> Floats:
    """By day the gap between scores and labels over bins, each bin signed by the other days.

    The sum over days divided by the rows is a calibration error without the bias of the plain one: noise,
    which makes each absolute gap of a small cohort larger than zero, has no sign that the other days foretell.
    """
    others = gaps.sum(axis=0)[None, :] - gaps
    return np.asarray((np.sign(others) * gaps).sum(axis=1))


def calibration_of(cohort: Cohort, scorer: str) -> Estimate:
    """A scorer's calibration error within the cohort, errors over days."""
    return ratio_estimate(signed_gap(cohort.scored[scorer]["gaps"]), cohort.rows)


def quality_gates(loop: Loop, cohorts: Sequence[Cohort]) -> list[GateResult]:
    """A gate for each cohort, and one for each dimension that has no cohort with enough evidence."""
    limits = loop.gates.evaluation
    gains = [cohort.gain() for cohort in cohorts]
    judged = [cohort.is_judged and gain.is_usable for cohort, gain in zip(cohorts, gains, strict=True)]
    p_values = [
        float(ndtr(gain.z)) if usable else math.nan for gain, usable in zip(gains, judged, strict=True)
    ]
    compared = sum(judged)
    rejected = rejections(p_values, limits.alpha)
    results = []
    for cohort, gain, usable, p_value, is_rejected in zip(
        cohorts, gains, judged, p_values, rejected, strict=True
    ):
        state: State = "not enough evidence"
        if usable:
            state = "worse" if -gain.value > limits.cohort_margin and is_rejected else "not worse"
        results.append(
            gate(
                f"cohort:{cohort.name}",
                state != "worse",
                f"{state}: {loop.metrics.primary} is {-gain.value:+.4f} against the "
                f"{cohort.reference}'s on {gain.units} units and {gain.clusters} days, "
                f"p = {p_value:.4f} among {compared} cohorts; margin {limits.cohort_margin:g}",
                state=state,
                reference=cohort.reference,
                p_value=plain(p_value),
                compared=compared,
                pooled=list(cohort.pooled),
                margin=limits.cohort_margin,
                **gain.evidence(limits.alpha),
            )
        )
    for dimension in loop.cohorts.dimensions:
        told = [
            usable for cohort, usable in zip(cohorts, judged, strict=True) if cohort.dimension == dimension
        ]
        if not any(told):
            results.append(
                gate(f"cohort:{dimension}", False, f"no cohort of {dimension} has enough evidence")
            )
    return results


def calibration_gate(loop: Loop, cohorts: Sequence[Cohort]) -> GateResult:
    """No judged cohort's calibration error is above the limit beyond chance, after Bonferroni's correction."""
    limits, judged = loop.gates.evaluation, [cohort for cohort in cohorts if cohort.is_judged]
    if not judged:
        return gate("calibration_by_cohort", False, "no cohort has enough evidence", cohorts={})
    error, limit = limits.alpha / len(judged), limits.cohort_calibration_error
    table: dict[str, Any] = {}
    bad: list[str] = []
    worst, worst_low = "", -math.inf
    for cohort in cohorts:
        found = calibration_of(cohort, CANDIDATE)
        low = found.bound(error)[0]
        is_bad = cohort.is_judged and not low <= limit
        state = ("off" if is_bad else "not off") if cohort.is_judged else "not enough evidence"
        table[cohort.name] = {
            "state": state,
            "value": plain(found.value),
            "low": plain(low),
            "units": found.units,
        }
        bad += [cohort.name] if is_bad else []
        if cohort.is_judged and low > worst_low:
            worst, worst_low = cohort.name, low
    reason = f"{', '.join(bad)} is off" if bad else "no cohort is off"
    return gate(
        "calibration_by_cohort",
        not bad,
        f"{reason}: the highest is {worst}, at least {worst_low:.4f}; limit {limit:g}, {len(judged)} cohorts judged",
        cohorts=table,
        limit=limit,
        one_sided_error=error,
    )


def rejections(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Holm's rejections over the p-values that are known; an unknown one is never rejected, nor counted."""
    known = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    answers = holm([p_values[i] for i in known], alpha)
    rejected = [False] * len(p_values)
    for i, answer in zip(known, answers, strict=True):
        rejected[i] = answer
    return rejected
