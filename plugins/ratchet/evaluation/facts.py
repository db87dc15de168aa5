"""What is known of a candidate beside its scores, and the gates that need no score."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from ratchet.experiment.paired import plain

if TYPE_CHECKING:
    from ratchet.loop import Loop

Answer = Literal["pass", "refuse"]


@dataclass(frozen=True)
class CandidateFacts:
    """What is known of a candidate beside its scores. Dates are departure dates, inclusive.

    `champion_train_end` is the `train_end` of the champion's own evaluation, None only when no champion ever
    existed. `overlapping_units` counts evaluation units that are among the training units.
    `latency_ms_per_1000` is milliseconds per 1,000 rows scored.
    """

    train_start: date
    train_end: date
    eval_start: date
    eval_end: date
    champion_train_end: date | None
    feature_columns: tuple[str, ...]
    train_rows: int
    overlapping_units: int
    model_bytes: int
    latency_ms_per_1000: float
    champion_rows_end: date | None = None
    """Last departure date among the rows that the serving champion was fitted on."""

    def evidence(self) -> dict[str, Any]:
        """Plain types for a record."""
        content = {k: v.isoformat() if isinstance(v, date) else v for k, v in asdict(self).items()}
        return {
            **content,
            "feature_columns": list(self.feature_columns),
            "latency_ms_per_1000": plain(self.latency_ms_per_1000),
        }


@dataclass(frozen=True)
class GateResult:
    """One gate's answer, why, and the numbers behind it."""

    name: str
    verdict: Answer
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """The verdict on a candidate: pass when every gate passed. `metrics` is by scorer, then metric."""

    verdict: Answer
    gates: tuple[GateResult, ...]
    metrics: dict[str, dict[str, float | None]]

    @property
    def refusals(self) -> tuple[GateResult, ...]:
        """The gates that refused."""
        return tuple(gate for gate in self.gates if gate.verdict == "refuse")

    def to_json(self) -> dict[str, Any]:
        """Plain types for a record."""
        return {
            "verdict": self.verdict,
            "gates": [asdict(gate) for gate in self.gates],
            "metrics": self.metrics,
        }


def gate(name: str, is_passed: bool, reason: str, **evidence: Any) -> GateResult:
    """A gate's answer from a condition."""
    return GateResult(name, "pass" if is_passed else "refuse", reason, evidence)


def gates_of_facts(loop: Loop, frame: pd.DataFrame, facts: CandidateFacts) -> list[GateResult]:
    """The answers that rest on windows, columns, size and latency; `frame` has the evaluation rows."""
    return [
        _configured(loop),
        _window_stale(facts),
        _window_overlap(loop, frame, facts),
        _feature_contract(loop, facts),
        _latency(loop, facts),
        _size(loop, facts),
    ]


def _configured(loop: Loop) -> GateResult:
    limits = loop.gates.evaluation
    values = {
        name: getattr(limits, name, None)
        for name in (
            "alpha",
            "champion_margin",
            "baseline_margin",
            "simpler_margin",
            "cohort_margin",
            "calibration_error",
            "single_feature_auc",
            "latency_ms_per_1000",
            "model_megabytes",
        )
    }
    unset = [name for name, value in values.items() if value is None or not math.isfinite(value)]
    reason = f"no usable limit for {', '.join(unset)}" if unset else f"{len(values)} limits are set"
    return gate(
        "gates_configured", not unset, reason, limits={k: v for k, v in values.items() if k not in unset}
    )


def _window_stale(facts: CandidateFacts) -> GateResult:
    name = "training_window_stale"
    if facts.champion_train_end is None:
        return gate(
            name,
            True,
            f"no champion yet; training rows end on {facts.train_end}",
            train_end=facts.train_end.isoformat(),
            champion_train_end=None,
        )
    fresh = facts.train_end >= facts.champion_train_end
    return gate(
        name,
        fresh,
        f"training rows end on {facts.train_end}, the champion's on "
        f"{facts.champion_train_end}: {'not older' if fresh else 'older than what it would replace'}",
        train_end=facts.train_end.isoformat(),
        champion_train_end=facts.champion_train_end.isoformat(),
    )


