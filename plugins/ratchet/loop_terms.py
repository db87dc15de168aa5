"""The parts of a loop file that make and judge a candidate: how it is trained, which gates it has to pass.

docs/loop-file.md explains the keys. Every limit is required: a gate without one would be open by default.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = float
#: What an objective may bound or weigh. Positive weights reward, negative ones punish.
Measure = Literal[
    "log_loss",
    "brier",
    "auc",
    "calibration_error",
    "false_reassurance",
    "false_alarm",
    "fairness_gap",
    "latency_ms_per_1000",
    "model_megabytes",
    "training_seconds",
    "training_megabytes",
]
#: Known of a candidate only: the champion was trained on another day, on another machine perhaps.
CANDIDATE_ONLY = ("training_seconds", "training_megabytes")


class Part(BaseModel):
    """A part of a loop file: unknown keys are refused, nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Search(Part):
    """A bounded, seeded search of parameters before the first evaluation window; 0 trials: none."""

    trials: int = Field(ge=0, le=500)
    folds: int = Field(gt=0, le=10)
    max_rows: int = Field(gt=0)
    space: dict[str, tuple[float | int, float | int]] = {}

    @model_validator(mode="after")
    def _has_a_space(self) -> Search:
        if self.trials and not self.space:
            raise ValueError("space is empty: name at least one parameter with its range, or set trials to 0")
        wrong = sorted(name for name, (low, high) in self.space.items() if not 0 < low < high)
        if wrong:
            raise ValueError(f"range of {', '.join(wrong)}: give [low, high] with 0 < low < high")
        return self


class Training(Part):
    holdout_days: int = Field(gt=0)
    embargo_days: int = Field(ge=0)
    windows: int = Field(gt=0, le=12)
    min_windows: int = Field(gt=0)
    min_rows: int = Field(gt=0)
    seed: int
    params: dict[str, float | int]
    search: Search

    @model_validator(mode="after")
    def _enough_windows(self) -> Training:
        if self.min_windows > self.windows:
            raise ValueError(f"min_windows is {self.min_windows}, but windows only {self.windows}")
        return self


class Ablation(Part):
    """Groups of features, each left out in turn of a small fit on the newest `max_rows` training rows."""

    margin: float = Field(ge=0)
    max_rows: int = Field(gt=0)
    groups: dict[str, tuple[str, ...]] = Field(min_length=1)


class Mutations(Part):
    """Changes of inputs that must not move a score, must move it one way, or must leave it usable."""

    invariant: dict[str, float]
    invariant_tolerance: float = Field(gt=0, lt=1)
    monotone: dict[str, Literal["up", "down"]]
    monotone_violations: Share = Field(ge=0, lt=1)
    missing: Literal[True]
    unseen_category: Literal[True]
    score_bounds: tuple[float, float]

    @model_validator(mode="after")
    def _bounds(self) -> Mutations:
        low, high = self.score_bounds
        if not 0 <= low < high <= 1:
            raise ValueError("score_bounds: give [low, high] with 0 <= low < high <= 1")
        if any(not step > 0 for step in self.invariant.values()):
            raise ValueError("invariant: each feature's change must be more than 0")
        return self


class Fairness(Part):
    dimensions: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(gt=0, lt=1)


class Bound(Part):
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one(self) -> Bound:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give either at_most or at_least")
        return self


class Objective(Part):
    """Bounds that must hold, then a weighted sum that must not fall below the champion's by `margin`."""

    must: dict[Measure, Bound]
    utility: dict[Measure, float] = Field(min_length=1)
    margin: float = Field(ge=0)

    @model_validator(mode="after")
    def _comparable(self) -> Objective:
        alone = sorted(set(self.utility) & set(CANDIDATE_ONLY))
        if alone:
            raise ValueError(f"utility: {', '.join(alone)} is not known of the champion; bound it under must")
        return self


class EvaluationGates(Part):
    alpha: float = Field(gt=0, lt=0.5)
    champion_margin: float = Field(ge=0)
    new_data_margin: float = Field(ge=0)
    baseline_margin: float = Field(ge=0)
    simpler_margin: float = Field(ge=0)
    cohort_margin: float = Field(gt=0)
    calibration_error: float = Field(gt=0, lt=1)
    cohort_calibration_error: float = Field(gt=0, lt=1)
    decision_threshold: float = Field(gt=0, lt=1)
    error_share_margin: float = Field(gt=0, lt=1)
    fairness: Fairness
    single_feature_auc: float = Field(gt=0.5, lt=1)
    stability: float = Field(gt=0, lt=1)
    mutations: Mutations
    ablation: Ablation
    latency_ms_per_1000: float = Field(gt=0)
    model_megabytes: float = Field(gt=0)
    training_seconds: float = Field(gt=0)
    training_megabytes: float = Field(gt=0)
    objective: Objective


class Gates(Part):
    evaluation: EvaluationGates
