"""A category's limit: a rise in what people say fires on one day, live and in a backtest; copies of a text do not."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.incidents.signals import Signal
from ratchet.ledger.chain import Entry
from ratchet.loop import Loop, load_loop
from ratchet.loop_days import last_answered_day
from ratchet.loop_triggers import FeedbackLimit
from ratchet.monitoring.measures import Facts, assess
from ratchet.monitoring.opinions import CHANGES, counted, judge_opinions
from ratchet.settings import load_settings
from ratchet.stages import monitor
from ratchet.stages.backtesting import History, Said, policy_of, replayed
from ratchet.triggers.policy import TriggerFacts, TriggerHistory, decide_retrain

FLIGHTS = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")
FIRST, DAYS, FROM, ANSWERS = date(2013, 5, 1), 44, 30, 200
LIMITS = {"false_reassurance": FeedbackLimit(share=0.3)}
QUALITY = [
    "departure_date", "model_version", "is_served", "n_units", "n_labelled", "n_unresolved", "n_open", "sum_label",
    "sum_log_loss", "sum_brier", "sum_score", "n_asked", "n_ratings", "sum_rating", "n_tickets", "n_errors",
]  # fmt: skip
COHORTS = [*QUALITY, "cohort_dimension", "cohort_value", "n_warned", "n_late_not_warned", "n_punctual_warned"]
EMPTY = {
    "histograms": "departure_date feature bin n n_out_of_range sum_value",
    "bins": "feature bin lower_bound upper_bound reference_share",
    "profiles": "feature lowest highest days log_distance log_distance_spread day_mean day_mean_spread effect "
    "effect_largest importance",
    "scores": "departure_date model_version is_served arm score_bin n_units sum_score n_labelled sum_score_labelled "
    "sum_label",
    "latency": "departure_date model_version latency_bin n_units",
    "landings": "source received_date rows quarantined duplicates",
    "extra": "source received_date column_name",
    "curve": "source age_hours n_units n_received",
    "gates": "border table_name partition_date verdict reason",
    "sample": " ".join(("departure_date", "unit_id", *FLIGHTS.features.columns)),
    "staleness": "model_version departure_date trained_until n_labelled sum_log_loss sum_brier",
}


def policy(**limits: FeedbackLimit) -> Loop:
    """The flights' loop with limits, and without requests for age: whoever asks, asks for what people say."""
    event = FLIGHTS.triggers.event.model_copy(update={"feedback_limits": limits or LIMITS})
    routine = FLIGHTS.triggers.routine.model_copy(update={"max_age_days": 10_000})
    triggers = FLIGHTS.triggers.model_copy(update={"event": event, "routine": routine})
    return FLIGHTS.model_copy(update={"triggers": triggers})


