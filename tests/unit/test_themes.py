"""Themes: the pressing before the rare, praise last, trends over days, and nothing of a small group."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ratchet.feedback.themes import WINDOW, Done, Theme, themes
from ratchet.loop import load_loop

CLOSED = date(2013, 7, 31)
TAXONOMY = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml").feedback.taxonomy
DONE = (Done("2013-07-01T00:00:00", "retrain asked for (event): complaints rose"),)


def sums(rates: dict[str, tuple[float, float, float]], days: int = 56, seed: int = 1) -> pd.DataFrame:
    """Days of 900 people asked: category -> rate before, rate now, its mean rating; the others rate 4."""
    rng, rows = np.random.default_rng(seed), []
    for at in range(days):
        day = CLOSED - timedelta(days=days - 1 - at)
        counts = {c: int(rng.binomial(900, r[day > CLOSED - WINDOW])) for c, r in rates.items()}
        others = int(rng.binomial(900, 0.2))
        rated = 4.0 * others + sum(n * (rates[c][2] + rng.normal(0, 0.1)) for c, n in counts.items())
        whole = others + sum(counts.values())
        rows.append((day, "all", 900, whole, whole, whole, rated))
        rows += [(day, c, 0, n, n, n, n * (rates[c][2] + rng.normal(0, 0.1))) for c, n in counts.items() if n]
    return pd.DataFrame(
        rows,
        columns=[
            "departure_date", "answer_category", "n_asked", "n_answers", "sum_weight", "sum_weight_rated",
            "sum_rating_weighted",
        ],
    )  # fmt: skip


def told(frame: pd.DataFrame, people: dict[str, int], k: int = 10) -> dict[str, Theme]:
    assert TAXONOMY is not None
    return {theme.category: theme for theme in themes(TAXONOMY, frame, people, 2000, CLOSED, DONE, k)}


RATES = {
    "false_reassurance": (0.02, 0.04, 1.5), "app_problem": (0.04, 0.02, 2.0), "price": (0.01, 0.01, 3.0),
    "praise": (0.2, 0.2, 4.9), "wrong_flight": (0.0001, 0.0001, 1.0),
}  # fmt: skip
PEOPLE = {"false_reassurance": 900, "app_problem": 500, "price": 200, "praise": 1500, "wrong_flight": 3}


def test_they_are_ranked_by_severity_and_frequency_with_praise_after_complaints() -> None:
    found = told(sums(RATES), PEOPLE)
    assert list(found)[:4] == ["false_reassurance", "app_problem", "price", "praise"]
    assert found["false_reassurance"].trend == "rising"
    assert found["app_problem"].trend == "falling"
    assert found["price"].trend == "no change shown"
    assert found["false_reassurance"].people_share == 0.45


def test_the_rating_gap_is_told_with_an_interval_and_what_it_is_worth() -> None:
    found = told(sums(RATES), PEOPLE)
    one = found["false_reassurance"]
    assert one.rating_gap is not None and one.rating_gap_high is not None and one.gain is not None
    assert one.rating_gap < one.rating_gap_high < -2
    assert one.gain > 0
    praise = found["praise"]
    assert praise.gain is not None and praise.gain < 0


def test_what_was_done_is_told_of_what_is_about_the_model() -> None:
    found = told(sums(RATES), PEOPLE)
    assert found["false_reassurance"].done == DONE
    assert found["price"].done == ()


def test_fewer_people_than_k_have_no_number() -> None:
    hidden = told(sums(RATES), PEOPLE)["wrong_flight"]
    assert hidden.is_hidden
    numbers = {f.name: getattr(hidden, f.name) for f in dataclasses.fields(Theme) if f.name != "severity"}
    assert [
        name for name, v in numbers.items() if isinstance(v, (int, float)) and not isinstance(v, bool)
    ] == []
    # Many answers of few people are few people; k decides.
    few = told(sums(RATES), PEOPLE | {"price": 9})
    assert few["price"].is_hidden and not told(sums(RATES), PEOPLE | {"price": 9}, k=9)["price"].is_hidden
    weeks = told(sums(RATES), PEOPLE, k=80)["price"].weeks
    assert len(weeks) == 8 and any(week["rate"] is None for week in weeks)


def test_few_days_have_no_trend_and_open_days_do_not_count() -> None:
    young = told(sums(RATES, days=30), PEOPLE)["false_reassurance"]
    assert (young.trend, young.trend_value) == ("not enough evidence", None)
    frame = sums(RATES)
    later = frame.assign(departure_date=[day + timedelta(days=60) for day in frame["departure_date"]])
    assert told(pd.concat([frame, later]), PEOPLE) == told(frame, PEOPLE)
    assert {theme.is_hidden for theme in told(frame.iloc[:0], PEOPLE).values()} == {True}
