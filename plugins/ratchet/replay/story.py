"""One complaint all the way: a route that is wrongly called on time, from the first answer to the last receipt.

The stages run in this process, as in `ratchet.replay.direct`. Nothing is decided here: what is told is read from the
ledger, the published summaries and the warehouse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.feedback.effects import Effect, judge_effects
from ratchet.ledger.chain import Entry
from ratchet.loop import Loop
from ratchet.loop_days import last_answered_day
from ratchet.published import read
from ratchet.replay.direct import DirectApi
from ratchet.replay.driver import Replay, Teller, midnight
from ratchet.replay.story_world import CATEGORY, LIMIT, PLANTED_MINUTES, START, PlantedWorld, Plot
from ratchet.settings import Settings
from ratchet.stages import receipts
from ratchet.stages.effects import SUMMARY
from ratchet.stages.feedback_worth import FeedbackPart, feedback_worth
from ratchet.stages.records import ledger_of
from ratchet.warehouse.connect import open_warehouse

WEEKS, SEED = 10, 1


@dataclass(frozen=True)
class Week:
    """Answers received about departures of a week that say what they are about, and how many of CATEGORY."""

    first: date
    answers: int
    complaints: int

    @property
    def share(self) -> float:
        return self.complaints / self.answers if self.answers else 0.0


@dataclass(frozen=True)
class Arm:
    """Flights of the planted route that an arm served in the rollout, how many it warned of, and complaints."""

    arm: str
    flights: int
    warned: int
    answers: int
    complaints: int


class Story:
    """The replay of a plot, week by week, and what can be read of it."""

    def __init__(
        self, settings: Settings, loop: Loop, teller: Teller, plot: Plot | None = None, seed: int = SEED
    ) -> None:
        self.settings, self.loop, self.plot = settings, loop, plot or Plot()
        world = PlantedWorld(settings, loop, seed, self.plot)
        self._replay = Replay(settings, loop, START, seed, DirectApi(settings, loop), teller, world)

    def run(self, weeks: int = WEEKS) -> None:
        """Replay to the end of week `weeks`, and write the receipts that are due on the way."""
        for week in range(weeks + 1):
            self._replay.run(week)
            if week:
                receipts.write(self.settings, self.loop, self.end_of(week) + timedelta(hours=8), _quiet)

    @staticmethod
    def end_of(week: int) -> datetime:
        """Midnight after the week's last day."""
        return midnight(START + timedelta(days=7 * week))

    def entries(self, *kinds: str) -> list[Entry]:
        """The loop's entries of these kinds, oldest first."""
        return [e for e in ledger_of(self.settings).entries(self.loop.loop) if e.kind in kinds]

    def request(self) -> Entry | None:
        """The first request for a retrain."""
        return next((e for e in self.entries("trigger") if e.payload["action"] == "request"), None)

    def promoted(self) -> Entry | None:
        """The first promotion of a challenger."""
        return next((e for e in self.entries("rollout_applied") if e.payload["action"] == "promote"), None)

    def worth(self) -> list[FeedbackPart]:
        """What feedback was worth in the candidate that was asked for."""
        asked = self.request()
        if asked is None:
            return []
        return [
            part
            for part in feedback_worth(self.loop, self.entries("evaluation"))
            if part.as_of == asked.as_of
        ]

    def weeks(self) -> list[Week]:
        """What was said, by week of departure."""
        with open_warehouse(self.settings, purpose="telling the story", read_only=True) as wh:
            rows = wh.frame(
                "select departure_date, sum(n_answers) as answers, "
                "sum(case when answer_category = ? then n_answers else 0 end) as complaints "
                "from monitoring.mon_answers_daily where loop = ? and answer_category <> 'none' group by 1 order by 1",
                (CATEGORY, self.loop.loop),
            )
        week = (pd.to_datetime(rows["departure_date"]) - pd.Timestamp(START)).dt.days // 7
        return [
            Week(START + timedelta(days=7 * int(n)), int(own["answers"].sum()), int(own["complaints"].sum()))
            for n, own in rows.groupby(week)
        ]

    def arms(self) -> list[Arm]:
        """The planted route in the rollout that was promoted, by arm."""
        started = self.entries("rollout_started")
        if not started:
            return []
        with open_warehouse(self.settings, purpose="telling the story", read_only=True) as wh:
            rows = wh.frame(
                "select p.arm, count(*) as flights, sum(case when p.score >= ? then 1 else 0 end) as warned, "
                "sum(coalesce(a.answers, 0)) as answers, sum(coalesce(a.complaints, 0)) as complaints "
                "from marts.fct_predictions p "
                "inner join intermediate.int_flights_scheduled s on s.loop = p.loop and s.unit_id = p.unit_id "
                "left join (select loop, unit_id, prediction_id, count(*) as answers, "
                "sum(case when coalesce(category, understood_as) = ? then 1 else 0 end) as complaints "
                "from marts.fct_feedback group by 1, 2, 3) a on a.loop = p.loop and a.unit_id = p.unit_id "
                "and a.prediction_id = p.prediction_id "
                "where p.loop = ? and p.is_served and p.experiment_id = ? and p.arm in ('challenger', 'control') "
                "and s.origin = ? and s.dest = ? group by p.arm order by p.arm",
                (self.loop.gates.evaluation.decision_threshold, CATEGORY, self.loop.loop,
                 started[0].payload["experiment_id"], self.plot.origin, self.plot.dest),
            )  # fmt: skip
        return [Arm(str(arm), *(int(n) for n in numbers)) for arm, *numbers in rows.itertuples(index=False)]

    def effect(self) -> dict[str, Any] | None:
        """Whether complaints of CATEGORY fell where the challenger served, on all routes, as the themes say."""
        summary = read(self.settings, self.loop.loop, SUMMARY) or {"experiments": []}
        for experiment in summary["experiments"]:
            if experiment["kind"] == "rollout":
                return next((dict(e) for e in experiment["effects"] if e["category"] == CATEGORY), None)
        return None

    def effect_on_route(self) -> Effect | None:
        """The same of the planted route alone, judged as the themes judge a category."""
        started, taxonomy = self.entries("rollout_started"), self.loop.feedback.taxonomy
        if not started or taxonomy is None:
            return None
        with open_warehouse(self.settings, purpose="telling the story", read_only=True) as wh:
            sums = wh.frame(
                "with served as (select p.* from marts.fct_predictions p "
                "inner join intermediate.int_flights_scheduled s on s.loop = p.loop and s.unit_id = p.unit_id "
                "where p.loop = ? and p.is_served and p.experiment_id = ? and s.origin = ? and s.dest = ?), "
                "asked as (select p.departure_date, p.arm, cast(sum(r.n_asked) as double) as n_asked from served p "
                "inner join marts.fct_reactions r on r.loop = p.loop and r.prediction_id = p.prediction_id "
                "and r.unit_id = p.unit_id group by 1, 2), "
                "said as (select p.departure_date, p.arm, cast(sum(case when coalesce(f.category, f.understood_as) = ? "
                "then 1 else 0 end) as double) as n from served p "
                "inner join marts.fct_feedback f on f.loop = p.loop and f.prediction_id = p.prediction_id "
                "and f.unit_id = p.unit_id and f.is_in_window group by 1, 2) "
                "select a.departure_date, a.arm, 'all' as answer_category, a.n_asked, 0.0 as n_answers, "
                "0.0 as sum_weight from asked a union all select a.departure_date, a.arm, ?, a.n_asked, "
                "coalesce(s.n, 0), coalesce(s.n, 0) from asked a "
                "left join said s on s.departure_date = a.departure_date and s.arm = a.arm",
                (
                    self.loop.loop,
                    started[0].payload["experiment_id"],
                    self.plot.origin,
                    self.plot.dest,
                    CATEGORY,
                    CATEGORY,
                ),
            )
        sums = sums.assign(cohort_dimension="all", cohort_value="all")
        closed, k = last_answered_day(self.loop, self.end_of(WEEKS)), self.loop.monitoring.min_group
        return next(e for e in judge_effects(taxonomy, sums, closed, k) if e.category == CATEGORY)

    def complainer(self, among: Collection[str] | None = None) -> tuple[str, str]:
        """Somebody (of `among`) who complained of the planted route before the retrain was asked for: person, answer.

        Raises:
            LookupError: nobody did.
        """
        asked = self.request()
        until = (
            self.end_of(WEEKS) if asked is None else datetime.fromisoformat(asked.as_of) - timedelta(days=7)
        )
        with open_warehouse(self.settings, purpose="telling the story", read_only=True) as wh:
            rows = wh.frame(
                "select f.user_id, f.feedback_id from raw.feedback f "
                "inner join intermediate.int_flights_scheduled s on s.loop = f.loop and s.unit_id = f.unit_id "
                "inner join marts.fct_feedback m on m.loop = f.loop and m.feedback_id = f.feedback_id "
                "and m.is_in_window "
                "where f.loop = ? and f.category = ? and f.comment is not null and f.user_id is not null "
                "and s.origin = ? and s.dest = ? and s.departure_date >= ? and f.received_at < ? "
                "order by f.received_at, f.feedback_id",
                (self.loop.loop, CATEGORY, self.plot.origin, self.plot.dest, self.plot.since, until),
            )
        if among is not None:
            rows = rows[rows["user_id"].isin(list(among))]
        if rows.empty:
            raise LookupError(f"nobody complained of {self.plot.origin}-{self.plot.dest}")
        return str(rows["user_id"].iloc[0]), str(rows["feedback_id"].iloc[0])

    def receipts(self, person: str | None = None) -> pd.DataFrame:
        """What was written to `person`, or to everybody: person, period_start, state, body."""
        with open_warehouse(self.settings, purpose="telling the story", read_only=True) as wh:
            rows = wh.frame(
                "select person, period_start, state, body from ops.receipts_outbox where loop = ? "
                "order by period_start, person",
                (self.loop.loop,),
            )
        return rows if person is None else rows[rows["person"] == person]