def before(frame: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    return frame[np.array([day < as_of.date() for day in frame["departure_date"]], dtype=bool)]


@dataclass(frozen=True)
class World:
    """Weeks of day sums; what was said changes on the 31st day."""

    answers: pd.DataFrame
    changes: pd.DataFrame

    @property
    def cohorts(self) -> pd.DataFrame:
        rows = []
        for at in range(DAYS):
            sums = (900, 850, 50, 0, 200, 391.0, 120.0, 200.0, 2000, 300, 1200, 40, 0)
            rows.append((FIRST + timedelta(days=at), 1, True, *sums, "all", "all", 100, 20, 30))
        return pd.DataFrame(rows, columns=COHORTS)

    def facts(self, as_of: datetime) -> Facts:
        """What the warehouse would give on that day."""
        frames = {name: pd.DataFrame(columns=columns.split()) for name, columns in EMPTY.items()}
        cohorts, answers, changes = (
            before(frame, as_of) for frame in (self.cohorts, self.answers, self.changes)
        )
        known = changes[pd.to_datetime(changes["weighed_at"]) <= as_of]
        return Facts(**frames, cohorts=cohorts, answers=answers, weight_changes=known)

    def history(self, *entries: Entry) -> History:
        said = Said(
            *(
                f.assign(departure_date=pd.to_datetime(f["departure_date"]))
                for f in (self.cohorts, self.answers, self.changes)
            )
        )
        promise = {"log_loss": 0.46, "standard_error": 0.004, "training_rate": 0.24, "until": "2013-04-25"}
        began = datetime(2013, 5, 1)
        evaluated = entry(1, "evaluation", began, {"request": "b", "verdict": "pass", "promise": promise})
        bootstrap = entry(2, "bootstrap", began, {"request": "b", "model_version": 1})
        calibration = pd.DataFrame(
            columns=["departure_date", "model_version", "score_bin", "n_labelled", "sum_score", "sum_label"]
        )
        return History(
            (evaluated, bootstrap, *entries), self.cohorts[QUALITY], calibration, (), tuple(AS_OFS), said
        )


#: From when the change is not known yet until every day of it is.
AS_OFS = [datetime(2013, 6, 4) + timedelta(days=at) for at in range(18)]


def entry(seq: int, kind: str, at: datetime, payload: dict[str, Any]) -> Entry:
    stamp = at.isoformat()
    return Entry(seq, "flights", kind, f"{kind}{seq}", stamp, stamp, "ratchet", payload, "", str(seq))


def world(rises_to: float = 0.1, copies: int = 0) -> World:
    """A tenth of what is said is about false reassurance, from a day on `rises_to` and `copies` of one text beside."""
    draw, rows, weighed = np.random.default_rng(5), [], []
    for at in range(DAYS):
        day = FIRST + timedelta(days=at)
        own = int(draw.binomial(ANSWERS, rises_to if at >= FROM else 0.1))
        more = copies if at >= FROM else 0
        rows += [
            (day, 1, "ticket", "false_reassurance", own + more, 0, 0, own),
            (day, 1, "ticket", "price", ANSWERS - own, 0, 0, 5),
            (day, 1, "rating", "none", 3000, 3000, 12_000, 3000),
        ]  # fmt: skip
        if more:
            weighed.append((day, "ticket", "false_reassurance", datetime.combine(day, datetime.min.time())
                            + timedelta(days=3), 1.0 - more))  # fmt: skip
    names = ["departure_date", "model_version", "channel", "answer_category", "n_answers", "n_ratings", "sum_rating",
             "n_simulated"]  # fmt: skip
    return World(pd.DataFrame(rows, columns=names), pd.DataFrame(weighed, columns=list(CHANGES)))


def live(found: World, loop: Loop) -> date | None:
    """The first day on which the trigger would ask, each day judged from what was known on it."""
    health = {d.as_of: d.health for d, _ in replayed(loop, found.history()).decisions}
    assert sorted(health) == AS_OFS
    for as_of in AS_OFS:
        measured = assess(loop, found.facts(as_of), health[as_of])
        signals = [Signal.from_json(item) for item in measured.conditions]
        alerts = {s.name: s.evidence for s in signals if s.state == "alert"}
        history = TriggerHistory(datetime(2013, 5, 1), None, None, None)
        made = decide_retrain(loop, health[as_of], history, as_of, TriggerFacts(alerts))
        if made.action == "request":
            assert made.tier == "event" and "feedback-limit:false_reassurance" in made.reason
            return as_of.date()
    return None


def replay(found: World, loop: Loop, *entries: Entry) -> date | None:
    fired = replayed(loop, found.history(*entries)).fired()
    return fired[0][0].as_of.date() if fired else None


def test_a_true_rise_fires_on_the_same_day_live_and_in_the_backtest() -> None:
    day = live(world(rises_to=0.6), policy())
    assert day == replay(world(rises_to=0.6), policy())
    # Five of the last seven days; each counts once its answers can come no more.
    fifth = FIRST + timedelta(days=FROM + 4)
    assert day is not None and last_answered_day(FLIGHTS, datetime.combine(day, datetime.min.time())) >= fifth
    assert (day - fifth).days <= 12
    assert live(world(), policy()) is replay(world(), policy()) is None
    told = replayed(policy(), world(rises_to=0.6).history())
    assert told.over_limit()["false_reassurance"][0] == day
    assert told.summary()["limit_days"] == len([a for a in AS_OFS if day <= a.date()]), (
        "also while it is refused"
    )
    assert replayed(policy(), world().history()).summary()["limit_days"] == 0


def test_a_campaign_of_copies_fires_nothing_and_unweighed_it_would() -> None:
    campaign = world(copies=300)
    assert live(campaign, policy()) is replay(campaign, policy()) is None
    fooled = World(campaign.answers, campaign.changes.iloc[:0])
    assert live(fooled, policy()) == replay(fooled, policy()) is not None, (
        "it is the weights that hold it back"
    )
    late = World(campaign.answers, campaign.changes.assign(weighed_at=datetime(2013, 9, 1)))
    assert replay(late, policy()) == replay(fooled, policy()), "a weight that came later was not known"


def test_the_backtest_judges_the_limits_of_its_policy_and_keeps_a_record_of_the_same(tmp_path: Path) -> None:
    found, loop = world(rises_to=0.6), policy()
    path = tmp_path / "strict.yml"
    path.write_text("triggers: {event: {feedback_limits: {price: {share: 0.85}}, window_days: 14}}")
    strict = policy_of(policy(), path)
    assert set(strict.triggers.event.feedback_limits) == {"false_reassurance", "price"}
    first = replayed(strict, found.history()).fired()[0]
    assert "feedback-limit:price" in first[1].reason and first[0].as_of.date() < replay(found, loop)  # type: ignore[operator]
    # A day whose record said nothing of the limit: what the record judged counts, if it judged the same limit.
    at = next(a for a in AS_OFS if a.date() == replay(found, loop))
    health = next(d.health for d, _ in replayed(loop, found.history()).decisions if d.as_of == at)
    record = entry(3, "health", at, {**health.to_json(), "signals": []})
    for judged_by, expected in ((loop, "as it was recorded"), (FLIGHTS, "the record knew no limit")):
        terms = judged_by.model_dump(mode="json", include={"triggers"})
        decided = {"action": "none", "tier": None, "health": record.hash, "terms": terms}
        asked = replay(found, loop, record, entry(4, "trigger", at, decided))
        assert (asked == at.date()) is (judged_by is FLIGHTS), expected


def test_complaints_count_by_their_weights_too() -> None:
    found = world(copies=300)
    for changes, expected in ((found.changes, False), (found.changes.iloc[:0], True)):
        alerted = False
        for as_of in AS_OFS:
            answers = counted(before(found.answers, as_of), changes, as_of)
            said = judge_opinions(FLIGHTS, found.cohorts, answers, as_of)
            alerted |= any(
                c["name"] == "complaints:false_reassurance" and c["state"] == "alert" for c in said.conditions
            )
        assert alerted is expected


def test_what_counts_is_what_was_said_of_it_by_then_and_never_less_than_nothing() -> None:
    answers = world().answers.head(2)
    day = FIRST
    changes = pd.DataFrame(
        [(day, "ticket", "price", datetime(2013, 5, 3), -100.0), (day, "ticket", "price", datetime(2013, 5, 5), 40.0),
         (day, "ticket", "false_reassurance", datetime(2013, 5, 3), -1e9)],
        columns=list(CHANGES),
    )  # fmt: skip
    whole = float(answers.loc[answers["answer_category"] == "price", "n_answers"].iloc[0])
    for at, expected in ((2, whole), (3, whole - 100), (4, whole - 100), (5, whole - 60)):
        found = counted(answers, changes, datetime(2013, 5, at)).set_index("answer_category")["counts"]
        assert found["price"] == pytest.approx(expected)
    assert found["false_reassurance"] == 0.0
    assert len(counted(answers.iloc[:0], changes, datetime(2013, 5, 5))) == 0


def test_a_measurement_writes_its_weights_down_before_it_reads_what_answers_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    class Read(Exception):
        """The sums were read; nothing after that is looked at."""

    class OneChampion:
        def entries(self, _: str) -> list[Entry]:
            return [entry(1, "bootstrap", datetime(2013, 5, 1), {"request": "b", "model_version": 1})]

    class NoWarehouse:
        def frame(self, *_: object) -> pd.DataFrame:
            return pd.DataFrame({"model_version": []})

    def read_facts(*_: object) -> None:
        done.append("read")
        raise Read

    fakes = {
        "ledger_of": lambda _: OneChampion(),
        "read": lambda *_: {"as_of": "2013-06-10T00:00:00"},
        "keep_profile": lambda *_: None,
        "open_warehouse": lambda *_, **__: nullcontext(NoWarehouse()),
        "read_feedback": lambda *_: "said",
        "weigh_feedback": lambda *_: "weighed",
        "keep_weights": lambda *_: done.append("weights") or 3,
        "read_facts": read_facts,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(monitor, name, fake)
    told: list[str] = []
    with pytest.raises(Read):
        monitor.measure(load_settings({}), FLIGHTS, datetime(2013, 6, 10), told.append)
    assert (done, told) == (["weights", "read"], ["the weights of 3 answers changed"])
