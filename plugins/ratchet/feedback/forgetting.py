"""Whether forgetting somebody asks for a retrain. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Policy = Literal["retrain_now", "next_routine", "none"]


@dataclass(frozen=True)
class Flagged:
    """A model that learned from rows which are gone now, and from how many."""

    version: int
    rows: int


@dataclass(frozen=True)
class AfterForgetting:
    """What the policy says: `request` opens a retrain request, `none` leaves it to the routine."""

    action: Literal["request", "none"]
    reason: str


def retrain_after(
    policy: Policy, models: Sequence[Flagged], serving: int | None, *, is_busy: bool
) -> AfterForgetting:
    """A retrain is asked for when the policy wants it now and the model that serves learned from such rows.

    While a request is open or a rollout runs nothing is asked for: what is trained next leaves the rows out anyway.
    """
    flagged = next((model for model in models if model.version == serving), None)
    if flagged is None:
        return AfterForgetting("none", "the model that serves learned from none of these rows")
    if policy != "retrain_now":
        return AfterForgetting("none", f"the loop file's policy is {policy}")
    if is_busy:
        return AfterForgetting(
            "none", "a request is open or a rollout runs: the next training leaves the rows out"
        )
    return AfterForgetting(
        "request", f"version {serving} learned from {flagged.rows} rows of people who asked to be forgotten"
    )