def told(story: Story) -> Iterator[str]:
    """The story in lines, from what is recorded."""
    plot, asked, promoted = story.plot, story.request(), story.promoted()
    route = f"{plot.origin}-{plot.dest}"
    yield f"From {plot.since} on every flight {route} is {PLANTED_MINUTES:.0f} minutes later (planted)."
    yield f"Simulated travellers; of the answers that say what they are about, {CATEGORY} is:"
    for week in story.weeks():
        yield f"  week of {week.first}: {week.share:6.1%} of {week.answers}"
    yield f"Limit: {LIMIT.share:.0%}. " + (
        "Nothing was asked for."
        if asked is None
        else f"{asked.as_of[:10]}: retrain asked for: {asked.payload['reason']}"
    )
    for part in story.worth():
        numbers = "" if part.worth is None else f" {part.worth:+.4f} [{part.low:+.4f}, {part.high:+.4f}]"
        yield f"Without {part.part} the candidate's log loss changes by{numbers}: {part.state}"
    for entry in story.entries("evaluation", "rollout_started", "rollout_applied"):
        if entry.kind == "evaluation":
            yield f"{entry.as_of[:10]}: evaluation: {entry.payload['verdict']}"
        elif entry.kind == "rollout_started":
            yield f"{entry.as_of[:10]}: version {entry.payload['challenger_version']} goes on trial"
        else:
            yield f"{entry.as_of[:10]}: {entry.payload['action']}"
    for arm in story.arms():
        yield (
            f"{route}, {arm.arm}: {arm.warned} of {arm.flights} flights warned of; "
            f"{arm.complaints} of {arm.answers} answers are {CATEGORY}"
        )
    own, effect = story.effect_on_route(), story.effect()
    for where, found in ((f"on {route}", None if own is None else own.to_json()), ("on all routes", effect)):
        if found is not None and found["value"] is not None:
            yield (
                f"{CATEGORY} a person asked {where}, challenger less control: {found['value']:+.3%} "
                f"[{found['low']:+.3%}, {found['high']:+.3%}] over {found['days']} days: {found['state']}, "
                f"{found['verdict']}"
            )
    if promoted is None:
        yield "No challenger was promoted."
    outbox = story.receipts()
    yield f"{len(outbox)} receipts were written to {outbox['person'].nunique()} people."


def missing(story: Story) -> Sequence[str]:
    """What of the story did not happen; nothing, when all did."""
    effect, arms = story.effect_on_route(), {arm.arm: arm for arm in story.arms()}
    asked = story.request()
    challenger, control = arms.get("challenger"), arms.get("control")
    checks = {
        "no retrain was asked for because of the complaints": asked is not None and CATEGORY in asked.payload["reason"],
        "no challenger was promoted": story.promoted() is not None,
        "the challenger warned of the route no more often": challenger is not None and control is not None
        and challenger.warned * control.flights > control.warned * challenger.flights,
        "complaints are not shown to have fallen": effect is not None and effect.state == "fell",
        "no receipt was written": len(story.receipts()) > 0,
    }  # fmt: skip
    return [what for what, is_so in checks.items() if not is_so]


def _quiet(_: str) -> None:
    return None
