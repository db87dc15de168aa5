"""Simulated travellers against the figures that docs/demo-world.md states."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from ratchet.replay import travellers
from ratchet.replay.comments import CATEGORIES, TEMPLATES
from ratchet.replay.flights import load_flights

LATE_FROM = 15.0
DAYS = pd.date_range("2013-02-01", "2013-03-31")
BANDS = {"on time": (-100, 0), "at the limit": (1, 14), "shortly after": (15, 45), "late": (46, 120)}


def _scores(flights: pd.DataFrame) -> np.ndarray:
    """A made-up model that ranks about as well as the demo's (area under the curve near 0.75)."""
    noise = np.random.default_rng(3).normal(size=len(flights))
    return 1 / (1 + np.exp(-(-1.6 + noise + 0.9 * (flights["delay_minutes"].to_numpy() >= LATE_FROM))))


def _served(flights: pd.DataFrame, score: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "prediction_id": "p-" + flights["flight_id"],
            "unit_id": flights["flight_id"],
            "score": score,
            "event_at": flights["scheduled_departure_at"] - pd.Timedelta(hours=2),
        }
    )


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    rows = load_flights()
    return rows[rows["departure_date"].isin(DAYS)]


@pytest.fixture(scope="module")
def reactions(flights: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two months: answers with what happened beside them, and telemetry."""
    answers, events = [], []
    score = pd.Series(_scores(flights), index=flights.index)
    for day, rows in flights.groupby("departure_date"):
        feedback, telemetry = travellers.react(
            rows, _served(rows, score[rows.index].to_numpy()), day.date(), 1, LATE_FROM
        )
        answers.append(feedback)
        events.append(telemetry)
    facts = flights.set_index("flight_id")[["delay_minutes", "arrived_at"]]
    return pd.concat(answers).join(facts, on="unit_id"), pd.concat(events)


def _ratings(reactions: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    rows = reactions[0]
    return rows[rows["channel"] == "rating"]


@pytest.mark.parametrize(
    ("band", "expected"), [("on time", 4.3), ("at the limit", 4.2), ("shortly after", 3.2), ("late", 2.1)]
)
def test_mean_rating_by_lateness_is_the_marketplaces(reactions, band: str, expected: float) -> None:
    low, high = BANDS[band]
    rows = _ratings(reactions)
    rated = rows[rows["delay_minutes"].between(low, high)]["rating"].astype(float)
    assert len(rated) > 5_000
    assert rated.mean() == pytest.approx(expected, abs=0.15)


def test_very_late_flights_are_rated_below_two(reactions) -> None:
    rows = _ratings(reactions)
    rated = rows[rows["delay_minutes"] > 120]["rating"].astype(float)
    assert len(rated) > 1_000
    assert 1.5 <= rated.mean() <= 1.95


def test_about_three_per_cent_of_those_asked_answer(reactions) -> None:
    _, telemetry = reactions
    asked = telemetry.loc[telemetry["event_type"] == "rating_asked", "event_count"]
    assert asked.mean() == pytest.approx(100, rel=0.01)
    assert len(_ratings(reactions)) / asked.sum() == pytest.approx(0.03, abs=0.004)


def test_the_upset_answer_more_often(reactions) -> None:
    rows = _ratings(reactions)
    flights_by_state = reactions[1][reactions[1]["event_type"] == "rating_asked"].set_index("unit_id")
    late = rows.groupby("unit_id")["delay_minutes"].first() > 60
    answers = rows.groupby("unit_id").size()
    share = answers / flights_by_state["event_count"].reindex(answers.index)
    assert share[late].mean() > 1.2 * share[~late].mean()


def test_answers_take_the_stated_time(reactions) -> None:
    rows = _ratings(reactions)
    days = (rows["event_at"] - rows["arrived_at"]).dt.total_seconds() / 86_400
    assert days.quantile(0.5) == pytest.approx(1.7, rel=0.03)
    assert days.quantile(0.9) == pytest.approx(4.8, rel=0.03)
    assert days.max() <= travellers.ANSWER_DELAY_MAX_DAYS
    assert (rows["received_at"] > rows["event_at"]).all()


def test_comments_come_with_low_ratings(reactions) -> None:
    rows = _ratings(reactions)
    share = rows.groupby(rows["rating"].astype(int))["comment"].apply(
        lambda comments: comments.notna().mean()
    )
    assert share[1] == pytest.approx(0.79, abs=0.02)
    assert share[5] == pytest.approx(0.35, abs=0.02)
    assert share.is_monotonic_decreasing


def test_every_category_is_written_about_and_some_comments_hold_contact_data(reactions) -> None:
    rows = reactions[0].dropna(subset=["comment"])
    assert set(rows["category"]) == set(CATEGORIES) == set(TEMPLATES)
    share = rows["comment"].str.contains(r"@example\.|555").mean()
    assert share == pytest.approx(0.02, abs=0.005)


def test_tickets_are_opened_by_the_unhappy_and_carry_no_rating(reactions) -> None:
    feedback = reactions[0]
    tickets = feedback[feedback["channel"] == "ticket"]
    unhappy = (_ratings(reactions)["rating"] <= 2).sum()
    assert tickets["rating"].isna().all()
    assert tickets["comment"].notna().all()
    assert len(tickets) / unhappy == pytest.approx(travellers.TICKET_SHARE, abs=0.01)


def test_who_did_not_arrive_is_not_asked_and_does_not_answer(flights, reactions) -> None:
    gone = set(flights.loc[flights["delay_minutes"].isna(), "flight_id"])
    assert len(gone) > 1_000
    feedback, telemetry = reactions
    assert not gone & set(feedback["unit_id"])
    assert not gone & set(telemetry.loc[telemetry["event_type"] == "rating_asked", "unit_id"])


def test_ids_are_unique_and_counts_positive(reactions) -> None:
    feedback, telemetry = reactions
    assert feedback["feedback_id"].is_unique
    assert telemetry["telemetry_id"].is_unique
    assert (telemetry["event_count"] > 0).all()
    assert (telemetry["received_at"] > telemetry["event_at"]).all()


def _mean(delay: float, score: float) -> float:
    return float(travellers.mean_rating(np.array([delay]), np.array([score]), LATE_FROM)[0])


def test_a_wrong_on_time_hurts_most() -> None:
    honest, false_alarm = _mean(-5, 0.1), _mean(-5, 0.6)
    warned, reassured = _mean(60, 0.6), _mean(60, 0.1)
    assert warned - reassured > honest - false_alarm > 0


def test_better_calibrated_scores_are_rated_better_on_either_side() -> None:
    assert _mean(60, 0.30) > _mean(60, 0.20) > _mean(60, 0.05)
    assert _mean(0, 0.05) > _mean(0, 0.20) > _mean(0, 0.30)


def test_the_threshold_itself_is_late() -> None:
    assert _mean(15, 0.2) < _mean(14, 0.2) - 0.5


def test_a_score_that_is_no_number_warns_nobody() -> None:
    assert _mean(60, float("nan")) == pytest.approx(2.1 + travellers.UNWARNED_AND_LATE)


@pytest.mark.parametrize("mean", [1.1, 2.1, 3.2, 4.3, 4.9])
def test_drawn_ratings_have_the_mean_they_were_asked_for(mean: float) -> None:
    uniform = (np.arange(20_000) + 0.5) / 20_000
    ratings = travellers.draw_rating(np.full(20_000, mean), uniform)
    assert set(np.unique(ratings)) <= {1, 2, 3, 4, 5}
    assert ratings.mean() == pytest.approx(mean, abs=0.001)


def test_a_travellers_draws_do_not_depend_on_what_was_served_to_others(flights) -> None:
    """The same flight with the same score gets the same answers, alone or among the day's flights."""
    day = date(2013, 2, 5)
    rows = flights[flights["departure_date"] == pd.Timestamp(day)]
    served = _served(rows, np.full(len(rows), 0.2))
    everyone, _ = travellers.react(rows, served, day, 1, LATE_FROM)
    half, _ = travellers.react(rows, served.iloc[::-2], day, 1, LATE_FROM)
    expected = everyone[everyone["unit_id"].isin(served.iloc[::-2]["unit_id"])]
    assert len(expected) > 500
    pd.testing.assert_frame_equal(
        half.sort_values("feedback_id", ignore_index=True),
        expected.sort_values("feedback_id", ignore_index=True),
    )


def test_a_day_of_no_served_predictions_has_no_answers(flights) -> None:
    day = date(2013, 2, 5)
    rows = flights[flights["departure_date"] == pd.Timestamp(day)]
    feedback, telemetry = travellers.react(
        rows, _served(rows, np.zeros(len(rows))).iloc[:0], day, 1, LATE_FROM
    )
    assert len(feedback) == len(telemetry) == 0
    assert tuple(feedback.columns) == travellers.FEEDBACK_COLUMNS
    assert tuple(telemetry.columns) == travellers.TELEMETRY_COLUMNS
