"""What a rollout carries from look to look, and what a look answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType
from typing import Any, Literal

from ratchet.experiment.admission import Admission

Action = Literal["advance", "hold", "roll_back", "promote", "inconclusive", "exclude"]


@dataclass(frozen=True)
class Look:
    """One look of one test: the day, its information fraction, z, and whether z reached its boundary.

    Of an e-process (its name ends in `_e`) z is the log e-value of the day.
    """

    day: date
    fraction: float
    z: float
    is_crossed: bool


@dataclass(frozen=True)
class RolloutState:
    """Where a rollout stands before today's look.

    `stage_starts` has the first departure date of each stage entered so far, the current one last;
    `looks` has the past looks of each test by the test's name: the boundary of the next look depends on them.
    """

    experiment_id: str
    started_on: date
    stage_index: int
    stage_name: str
    stage_starts: tuple[date, ...]
    looks: Mapping[str, tuple[Look, ...]] = field(default_factory=lambda: MappingProxyType({}))
    admission: Admission | None = None
    """The cohorts that the challenger may serve, where the loop excludes others; None: it may serve all."""

    @classmethod
    def begin(
        cls, experiment_id: str, started_on: date, first_stage: str, admission: Admission | None = None
    ) -> RolloutState:
        """The state of a rollout whose first departure date is `started_on`, in its first stage."""
        return cls(experiment_id, started_on, 0, first_stage, (started_on,), admission=admission)

    @property
    def stage_started_on(self) -> date:
        """First departure date of the current stage."""
        return self.stage_starts[-1]

    def after(self, verdict: Verdict) -> RolloutState:
        """The state with the looks of `verdict` added; the stage is unchanged."""
        looks = dict(self.looks)
        for test, look in verdict.looks.items():
            looks[test] = (*looks.get(test, ()), look)
        return replace(self, looks=MappingProxyType(looks))

    def in_stage(self, index: int, name: str, starts_on: date) -> RolloutState:
        """The state in the next stage from departure date `starts_on` on.

        Raises:
            ValueError: the stage is not the next one, or does not start after the current one.
        """
        if index != self.stage_index + 1:
            raise ValueError(
                f"stage {index} does not follow stage {self.stage_index}; stages are taken in order"
            )
        if starts_on <= self.stage_started_on:
            raise ValueError(f"stage {name} starts on {starts_on}, the one before on {self.stage_started_on}")
        return replace(self, stage_index=index, stage_name=name, stage_starts=(*self.stage_starts, starts_on))

    def to_json(self) -> dict[str, Any]:
        """Plain types; `from_json` gives an equal state."""
        return {
            "experiment_id": self.experiment_id,
            "started_on": self.started_on.isoformat(),
            "stage_index": self.stage_index,
            "stage_name": self.stage_name,
            "stage_starts": [start.isoformat() for start in self.stage_starts],
            "looks": {
                test: [[k.day.isoformat(), k.fraction, k.z, k.is_crossed] for k in looks]
                for test, looks in sorted(self.looks.items())
            },
            "admission": None if self.admission is None else self.admission.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RolloutState:
        """The state that `to_json` wrote.

        Raises:
            KeyError, ValueError: a key is missing or a date is malformed.
        """
        admission = content.get("admission")
        return cls(
            admission=None if admission is None else Admission.from_json(admission),
            experiment_id=str(content["experiment_id"]),
            started_on=date.fromisoformat(content["started_on"]),
            stage_index=int(content["stage_index"]),
            stage_name=str(content["stage_name"]),
            stage_starts=tuple(date.fromisoformat(start) for start in content["stage_starts"]),
            looks=MappingProxyType(
                {
                    test: tuple(
                        Look(date.fromisoformat(d), float(f), float(z), bool(c)) for d, f, z, c in looks
                    )
                    for test, looks in content["looks"].items()
                }
            ),
        )


@dataclass(frozen=True)
class Verdict:
    """The answer of one day's look: the action, why in plain words, the numbers, the looks to keep."""

    action: Action
    reasons: tuple[str, ...]
    evidence: dict[str, Any]
    looks: Mapping[str, Look] = field(default_factory=dict)
