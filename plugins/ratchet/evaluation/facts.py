"""What is known of a candidate beside its sums, and the gates that rest on it alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from ratchet.experiment.paired import plain, unplain
from ratchet.loop_terms import Bound

if TYPE_CHECKING:
    from ratchet.loop import Loop

Answer = Literal["pass", "refuse"]


@dataclass(frozen=True)
class CandidateFacts:
    """What is known of a candidate beside its scores. Dates are departure dates, inclusive.

    `champion_train_end` is the `train_end` of the champion's own evaluation, None only when no champion ever
    existed. `overlapping_units` counts evaluation units that are among the training units. Latencies are
    milliseconds per 1,000 rows scored; `training_seconds` is the time of the fit on all rows,
    `training_megabytes` the largest memory of the process that fitted.
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
    training_seconds: float = math.nan
    training_megabytes: float = math.nan
    champion_bytes: int = 0
    champion_latency_ms_per_1000: float = math.nan

    def evidence(self) -> dict[str, Any]:
        """Plain types for a record."""
        content: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if isinstance(value, date):
                content[name] = value.isoformat()
            elif isinstance(value, float):
                content[name] = plain(value)
            else:
                content[name] = list(value) if isinstance(value, tuple) else value
        return content

    @classmethod
    def from_evidence(cls, content: Mapping[str, Any]) -> CandidateFacts:
        """The facts that `evidence` wrote.

        Raises:
            KeyError, TypeError, ValueError: a fact is missing or of another type.
        """

        def day(name: str) -> date | None:
            value = content[name]
            return None if value is None else date.fromisoformat(value)

        def known_day(name: str) -> date:
            return date.fromisoformat(content[name])

        return cls(
            train_start=known_day("train_start"),
            train_end=known_day("train_end"),
            eval_start=known_day("eval_start"),
            eval_end=known_day("eval_end"),
            champion_train_end=day("champion_train_end"),
            feature_columns=tuple(map(str, content["feature_columns"])),
            train_rows=int(content["train_rows"]),
            overlapping_units=int(content["overlapping_units"]),
            model_bytes=int(content["model_bytes"]),
            latency_ms_per_1000=unplain(content["latency_ms_per_1000"]),
            champion_rows_end=day("champion_rows_end"),
            training_seconds=unplain(content["training_seconds"]),
            training_megabytes=unplain(content["training_megabytes"]),
            champion_bytes=int(content["champion_bytes"]),
            champion_latency_ms_per_1000=unplain(content["champion_latency_ms_per_1000"]),
        )


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


def gates_of_facts(loop: Loop, sums: Mapping[str, Any], facts: CandidateFacts) -> list[GateResult]:
    """The answers that rest on windows, columns, size, latency and cost."""
    return [
        configured(loop),
        _window_stale(facts),
        window_overlap(loop, sums, facts),
        _feature_contract(loop, facts),
        *_budgets(loop, facts),
    ]


def configured(loop: Loop) -> GateResult:
    """Whether every limit is set and a number: a gate without one would be open."""
    limits: dict[str, float] = {}
    unset: list[str] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, BaseModel):
            inner = {name: getattr(value, name, None) for name in type(value).model_fields}
            if isinstance(value, Bound):
                inner = {name: side for name, side in inner.items() if side is not None}
            for name, part in inner.items():
                walk(part, f"{path}.{name}" if path else name)
        elif isinstance(value, Mapping):
            for name, part in value.items():
                walk(part, f"{path}.{name}")
        elif isinstance(value, (tuple, list)):
            for i, part in enumerate(value):
                walk(part, f"{path}[{i}]")
        elif value is None or (isinstance(value, float) and not math.isfinite(value)):
            unset.append(path)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            limits[path] = value

    walk(loop.gates.evaluation, "")
    reason = f"no usable limit for {', '.join(unset)}" if unset else f"{len(limits)} limits are set"
    return gate("gates_configured", bool(limits) and not unset, reason, limits=limits)


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


def window_overlap(loop: Loop, sums: Mapping[str, Any], facts: CandidateFacts) -> GateResult:
    """Whether every window's rows are later than, apart from, and disjoint with its training rows."""
    name, embargo = "window_overlap", loop.training.embargo_days
    windows = sums["windows"]
    gap = (facts.eval_start - facts.train_end).days - 1
    evidence = {
        "train_start": facts.train_start.isoformat(),
        "train_end": facts.train_end.isoformat(),
        "eval_start": facts.eval_start.isoformat(),
        "eval_end": facts.eval_end.isoformat(),
        "days_between": gap,
        "embargo_days": embargo,
        "overlapping_units": facts.overlapping_units,
        "windows": len(windows),
    }
    newest = windows[-1]
    told = [(newest["start"], facts.eval_start), (newest["end"], facts.eval_end)]
    told += [(newest["train_end"], facts.train_end), (newest["train_start"], facts.train_start)]
    if any(text != day.isoformat() for text, day in told):
        return gate(name, False, "the newest window's dates are not those of the facts", **evidence)
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
    if facts.overlapping_units:
        return gate(name, False, f"{facts.overlapping_units} evaluation units were trained on", **evidence)
    for window in windows:
        fault = _window_fault(window, embargo)
        if fault:
            return gate(name, False, fault, **evidence)
    return gate(
        name,
        True,
        f"{gap} days between training and evaluation rows, no unit in both, in {len(windows)} windows",
        **evidence,
    )


def _window_fault(window: Mapping[str, Any], embargo: int) -> str | None:
    start, end = date.fromisoformat(window["start"]), date.fromisoformat(window["end"])
    train_end = date.fromisoformat(window["train_end"])
    gap = (start - train_end).days - 1
    if not window["days"]:
        return f"the window from {start} to {end} has no evaluation rows"
    if min(window["days"]) < window["start"] or max(window["days"]) > window["end"]:
        return f"evaluation rows lie outside {start} to {end}"
    if not window["train_rows"] > 0:
        return f"nothing was trained on before the window from {start} to {end}"
    if gap < embargo:
        return (
            f"{gap} days lie between the last training day {train_end} and the first "
            f"evaluation day {start}; {embargo} are required"
        )
    if window["overlapping_units"] != 0:
        return f"{window['overlapping_units']} evaluation units of the window from {start} were trained on"
    return None


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


def _budgets(loop: Loop, facts: CandidateFacts) -> list[GateResult]:
    limits = loop.gates.evaluation
    told = (
        ("latency", facts.latency_ms_per_1000, limits.latency_ms_per_1000, "ms per 1,000 rows", 1),
        ("size", facts.model_bytes / 1e6, limits.model_megabytes, "MB of model", 2),
        ("training_time", facts.training_seconds, limits.training_seconds, "s to fit all rows", 1),
        (
            "training_memory",
            facts.training_megabytes,
            limits.training_megabytes,
            "MB at most while it was fitted",
            0,
        ),
    )
    return [
        gate(name, 0 < value <= limit, f"{value:.{digits}f} {unit}, limit {limit:g}",
             value=plain(value), limit=limit)
        for name, value, limit, unit, digits in told
    ]  # fmt: skip
