"""The loop file: one model's improvement loop, validated.

`load_loop` reads loops/<name>.yml and answers with a frozen `Loop`, or with a `LoopFileError` that names
file, line, key and remedy. docs/loop-file.md explains the keys. Nothing here reads anything but the file.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from ratchet.loop_alerts import Alerts, NotifyChannel
from ratchet.loop_feedback import Feedback
from ratchet.loop_governance import Approvals, Holdback, Releases
from ratchet.loop_measures import Measures
from ratchet.loop_privacy import Privacy, Receipts
from ratchet.loop_terms import EvaluationGates, Gates, Training
from ratchet.loop_triggers import Triggers

NAME = re.compile(r"^[a-z][a-z0-9_]{0,40}$")
Name = str
Share = float


class LoopFileError(ValueError):
    """A loop file that can't be used: every finding with file, line, key and remedy."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Owner(_Part):
    team: str = Field(min_length=1)
    name: str = Field(min_length=1)
    contact: str = Field(min_length=3)
    escalation: str = Field(min_length=3)


class Label(_Part):
    name: str
    outcome: str
    threshold: float
    maturity_hours: int = Field(gt=0)
    unresolved: Literal["exclude"]


class Prediction(_Part):
    lead_hours: float = Field(ge=0)
    influences_outcome: bool


class DataSpan(_Part):
    start: date
    end: date | None = None


class Source(_Part):
    """Where a source's rows come from.

    `files`: partitions received_date=YYYY-MM-DD under `location`, a folder or an address that fsspec knows (the
    default is <landing>/<loop>/<source>). `table`: rows of `table`, by their received_at. `stream`: messages of
    a Redis stream. What a table or a stream gives is spooled as files first, so that every row lands the same
    way. `connection` names where the address and its secret are kept, never the address itself.
    """

    adapter: Literal["files", "table", "stream"] = "files"
    format: Literal["jsonl", "csv", "parquet"] | None = None
    reference: bool = False
    location: str | None = None
    connection: Name | None = None
    table: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")
    stream: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:-]{1,200}$")
    group: Name = "ratchet"
    batch_rows: int = Field(default=10_000, gt=0, le=1_000_000)
    overlap_minutes: int = Field(default=60, ge=0)
    received_lag_minutes: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _fits_adapter(self) -> Source:
        needed = {"files": ("format",), "table": ("connection", "table"), "stream": ("connection", "stream")}
        own = {"files": {"format", "location", "connection"}, "table": {"connection", "table"}}
        own["stream"] = {"connection", "stream"}
        missing = [name for name in needed[self.adapter] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"adapter {self.adapter} needs {' and '.join(missing)}: add it")
        given = {
            n for n in ("format", "location", "connection", "table", "stream") if getattr(self, n) is not None
        }
        extra = sorted(given - own[self.adapter])
        if extra:
            raise ValueError(f"adapter {self.adapter} has no {', '.join(extra)}: take it out")
        return self


class Reach(_Part):
    lookback_days: int = Field(ge=0)
    amend_days: int = Field(ge=0)
    ahead_days: int = Field(ge=0)