def _window_overlap(loop: Loop, frame: pd.DataFrame, facts: CandidateFacts) -> GateResult:
    name, embargo = "window_overlap", loop.training.embargo_days
    gap = (facts.eval_start - facts.train_end).days - 1
    evidence = {
        "train_start": facts.train_start.isoformat(),
        "train_end": facts.train_end.isoformat(),
        "eval_start": facts.eval_start.isoformat(),
        "eval_end": facts.eval_end.isoformat(),
        "days_between": gap,
        "embargo_days": embargo,
        "overlapping_units": facts.overlapping_units,
    }
    if "departure_date" not in frame.columns or frame.empty:
        return gate(name, False, "the evaluation rows have no departure_date, or there are none", **evidence)
    dates = pd.to_datetime(frame["departure_date"]).dt.date
    if dates.isna().any() or min(dates) < facts.eval_start or max(dates) > facts.eval_end:
        return gate(
            name, False, f"evaluation rows lie outside {facts.eval_start} to {facts.eval_end}", **evidence
        )
    if facts.train_start > facts.train_end or facts.train_rows <= 0:
        return gate(
            name,
            False,
            f"{facts.train_rows} training rows from {facts.train_start} to {facts.train_end}",
            **evidence,
        )
    if facts.champion_rows_end is not None and facts.champion_rows_end >= facts.eval_start:
        return gate(
            name,
            False,
            f"the champion was fitted on rows up to {facts.champion_rows_end}, the evaluation starts on "
            f"{facts.eval_start}: it would be compared on rows it knows; retrain later",
            **evidence,
        )
    if gap < embargo:
        return gate(
            name,
            False,
            f"{gap} days lie between the last training day {facts.train_end} and the first "
            f"evaluation day {facts.eval_start}; {embargo} are required",
            **evidence,
        )
    if facts.overlapping_units:
        return gate(name, False, f"{facts.overlapping_units} evaluation units were trained on", **evidence)
    return gate(name, True, f"{gap} days between training and evaluation rows, no unit in both", **evidence)


def _feature_contract(loop: Loop, facts: CandidateFacts) -> GateResult:
    used, agreed = facts.feature_columns, loop.features.columns
    never = sorted(set(used) & set(loop.features.never))
    unknown = sorted(set(used) - set(agreed) - set(never))
    absent = sorted(set(agreed) - set(used))
    faults = []
    if never:
        faults.append(f"{', '.join(never)} is known only after the prediction")
    if unknown:
        faults.append(f"{', '.join(unknown)} is not in the loop's features")
    if absent:
        faults.append(f"{', '.join(absent)} is missing")
    if not faults and tuple(used) != tuple(agreed):
        faults.append("the features stand in another order than the loop file's")
    return gate(
        "feature_contract",
        not faults,
        "; ".join(faults) or f"{len(used)} features, as the loop file has",
        never=never,
        unknown=unknown,
        missing=absent,
    )


def _latency(loop: Loop, facts: CandidateFacts) -> GateResult:
    limit, value = loop.gates.evaluation.latency_ms_per_1000, facts.latency_ms_per_1000
    return gate(
        "latency",
        0 < value <= limit,
        f"{value:.1f} ms per 1,000 rows, limit {limit:g}",
        value=plain(value),
        limit=limit,
    )


def _size(loop: Loop, facts: CandidateFacts) -> GateResult:
    limit, value = loop.gates.evaluation.model_megabytes, facts.model_bytes / 1e6
    return gate(
        "size", 0 < value <= limit, f"model is {value:.2f} MB, limit {limit:g}", value=value, limit=limit
    )
