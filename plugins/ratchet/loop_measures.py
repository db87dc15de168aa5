"""The part of a loop file that says from where on a measure is unusual. docs/monitoring.md explains the rules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ratchet.loop_terms import Part, Share


def _k_of_n(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1]:
        raise ValueError("give [k, n] with 1 <= k <= n")
    return value


class Inputs(Part):
    """When a feature has moved: beyond what its own days do, by enough, on k of n days."""

    reference: Literal["trailing", "training", "season"] = "trailing"
    window_days: int = Field(default=28, ge=7, le=366)
    k_of_n_days: tuple[int, int] = (2, 3)
    false_discovery: Share = Field(default=0.05, gt=0, lt=0.5)
    min_distance: Share = Field(default=0.03, gt=0, lt=1)
    min_share: Share = Field(default=0.05, gt=0, lt=1)
    false_alarms_per_month: float = Field(default=1.0, ge=0)

    _check = field_validator("k_of_n_days")(_k_of_n)


class Levels(Part):
    """When a daily number (volume, latency, an error rate, a complaint rate) has jumped."""

    window_days: int = Field(default=28, ge=7, le=366)
    k_of_n_days: tuple[int, int] = (2, 3)
    error: Share = Field(default=0.001, gt=0, lt=0.5)
    min_change: float = Field(default=0.2, gt=0)
    late_after_hours: float = Field(default=24, gt=0)
    leak_share: float = Field(default=0.1, gt=0)

    _check = field_validator("k_of_n_days")(_k_of_n)


class QualityLimits(Part):
    """Windows of quality, and what counts as near the decision threshold."""

    window_days: int = Field(default=7, gt=1)
    boundary_margin: Share = Field(default=0.04, gt=0, lt=0.5)
    error: Share = Field(default=0.05, gt=0, lt=0.5)
    cohort_margin: float = Field(default=0.05, gt=0)
    rate_margin: Share = Field(default=0.15, gt=0, lt=1)


class Classifier(Part):
    """The classifier that tells recent days from those before."""

    days: int = Field(default=14, ge=4)
    folds: int = Field(default=4, ge=2)
    min_auc: Share = Field(default=0.75, gt=0.5, lt=1)
    seed: int = 20130101


class Measures(Part):
    inputs: Inputs = Inputs()
    levels: Levels = Levels()
    quality: QualityLimits = QualityLimits()
    classifier: Classifier = Classifier()
