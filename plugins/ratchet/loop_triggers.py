"""The part of a loop file that says when a retrain is due, what it may cost, and what an urgent one does first."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = float


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(_Part):
    """What trainings of one calendar month (of their as-of, UTC) may cost together."""

    per_month: float = Field(gt=0)
    unit: Literal["cpu_seconds", "seconds"] = "cpu_seconds"


class RoutineTrigger(_Part):
    max_age_days: int = Field(gt=0)


class FeedbackLimit(_Part):
    """The share of answers about one category above which a retrain is asked for, on k of the last n days."""

    share: Share = Field(gt=0, lt=1)
    k_of_n_days: tuple[int, int] = (5, 7)

    @field_validator("k_of_n_days")
    @classmethod
    def _k_of_n(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 2 <= value[0] <= value[1]:
            raise ValueError(
                f"k_of_n_days is {list(value)}; give [k, n] with 2 <= k <= n: days are the evidence"
            )
        return value


class EventTrigger(_Part):
    log_loss_margin: float = Field(gt=0)
    window_days: int = Field(gt=1)
    drift_js_distance: float = Field(gt=0, lt=1)
    drift_features: int = Field(gt=0)
    k_of_n_days: tuple[int, int]
    new_labels: int | None = Field(default=None, gt=0)
    signals: tuple[str, ...] = ()
    feedback_limits: dict[str, FeedbackLimit] = {}

    @property
    def asking(self) -> tuple[str, ...]:
        """The signals whose alert asks for a retrain."""
        return (*self.signals, *(f"feedback-limit:{name}" for name in sorted(self.feedback_limits)))


class UrgentTrigger(_Part):
    worse_than_constant: bool
    window_days: int = Field(gt=1)
    signals: tuple[str, ...] = ()
    first: Literal["none", "roll_back", "baseline"] = "none"
    without_target: Literal["hold", "baseline"] = "hold"
    cooldown_days: int | None = Field(default=None, ge=0)
    budget: Budget | None = None
    gate_limits: dict[str, float] = {}


class TriggerLabels(_Part):
    min_mature_share: Share = Field(gt=0, le=1)
    min_labelled_share: Share = Field(gt=0, le=1)
    min_rows: int = Field(gt=0)
    wait_hours: int = Field(default=72, gt=0)


class Triggers(_Part):
    cooldown_days: int = Field(ge=0)
    budget: Budget | None = None
    routine: RoutineTrigger
    event: EventTrigger
    urgent: UrgentTrigger
    labels: TriggerLabels
