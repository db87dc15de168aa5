"""What a trigger policy would have done over recorded days, with the same function that decides live.

Pure. The days hold what was known on each of them. What a retrain would have changed is not known: the served model's
quality is the recorded one under every policy, and a policy is judged by when it asks, not by what it would have got.

Assumed of a request: training takes no day; it ends as recorded where history has an evaluation of that day, else the
candidate passes; one that passes is on trial for `trial_days`, and counts as trained from its request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from ratchet.monitoring.health import ERROR, MIN_DAYS, Health
from ratchet.monitoring.users import LIMIT
from ratchet.triggers.policy import Spent, TriggerDecision, TriggerFacts, TriggerHistory, decide_retrain

if TYPE_CHECKING:
    from ratchet.loop import Loop


@dataclass(frozen=True)
class Day:
    """One as-of: health and alerts known then. `is_recorded`: as the ledger has it, else from day sums."""

    as_of: datetime
    health: Health
    alerts: Mapping[str, str]
    is_recorded: bool
    has_drift: bool
    freeze: str | None = None


@dataclass(frozen=True)
class Assumed:
    """What is assumed of requests: days on trial, what a training costs, and verdicts of days that history knows."""

    trial_days: int
    cost: float
    first_trained: datetime
    passed: Mapping[date, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Episode:
    """Days in a row on which log loss was above its reference beyond chance; what they lost, and who asked when."""

    first: date
    last: date
    lost: float
    asked: date | None
    lost_before_answer: float

    @property
    def delay_days(self) -> int | None:
        """Days from its beginning to the first request; None: nobody asked."""
        return None if self.asked is None else (self.asked - self.first).days


@dataclass(frozen=True)
class Backtest:
    """One policy over the days."""

    decisions: tuple[tuple[Day, TriggerDecision], ...]
    episodes: tuple[Episode, ...]
    assumed: Assumed

    def fired(self, tier: str | None = None, action: str = "request") -> list[tuple[Day, TriggerDecision]]:
        """The decisions with this action, of one tier if asked."""
        return [
            (day, made)
            for day, made in self.decisions
            if made.action == action and (tier is None or made.tier == tier)
        ]

    def over_limit(self) -> dict[str, tuple[date, ...]]:
        """By category of feedback that was over its limit, the days; also where another reason was told."""
        found: dict[str, list[date]] = {}
        for day, _ in self.decisions:
            for name in sorted(day.alerts):
                if name.startswith(LIMIT):
                    found.setdefault(name.removeprefix(LIMIT), []).append(day.as_of.date())
        return {category: tuple(days) for category, days in found.items()}

    def summary(self) -> dict[str, Any]:
        """The policy in numbers; log loss is summed over units."""
        requests, delays = self.fired(), [e.delay_days for e in self.episodes if e.delay_days is not None]
        inside = [d for d, _ in requests if any(e.first <= d.as_of.date() <= e.last for e in self.episodes)]
        return {
            "days": len(self.decisions),
            "recorded_days": sum(day.is_recorded for day, _ in self.decisions),
            "days_without_drift": sum(not day.has_drift for day, _ in self.decisions),
            **{tier: len(self.fired(tier)) for tier in ("urgent", "event", "routine")},
            "went_back_first": sum(
                before.first == "none" and now.first != "none"
                for (_, before), (_, now) in zip(
                    ((None, _NONE), *self.decisions), self.decisions, strict=False
                )
            ),
            "refused_days": len(self.fired(action="refuse")),
            "noted_days": sum("noted:" in made.reason for _, made in self.decisions),
            "limit_days": len(set().union(*self.over_limit().values())),
            "cost": len(requests) * self.assumed.cost,
            "episodes": len(self.episodes),
            "answered": len(delays),
            "median_delay_days": median(delays) if delays else None,
            "lost": sum(e.lost for e in self.episodes),
            "lost_before_answer": sum(e.lost_before_answer for e in self.episodes),
            "requests_outside_episodes": len(requests) - len(inside),
        }


_NONE = TriggerDecision(None, "none", "", {})


def backtest(
    loop: Loop,
    days: Sequence[Day],
    lost: Mapping[date, float],
    assumed: Assumed,
    new_labels: Callable[[datetime, datetime], int | None] = lambda trained, now: None,
    tick: Callable[[], None] = lambda: None,
    *,
    judged: Sequence[Day] | None = None,
) -> Backtest:
    """Decide each of `days`, in order, as `loop`'s policy says.

    `lost` is a departure day's log loss above the reference, summed over its units. `new_labels` counts the labels that
    became mature between two instants. `tick` is called after each day. `judged` are the days whose health says what an
    episode is, when policies are compared: the same for all of them.

    Raises:
        ValueError: no day, or two that are not in order: nothing would be looked at, or in the wrong order.
    """
    if not days:
        raise ValueError("there is no day with a health record or day sums: nothing to replay")
    if any(a.as_of >= b.as_of for a, b in pairwise(days)):
        raise ValueError("the days are not in order")
    trained: datetime = assumed.first_trained
    requested: datetime | None = None
    trial_until: datetime | None = None
    spent: dict[tuple[str, bool], float] = {}
    made: list[tuple[Day, TriggerDecision]] = []
    for day in days:
        now = day.as_of
        trial = "trial" if trial_until is not None and now < trial_until else None
        month = now.isoformat()[:7]
        urgent = spent.get((month, True), 0.0)
        facts = TriggerFacts(
            day.alerts, (), new_labels(trained, now),
            Spent(urgent + spent.get((month, False), 0.0), assumed.cost), Spent(urgent, assumed.cost), day.freeze,
        )  # fmt: skip
        history = TriggerHistory(trained if trained <= now else None, requested, None, trial)
        decision = decide_retrain(loop, day.health, history, now, facts)
        made.append((day, decision))
        if decision.first != "none":
            trial_until = None
        if decision.action == "request":
            requested = now
            key = (month, decision.tier == "urgent")
            spent[key] = spent.get(key, 0.0) + assumed.cost
            if assumed.passed.get(now.date(), True):
                trained, trial_until = now, now + timedelta(days=assumed.trial_days)
        tick()
    asked = [
        day.as_of.date()
        for day, d in made
        if d.action == "request" and assumed.passed.get(day.as_of.date(), True)
    ]
    return Backtest(tuple(made), tuple(_episodes(judged or days, lost, asked, assumed.trial_days)), assumed)


def _episodes(
    days: Sequence[Day], lost: Mapping[date, float], asked: Sequence[date], trial_days: int
) -> list[Episode]:
    found: list[tuple[date, date]] = []
    for day in days:
        above = day.health.above_reference
        if not (above.is_usable and above.clusters >= MIN_DAYS and above.bound(ERROR)[0] > 0):
            continue
        today = day.as_of.date()
        # A step of the replay is a day, or a week where only records are there.
        if found and (today - found[-1][1]).days <= 7:
            found[-1] = (found[-1][0], today)
        else:
            found.append((today, today))
    episodes = []
    for first, last in found:
        # A trial that runs when it begins was asked for before: its answer is on the way.
        request = next((a for a in asked if first - timedelta(days=trial_days) < a <= last), None)
        inside = {d: loss for d, loss in lost.items() if first <= d <= last}
        until = last if request is None else min(last, request + timedelta(days=trial_days))
        before = sum(loss for d, loss in inside.items() if d <= until)
        shown = None if request is None else max(first, request)
        episodes.append(Episode(first, last, sum(inside.values()), shown, before))
    return episodes