class Features(_Part):
    table: str
    numeric: tuple[str, ...] = Field(min_length=1)
    categorical: dict[str, tuple[str, ...]] = {}
    never: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Feature names in contract order: numeric, then categorical."""
        return (*self.numeric, *self.categorical)

    @model_validator(mode="after")
    def _disjoint(self) -> Features:
        twice = sorted({c for c in self.columns if self.columns.count(c) > 1})
        if twice:
            raise ValueError(f"feature listed twice: {', '.join(twice)}; name each once")
        for name, values in self.categorical.items():
            if len(set(values)) < len(values):
                raise ValueError(f"{name} lists a value twice; its position is the value's code")
        forbidden = sorted(set(self.columns) & set(self.never))
        if forbidden:
            raise ValueError(
                f"{', '.join(forbidden)} is known only after the prediction; take it out of the features"
            )
        return self


class Cohorts(_Part):
    dimensions: tuple[str, ...] = Field(min_length=1)
    min_units: int = Field(gt=0)
    min_clusters: int = Field(gt=1)
    pool_small_as: str
    without_evidence: Literal["hold", "exclude", "accept"] = "hold"


class Metrics(_Part):
    primary: Literal["log_loss", "brier"]
    secondary: tuple[Literal["log_loss", "brier"], ...] = ()


class Guardrail(_Part):
    metric: Literal["rating", "rating_rate", "ticket_rate", "outcome_rate", "brier", "log_loss", "latency_ms"]
    kind: Literal["paired", "between_arms"]
    better: Literal["higher", "lower"]
    margin: float = Field(gt=0)
    maturity_hours: int = Field(ge=0)
    min_clusters: int = Field(gt=0)
    covariate: Literal["champion_score"] | None = None

    @model_validator(mode="after")
    def _can_be_measured(self) -> Guardrail:
        if self.kind == "paired" and (self.metric not in ("brier", "log_loss") or self.better != "lower"):
            raise ValueError(
                "paired are the losses brier and log_loss, better lower; compare this one between_arms"
            )
        if self.covariate and (self.metric != "rating" or self.kind != "between_arms"):
            raise ValueError("champion_score is kept as a covariate of rating, between_arms; take it out")
        return self


class Monitoring(_Part):
    served_features_sample: Share = Field(gt=0, le=1)
    min_group: int = Field(default=10, gt=0)
    alerts: Alerts = Alerts()
    notify: tuple[NotifyChannel, ...] = ()
    measures: Measures = Measures()


class Stage(_Part):
    name: Name
    share: Share = Field(ge=0, le=0.5)
    min_days: int = Field(gt=0)


class Rollout(_Part):
    alpha: float = Field(gt=0, lt=0.5)
    spending_power: float = Field(gt=0)
    cluster_shape: Literal["symmetric", "skewed"] = "symmetric"
    horizon_days: int = Field(gt=1)
    horizon_clusters: int | None = Field(default=None, gt=1)
    minimum_effect: float | None = Field(default=None, gt=0)
    min_clusters: int = Field(gt=1)
    sample_ratio_alpha: float = Field(gt=0, lt=0.5)
    rollback_alpha: float = Field(gt=0, lt=0.5)
    cohort_alpha: float = Field(default=0.04, gt=0, lt=0.5)
    guardrail_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    stages: tuple[Stage, ...] = Field(min_length=2)
    holdback: Holdback | None = None

    @property
    def information(self) -> int:
        """The planned number of clusters: as many as days unless the loop file says otherwise."""
        return self.horizon_clusters or self.horizon_days

    @field_validator("stages")
    @classmethod
    def _ramp(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        shares = [stage.share for stage in stages]
        if shares[0] != 0:
            raise ValueError("the first stage is the shadow: give it share 0.0")
        if shares != sorted(shares):
            raise ValueError("shares must not fall from one stage to the next")
        return stages


class Policy(_Part):
    score_bounds: tuple[float, float]
    max_challenger_share: Share = Field(gt=0, le=0.5)
    privacy: Privacy


class Loop(_Part):
    """One loop, as loops/<name>.yml declares it."""

    loop: Name
    goal: str = Field(min_length=10)
    owner: Owner
    label: Label
    prediction: Prediction
    data_span: DataSpan
    unit: str
    cluster: str
    timezone: str
    sources: dict[str, Source]
    reach: Reach
    features: Features
    cohorts: Cohorts
    metrics: Metrics
    guardrails: tuple[Guardrail, ...] = Field(min_length=1)
    monitoring: Monitoring
    triggers: Triggers
    training: Training
    gates: Gates
    rollout: Rollout
    approvals: Approvals
    releases: Releases = Releases()
    feedback: Feedback = Feedback()
    receipts: Receipts = Receipts()
    policy: Policy

    @field_validator("loop")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.match(value):
            raise ValueError("use lower-case letters, digits and underscores, starting with a letter")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Loop:
        required = {"predictions", "served_features", "outcomes", "feedback", "telemetry"}
        missing = sorted(required - set(self.sources))
        if missing:
            raise ValueError(f"sources lacks {', '.join(missing)}: every loop has them")
        unknown = sorted(set(self.cohorts.dimensions) - set(self.features.categorical))
        if unknown:
            raise ValueError(f"cohort dimension {', '.join(unknown)} is no categorical feature")
        unknown = self._unknown_columns(self.gates.evaluation)
        if unknown:
            raise ValueError(
                f"gates.evaluation names {', '.join(unknown)}: name features, or cohort dimensions"
            )
        weights = self.feedback.learn.weights
        if weights is not None and weights.feature not in self.features.numeric:
            raise ValueError(
                f"feedback.learn.weights.feature is {weights.feature}: name one of features.numeric"
            )
        alerts = self.monitoring.alerts
        unknown = sorted(set(alerts.feeds) - set(self.sources)) + sorted(
            {name for features in alerts.feeds.values() for name in features} - set(self.features.columns)
        )
        if unknown:
            raise ValueError(
                f"monitoring.alerts.feeds names {', '.join(unknown)}: name sources, and features made of them"
            )
        limits = EvaluationGates.model_fields
        unknown = sorted(
            key
            for key in self.triggers.urgent.gate_limits
            if key not in limits or limits[key].annotation is not float
        )
        if unknown:
            raise ValueError(
                f"triggers.urgent.gate_limits names {', '.join(unknown)}: name limits of gates.evaluation"
            )
        top = max(stage.share for stage in self.rollout.stages)
        if top > self.policy.max_challenger_share:
            raise ValueError(
                f"a rollout stage gives the challenger {top:.0%}, policy.max_challenger_share allows "
                f"{self.policy.max_challenger_share:.0%}"
            )
        for action in ("advance", "promote", "urgent"):
            rule = self.approvals.rule(action)
            if rule is not None and len(self.approvals.people(rule, self.owner.name)) < rule.count:
                raise ValueError(
                    f"approvals.{action} needs {rule.count} people and names fewer: name as many different ones"
                )
        if self.cohorts.without_evidence == "accept" and self.approvals.rule("promote") is None:
            raise ValueError(
                "cohorts.without_evidence: accept needs somebody to sign: give approvals.promote a rule"
            )
        if any(g.kind == "paired" for g in self.guardrails) and self.prediction.influences_outcome:
            raise ValueError(
                "a paired guardrail needs prediction.influences_outcome: false; compare between arms instead"
            )
        return self

    def _unknown_columns(self, gates: EvaluationGates) -> list[str]:
        """What the gates' rules name that the loop does not have."""
        mutations, numeric = gates.mutations, set(self.features.numeric)
        found = {*mutations.invariant, *mutations.monotone} - numeric
        found |= {name for group in gates.ablation.groups.values() for name in group} - {
            *self.features.columns
        }
        found |= {*gates.fairness.dimensions} - {*self.cohorts.dimensions}
        return sorted(found)


