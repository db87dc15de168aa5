"""Landed feedback is weighed as it was known, its weights are kept with their moment; themes and effects are told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.table import Table

from ratchet.commands.themes import by_cohort
from ratchet.landing.land import land_range
from ratchet.ledger.chain import Entry
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.effects import (
    FeedbackFacts,
    conditions_of,
    keep_weights,
    read_feedback,
    summary_of,
    weigh_feedback,
)
from ratchet.stages.enriching import enrich_landed, fit_model
from ratchet.warehouse.protocol import Warehouse

START, DAYS = date(2013, 6, 1), 14
AS_OF = datetime(2013, 6, 15)
SAID = {
    "false_reassurance": "No warning at all, I missed my connection in {place} because of it",
    "app_problem": "The app crashed while I was looking for my flight in {place}",
    "price": "It is far too expensive to fly from here, and {place} is no better",
}
PLACES = ("Boston", "Miami", "Denver", "Austin", "Tampa")
SUMS = [
    "loop", "departure_date", "experiment_id", "arm", "cohort_dimension", "cohort_value", "answer_category", "n_asked",
    "n_answers", "sum_weight", "sum_weight_rated", "sum_rating_weighted", "n_simulated",
]  # fmt: skip
CAMPAIGN = "Everybody write this now: the app crashed, an empty page, they are frauds from top to bottom"


def quiet(_: str) -> None:
    return None


def row(feedback_id: str, day: date, text: str, user: str) -> dict[str, Any]:
    return {
        "feedback_id": feedback_id, "prediction_id": f"p{feedback_id}", "unit_id": f"UA{feedback_id}",
        "channel": "ticket", "comment": text, "user_id": user, "is_simulated": True,
        "event_at": f"{day}T09:00:00Z", "received_at": f"{day}T10:00:00Z",
    }  # fmt: skip


@pytest.fixture
def landed(loop: Loop, settings: Settings, wh: Warehouse) -> Warehouse:
    """Two weeks of forty answers a day, sixty copies of one text in the last days, sums of a rollout beside them."""
    rng = np.random.default_rng(1)
    for at in range(DAYS):
        day = START + timedelta(days=at)
        rows = []
        for n in range(40):
            text = SAID[str(rng.choice(list(SAID)))].format(place=rng.choice(PLACES))
            rows.append(row(f"d{at}n{n}", day, text, f"person{rng.integers(400)}"))
        if at >= DAYS - 3:
            rows += [row(f"x{at}n{n}", day, CAMPAIGN, f"planted{at}-{n}") for n in range(20)]
        path = settings.landing_dir / "flights" / "feedback" / f"received_date={day}" / "a.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    land_range(loop, settings, wh, START, START + timedelta(days=DAYS - 1), quiet)
    enrich_landed(wh, settings, loop, quiet)
    for schema in ("marts", "monitoring"):
        wh.execute(f"create schema if not exists {schema}")
    wh.execute(
        "create table marts.fct_labels (loop varchar, unit_id varchar, departure_date date, label integer, "
        "is_in_window boolean, outcome_received_at timestamp)"
    )
    wh.execute(
        "create table monitoring.mon_feedback_daily (loop varchar, departure_date date, experiment_id varchar, "
        "arm varchar, cohort_dimension varchar, cohort_value varchar, answer_category varchar, n_asked integer, "
        "n_answers integer, sum_weight double precision, sum_weight_rated double precision, "
        "sum_rating_weighted double precision, n_simulated integer)"
    )
    sums = []
    for at in range(60):
        day = AS_OF.date() - timedelta(days=61 - at)
        for arm, n in (("control", 40 + at % 5), ("challenger", 12 + at % 7)):
            for category, asked, answers, rating in (("all", 900, 200, 4.0), ("app_problem", 0, n, 2.0)):
                for dimension, cohort, share in (
                    ("all", "all", 1.0),
                    ("origin", "JFK", 1.0),
                    ("carrier", "YV", 0.0),
                ):
                    part, of = int(share * answers), max(int(share * asked), asked // 900)
                    sums.append(
                        ("flights", day, "ro-1", arm, dimension, cohort, category, of, part,
                         float(part), float(part), rating * part, part)
                    )  # fmt: skip
    wh.append("monitoring.mon_feedback_daily", pd.DataFrame(sums, columns=SUMS))
    return wh


def read(wh: Warehouse, loop: Loop, as_of: datetime = AS_OF) -> FeedbackFacts:
    found = read_feedback(wh, loop, as_of)
    assert found is not None
    return found


def test_a_campaign_is_weighed_kept_once_and_told(loop: Loop, settings: Settings, landed: Warehouse) -> None:
    facts = read(landed, loop)
    assert len(facts.rows) == 40 * DAYS + 60
    weighed = weigh_feedback(loop, facts)
    assert weighed.found["copies"].rows == 60
    assert len(weighed.weights) == 60 and weighed.weights["feedback_id"].str.startswith("x").all()
    (told,) = conditions_of(weighed, 10)
    assert (told["name"], told["state"], told["source"]) == ("campaign", "alert", "feedback")
    assert "60 answers from fewer than 10 texts" in told["evidence"]

    # The same again, from what was written down: nothing changes.
    assert keep_weights(settings, loop, facts, weighed) == 60
    again = read(landed, loop)
    assert (again.rows["weight"].astype(float) < 0.5).sum() == 60
    assert keep_weights(settings, loop, again, weigh_feedback(loop, again)) == 0
    assert landed.scalar("select count(*) from ops.feedback_weights") == 60
    marked = landed.frame("select distinct received_date from ops.reweighed_partitions")
    weighed_on = landed.frame("select distinct received_date from ops.feedback_weights")
    assert set(marked["received_date"]) == set(weighed_on["received_date"])
    # A text model learns nothing from it.
    model, _ = fit_model(settings, loop, [], 1, quiet)
    assert model["about"]["landed"] == 40 * DAYS
    # What was found today was not known yesterday.
    assert (read(landed, loop, AS_OF - timedelta(days=1)).rows["weight"].astype(float) == 1).all()

    # One that is taken back is written beside the first.
    later = replace(read(landed, loop), as_of=AS_OF + timedelta(hours=1))
    nothing = weigh_feedback(loop, replace(later, texts={}))
    assert not len(nothing.weights)
    assert keep_weights(settings, loop, later, nothing) == 60
    assert (
        landed.scalar("select count(*) from ops.feedback_weights where weight = 1 and reason = 'none'") == 60
    )
    assert landed.scalar("select count(*) from ops.feedback_weights") == 120
    assert (read(landed, loop, AS_OF + timedelta(hours=2)).rows["weight"].astype(float) == 1).all()

    # Nothing that was received later is known.
    early = read(landed, loop, datetime(2013, 6, 5))
    assert len(early.rows) == 40 * 4
    assert not weigh_feedback(loop, early).is_known
    assert conditions_of(weigh_feedback(loop, early), 10) == []


def test_themes_and_effects_are_told_without_numbers_of_few(loop: Loop, landed: Warehouse) -> None:
    started = Entry(
        seq=1, loop="flights", kind="rollout_started", key="ro-1", as_of="2013-04-20T00:00:00",
        recorded_at="2013-04-20T00:00:00", actor="", payload={"experiment_id": "ro-1", "challenger_version": 2},
        previous_hash="", hash="",
    )  # fmt: skip
    facts = read(landed, loop)
    found = summary_of(loop, facts, weigh_feedback(loop, facts), [started])
    json.dumps(found, allow_nan=False)
    by = {theme["category"]: theme for theme in found["themes"]}
    assert by["app_problem"]["rating_gap"] < -1.5 and by["app_problem"]["gain"] > 0
    assert by["app_problem"]["trend"] == "no change shown"
    assert by["app_problem"]["people"] <= 400, "the campaign's accounts are no people"
    assert by["wrong_flight"]["is_hidden"] and by["wrong_flight"]["people"] is None
    assert found["themes"][0]["category"] == "app_problem"
    ((effects,),) = ([experiment["effects"] for experiment in found["experiments"]],)
    fell = next(effect for effect in effects if effect["category"] == "app_problem")
    assert (fell["state"], fell["verdict"]) == ("fell", "not expected")
    assert fell["high"] < -0.02 < 0
    cohorts = found["experiments"][0]["cohorts"]
    assert (cohorts["judged"], cohorts["left_out"]) == (1, 1), "nobody was asked in the other one"
    assert [(e["cohort"], e["state"]) for e in cohorts["effects"] if e["category"] == "app_problem"] == [
        ("JFK", "fell")
    ]
    shown = by_cohort(found["experiments"][0], 10)
    assert isinstance(shown, Table) and shown.row_count == len(cohorts["effects"])
    assert found["simulated"]
    # With few people asked for, nobody is many.
    strict = loop.model_copy(update={"monitoring": loop.monitoring.model_copy(update={"min_group": 10**6})})
    hidden = summary_of(strict, facts, weigh_feedback(strict, facts), [started])
    assert {theme["is_hidden"] for theme in hidden["themes"]} == {True}
    assert {effect["value"] for effect in hidden["experiments"][0]["effects"]} == {None}
    assert hidden["experiments"][0]["cohorts"]["effects"] == []
    assert "not judged" in str(by_cohort(hidden["experiments"][0], 10))
    assert (hidden["people"], hidden["campaigns"]["judged"], hidden["campaigns"]["lost"]) == (
        None,
        None,
        None,
    )


def test_without_words_nothing_is_read(loop: Loop, wh: Warehouse) -> None:
    assert read_feedback(wh, loop, AS_OF) is None
