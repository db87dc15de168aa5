"""When a retrain is due: the loop file's policy, from health and history.

The most pressing tier that applies is answered: urgent (the served model is worse than a constant), event
(quality fell, or several features drift and quality feels it), routine (age). A tier that applies may still
be refused: one request at a time, a cooldown after the last, and no routine or event retrain while a rollout
runs, since its verdict would be about a model that is being replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ratchet.monitoring.health import ERROR, MIN_DAYS, Health

if TYPE_CHECKING:
    from ratchet.loop import Loop

Tier = Literal["urgent", "event", "routine"]


@dataclass(frozen=True)
class TriggerHistory:
    """What happened before: instants are `as_of` values, the names are of what is open or running now."""

    last_trained_as_of: datetime | None
    last_request_as_of: datetime | None
    open_request: str | None
    running_rollout: str | None


@dataclass(frozen=True)
class TriggerDecision:
    """The tier that applies (None = nothing is due), what to do about it, and why."""

    tier: Tier | None
    action: Literal["request", "refuse", "none"]
    reason: str
    evidence: dict[str, Any]


def decide_retrain(loop: Loop, health: Health, history: TriggerHistory, as_of: datetime) -> TriggerDecision:
    """Whether a retrain is due at `as_of`.

    Raises:
        ValueError: `health` is of another instant, or history lies in the future.
    """
    if health.as_of != as_of:
        raise ValueError(
            f"health is of {health.as_of}, the decision of {as_of}; assess it at the same instant"
        )
    for name, instant in (
        ("last_trained_as_of", history.last_trained_as_of),
        ("last_request_as_of", history.last_request_as_of),
    ):
        if instant is not None and instant > as_of:
            raise ValueError(f"{name} is {instant}, after {as_of}: a decision can't know the future")
    evidence: dict[str, Any] = {
        "as_of": as_of.isoformat(),
        "health": health.status,
        "open_request": history.open_request,
        "running_rollout": history.running_rollout,
        "last_trained_as_of": history.last_trained_as_of.isoformat() if history.last_trained_as_of else None,
        "last_request_as_of": history.last_request_as_of.isoformat() if history.last_request_as_of else None,
        "above_reference": health.above_reference.evidence(ERROR),
        "over_constant": health.over_constant.evidence(ERROR),
        "drifting_features": list(health.drifting_features),
    }
    if history.last_trained_as_of is None:
        return TriggerDecision(
            None, "none", "no model was trained yet: the first one is a bootstrap, not a retrain", evidence
        )
    due = _due(loop, health, history.last_trained_as_of, as_of)
    if due is None:
        age = (as_of - history.last_trained_as_of).days
        return TriggerDecision(
            None,
            "none",
            f"nothing is due: health is {health.status}, the model is {age} days old "
            f"(routine at {loop.triggers.routine.max_age_days})",
            evidence,
        )
    tier, reason = due
    obstacle = _obstacle(loop, history, as_of)
    if obstacle:
        return TriggerDecision(tier, "refuse", f"{reason}; refused: {obstacle}", evidence)
    return TriggerDecision(tier, "request", reason, evidence)


def _due(loop: Loop, health: Health, last_trained: datetime, as_of: datetime) -> tuple[Tier, str] | None:
    event, urgent, routine = loop.triggers.event, loop.triggers.urgent, loop.triggers.routine
    over, above = health.over_constant, health.above_reference
    if urgent.worse_than_constant and over.is_usable and over.clusters >= MIN_DAYS:
        high = over.bound(ERROR)[1]
        if high < 0:
            return "urgent", (
                f"worse than a constant: gain {over.value:+.4f}, at most {high:+.4f} over "
                f"{over.clusters} days"
            )
    if above.is_usable and above.clusters >= MIN_DAYS:
        low = above.bound(ERROR)[0]
        if low > event.log_loss_margin:
            return "event", (
                f"log loss is {above.value:+.4f} above its reference, at least {low:+.4f} over "
                f"{above.clusters} days; the margin is {event.log_loss_margin:g}"
            )
        drifting = health.drifting_features
        if len(drifting) >= event.drift_features and low > 0:
            return "event", (
                f"{len(drifting)} features drift ({', '.join(drifting)}) and log loss is above its "
                f"reference by {above.value:+.4f}, at least {low:+.4f}"
            )
    age = as_of - last_trained
    if age >= timedelta(days=routine.max_age_days):
        return (
            "routine",
            f"the model is {age.days} days old; it is retrained every {routine.max_age_days} days",
        )
    return None


def _obstacle(loop: Loop, history: TriggerHistory, as_of: datetime) -> str | None:
    if history.open_request:
        return f"request {history.open_request} is still open; one at a time"
    if history.running_rollout:
        return f"rollout {history.running_rollout} is running; its verdict comes first"
    cooldown = timedelta(days=loop.triggers.cooldown_days)
    if history.last_request_as_of is not None and as_of - history.last_request_as_of < cooldown:
        ends = history.last_request_as_of + cooldown
        return f"the last request was on {history.last_request_as_of}; the cooldown lasts until {ends}"
    return None
