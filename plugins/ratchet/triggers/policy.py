"""When a retrain is due: the loop file's policy, from health and history.

The most pressing tier that applies is answered: urgent (the served model is worse than a constant, or a signal that the
loop file calls urgent alerts), event (quality fell, several features drift and quality feels it, a signal of the loop
file's alerts, enough new labels are there), routine (age). A tier that applies may still be refused: one request at a
time, a cooldown after the last, a budget, a freeze, and no retrain while a rollout runs, since its verdict would
be about a model that is being replaced; an urgent answer that goes back first ends the rollout. Drift that quality does
not feel, or of an input that the model does not use, is a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ratchet.incidents.signals import fits
from ratchet.monitoring.health import ERROR, MIN_DAYS, Health

if TYPE_CHECKING:
    from ratchet.loop import Loop
    from ratchet.loop_triggers import Budget

Tier = Literal["urgent", "event", "routine"]


@dataclass(frozen=True)
class TriggerHistory:
    """What happened before: instants are `as_of` values, the names are of what is open or running now."""

    last_trained_as_of: datetime | None
    last_request_as_of: datetime | None
    open_request: str | None
    running_rollout: str | None


First = Literal["none", "roll_back", "baseline"]


@dataclass(frozen=True)
class Spent:
    """What trainings of the month have cost so far, and what one more is expected to; None: none was measured."""

    spent: float = 0.0
    expected: float | None = None


@dataclass(frozen=True)
class TriggerFacts:
    """What a decision rests on besides health and history.

    `alerts` are the alerting signals' names with their evidence, `unused` the features without a share in the model's
    gain, `new_labels` those that the champion did not learn from, `freeze` why nothing is released today.
    """

    alerts: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    new_labels: int | None = None
    general: Spent = Spent()
    urgent: Spent = Spent()
    freeze: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain types for a record."""
        return {
            "alerts": dict(self.alerts),
            "unused": list(self.unused),
            "new_labels": self.new_labels,
            "general": [self.general.spent, self.general.expected],
            "urgent": [self.urgent.spent, self.urgent.expected],
            "freeze": self.freeze,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TriggerFacts:
        """The facts that `to_json` wrote.

        Raises:
            KeyError: a key is missing.
        """
        return cls(
            dict(record["alerts"]),
            tuple(record["unused"]),
            record["new_labels"],
            Spent(*record["general"]),
            Spent(*record["urgent"]),
            record["freeze"],
        )


@dataclass(frozen=True)
class TriggerDecision:
    """The tier that applies (None = nothing is due), what to do about it, and why.

    `first` is what has to be done before a retrain, whether or not that is refused.
    """

    tier: Tier | None
    action: Literal["request", "refuse", "none"]
    reason: str
    evidence: dict[str, Any]
    first: First = "none"


def decide_retrain(
    loop: Loop, health: Health, history: TriggerHistory, as_of: datetime, facts: TriggerFacts | None = None
) -> TriggerDecision:
    """Whether a retrain is due at `as_of`. Without `facts`, as in old records, only health and history decide.

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
    if facts is not None:
        evidence["facts"] = facts.to_json()
    if history.last_trained_as_of is None:
        return TriggerDecision(
            None, "none", "no model was trained yet: the first one is a bootstrap, not a retrain", evidence
        )
    due = _due(loop, health, history.last_trained_as_of, as_of, facts)
    if due is None:
        age = (as_of - history.last_trained_as_of).days
        reason = (
            f"nothing is due: health is {health.status}, the model is {age} days old "
            f"(routine at {loop.triggers.routine.max_age_days})"
        )
        return TriggerDecision(None, "none", reason + _noted(health, facts), evidence)
    tier, reason = due
    first: First = loop.triggers.urgent.first if tier == "urgent" and facts is not None else "none"
    obstacle = _obstacle(loop, history, as_of, tier, first, facts)
    if obstacle:
        return TriggerDecision(tier, "refuse", f"{reason}; refused: {obstacle}", evidence, first)
    return TriggerDecision(tier, "request", reason, evidence, first)


def _noted(health: Health, facts: TriggerFacts | None) -> str:
    """Drift that opens no retrain, in words."""
    if facts is None or not health.drifting_features:
        return ""
    unused = [name for name in health.drifting_features if name in facts.unused]
    felt = [name for name in health.drifting_features if name not in facts.unused]
    told = [f"{', '.join(felt)} drift, which quality does not feel"] if felt else []
    told += [f"{', '.join(unused)} drift, which the model does not use"] if unused else []
    return f"; noted: {'; '.join(told)}"


def _due(
    loop: Loop, health: Health, last_trained: datetime, as_of: datetime, facts: TriggerFacts | None
) -> tuple[Tier, str] | None:
    event, urgent, routine = loop.triggers.event, loop.triggers.urgent, loop.triggers.routine
    over, above = health.over_constant, health.above_reference
    if urgent.worse_than_constant and over.is_usable and over.clusters >= MIN_DAYS:
        high = over.bound(ERROR)[1]
        if high < 0:
            return "urgent", (
                f"worse than a constant: gain {over.value:+.4f}, at most {high:+.4f} over "
                f"{over.clusters} days"
            )
    if facts is not None and (named := _alerting(facts, urgent.signals)):
        return "urgent", named
    if above.is_usable and above.clusters >= MIN_DAYS:
        low = above.bound(ERROR)[0]
        if low > event.log_loss_margin:
            return "event", (
                f"log loss is {above.value:+.4f} above its reference, at least {low:+.4f} over "
                f"{above.clusters} days; the margin is {event.log_loss_margin:g}"
            )
        unused = () if facts is None else facts.unused
        drifting = [name for name in health.drifting_features if name not in unused]
        if len(drifting) >= event.drift_features and low > 0:
            return "event", (
                f"{len(drifting)} features drift ({', '.join(drifting)}) and log loss is above its "
                f"reference by {above.value:+.4f}, at least {low:+.4f}"
            )
    if facts is not None and (named := _alerting(facts, event.asking)):
        return "event", named
    if (
        facts is not None
        and event.new_labels is not None
        and facts.new_labels is not None
        and facts.new_labels >= event.new_labels
    ):
        return "event", f"{facts.new_labels} labels are new to the champion; {event.new_labels} are enough"
    age = as_of - last_trained
    if age >= timedelta(days=routine.max_age_days):
        return (
            "routine",
            f"the model is {age.days} days old; it is retrained every {routine.max_age_days} days",
        )
    return None


def _alerting(facts: TriggerFacts, patterns: Sequence[str]) -> str | None:
    """The alerts that fit, in words, or None."""
    found = [
        f"{name} ({told})" if told else name
        for name, told in sorted(facts.alerts.items())
        if fits(name, patterns)
    ]
    return f"in alert: {'; '.join(found)}" if found else None


def _obstacle(
    loop: Loop,
    history: TriggerHistory,
    as_of: datetime,
    tier: Tier,
    first: First,
    facts: TriggerFacts | None,
) -> str | None:
    if history.open_request:
        return f"request {history.open_request} is still open; one at a time"
    if history.running_rollout and first == "none":
        return f"rollout {history.running_rollout} is running; its verdict comes first"
    days = loop.triggers.cooldown_days
    if tier == "urgent" and loop.triggers.urgent.cooldown_days is not None:
        days = loop.triggers.urgent.cooldown_days
    cooldown = timedelta(days=days)
    if history.last_request_as_of is not None and as_of - history.last_request_as_of < cooldown:
        ends = history.last_request_as_of + cooldown
        return f"the last request was on {history.last_request_as_of}; the cooldown lasts until {ends}"
    if facts is None:
        return None
    if tier == "routine" and facts.freeze:
        return facts.freeze
    own = loop.triggers.urgent.budget
    if tier == "urgent" and own is not None:
        return _too_dear(own, facts.urgent, as_of, "of urgent requests")
    return _too_dear(loop.triggers.budget, facts.general, as_of, "of all")


def _too_dear(budget: Budget | None, spent: Spent, as_of: datetime, whose: str) -> str | None:
    if budget is None or spent.spent + (spent.expected or 0.0) <= budget.per_month:
        return None
    unit = budget.unit.replace("_", " ")
    return (
        f"trainings {whose} cost {spent.spent:.0f} {unit} in {as_of:%B %Y}, one more is expected to cost "
        f"{spent.expected or 0.0:.0f}; the budget is {budget.per_month:.0f}"
    )