_REMEDY = {
    "extra_forbidden": "unknown key: take it out, or correct its spelling",
    "missing": "missing key: add it",
    "too_short": "too few entries",
}


def _line(node: Any, path: tuple[Any, ...]) -> int:
    """The 1-based line of the deepest part of `path` that the file has."""
    line = 1
    for key in path:
        if isinstance(node, CommentedMap) and key in node:
            line = node.lc.key(key)[0] + 1
            node = node[key]
        elif isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
            line = node.lc.item(key)[0] + 1
            node = node[key]
        else:
            break
    return line


def load_loop(path: Path) -> Loop:
    """The loop that `path` declares.

    Raises:
        LoopFileError: not YAML, an unknown or missing key, a value out of range, a rollout without a
            guardrail, a missing owner; each with file, line, key and remedy.
    """
    try:
        tree = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoopFileError(f"{path}: no such loop file") from None
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise LoopFileError(f"{path}:{line}: not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(tree, dict):
        raise LoopFileError(f"{path}:1: a loop file is a mapping of keys; this is {type(tree).__name__}")
    try:
        loop = Loop.model_validate(_plain(tree))
    except ValidationError as error:
        found = []
        for item in error.errors():
            where = item["loc"]
            key = ".".join(str(part) for part in where) or "(file)"
            remedy = _REMEDY.get(item["type"], item["msg"])
            if where and where[0] == "guardrails" and item["type"] in ("missing", "too_short"):
                remedy = "a rollout needs at least one guardrail: declare what must not get worse"
            found.append(f"{path}:{_line(tree, where)}: {key}: {remedy}")
        raise LoopFileError("\n".join(found)) from None
    if loop.loop != path.stem:
        raise LoopFileError(
            f"{path}:{_line(tree, ('loop',))}: loop: is {loop.loop!r} but the file is named {path.stem!r}; "
            "make them equal"
        )
    return loop


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node


def load_loops(folder: Path) -> dict[str, Loop]:
    """Every loop of `folder` by name, in name order.

    Raises:
        LoopFileError: a file is unusable, or the folder holds none.
    """
    loops = {path.stem: load_loop(path) for path in sorted(folder.glob("*.yml"))}
    if not loops:
        raise LoopFileError(f"{folder} holds no loop file; add <name>.yml")
    return loops
