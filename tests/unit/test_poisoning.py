"""Campaigns count less and ordinary people do not: bursts, copies, claims that outcomes contradict, and storms."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from ratchet.feedback.enrich import duplicate_key
from ratchet.feedback.near import groups
from ratchet.feedback.poisoning import COLUMNS, LEAST_DAYS, Weighed, weigh

START, DAYS, JUDGED, A_DAY = date(2013, 6, 1), 35, 7, 120
SINCE, UNTIL = START + timedelta(days=DAYS - JUDGED), START + timedelta(days=DAYS)
CLAIMS = {"false_reassurance": 1, "false_alarm": 0}
ABOUT = ("false_reassurance", "false_alarm", "app_problem", "price", "praise")
SHARES = (0.3, 0.2, 0.15, 0.1, 0.25)
PLACES = ("Boston", "Miami", "Denver", "Austin", "Tampa", "Dallas", "Cleveland", "Charlotte")
STORMS = (10, 30)
BOUND = 0.02


def ordinary(seed: int = 1) -> tuple[pd.DataFrame, dict[str, str]]:
    """Five weeks of 3,000 people who use the same few sentences, err at times, and all complain in storms."""
    rng, rows, texts = np.random.default_rng(seed), [], {}
    errs = rng.beta(2, 20, 3000)
    for day in range(DAYS):
        for n in range(A_DAY * (4 if day in STORMS else 1)):
            about = ABOUT[0] if day in STORMS and n >= A_DAY else str(rng.choice(ABOUT, p=SHARES))
            person = int(rng.integers(3000))
            text = f"This is sentence {'abcdefgh'[rng.integers(8)]} of {about} about {rng.choice(PLACES)}"
            truth = CLAIMS.get(about, int(rng.random() < 0.3))
            rows.append(
                _row(len(rows), day, about, text, f"u{person}", truth ^ int(rng.random() < errs[person]))
            )
            texts[duplicate_key(text)] = text
    return pd.DataFrame(rows), texts


def _row(n: int, day: int, about: str, text: str, account: str | None, label: int) -> dict[str, object]:
    return {
        "feedback_id": f"f{n:06}", "account": account, "unit_id": f"UA{n}", "category": about, "label": label,
        "received_date": START + timedelta(days=day), "duplicate_key": duplicate_key(text), "weight": 1.0,
    }  # fmt: skip


def with_campaign(kind: str, share: float = 0.05) -> tuple[pd.DataFrame, dict[str, str], set[str]]:
    """The ordinary weeks and a campaign in the last one, as large as `share` of that week's feedback."""
    rows, texts = ordinary()
    rng = np.random.default_rng(5)
    week = int((rows["received_date"] >= SINCE).sum())
    planted = []
    for n in range(round(share * week / (1 - share))):
        day = DAYS - JUDGED + n % JUDGED
        about, account, label = "price", f"x{n}", 0
        text = f"Everybody must know that this airline is a fraud and charges far too much {PLACES[n % 3]}"
        if kind == "anonymous copies":
            account = None  # type: ignore[assignment]
        elif kind == "burst":
            day, account = DAYS - 2 - n % 2, "x"
            text = " ".join(
                str(word) for word in rng.choice(["seat", "fare", "money", "bag", "fee", "desk"], 12)
            )
        elif kind == "contradicts":
            about, account, label = "false_alarm", f"x{n // 8}", 1
            text = f"This is sentence {'abcdefgh'[rng.integers(8)]} of {about} about {rng.choice(PLACES)}"
        planted.append(_row(900_000 + n, day, about, text, account, label))
        texts[duplicate_key(text)] = text
    every = pd.concat([rows, pd.DataFrame(planted)], ignore_index=True)
    return every, texts, {str(row["feedback_id"]) for row in planted}


def judged(rows: pd.DataFrame, texts: dict[str, str]) -> Weighed:
    return weigh(rows, texts, CLAIMS, SINCE, UNTIL)


def shares(rows: pd.DataFrame, weights: pd.DataFrame | None = None) -> pd.Series:
    """Of the last week, what part of the feedback is about what."""
    last = rows[rows["received_date"] >= SINCE]
    known = {} if weights is None else dict(zip(weights["feedback_id"], weights["weight"], strict=True))
    counted = last.assign(w=last["feedback_id"].map(known).fillna(1.0)).groupby("category")["w"].sum()
    return counted / counted.sum()


def test_ordinary_people_count_in_full_in_a_storm_too() -> None:
    rows, texts = ordinary()
    assert Counter(rows["received_date"])[SINCE + timedelta(days=2)] == 4 * A_DAY, "there is no storm"
    found = judged(rows, texts)
    assert found.is_known and found.judged == (JUDGED + 3) * A_DAY
    assert len(found.weights) <= 0.002 * found.judged, found.weights


@pytest.mark.parametrize("kind", ["copies", "anonymous copies", "burst", "contradicts"])
def test_a_campaign_of_one_in_twenty_moves_the_shares_by_less_than_the_bound(kind: str) -> None:
    rows, texts, planted = with_campaign(kind)
    honest = shares(ordinary()[0])
    found = judged(rows, texts)
    # Without the defence it moves them by more: the check can fail.
    assert (shares(rows) - honest).abs().max() > BOUND
    moved = (shares(rows, found.weights) - honest).abs().max()
    assert moved < BOUND, (moved, found.found)
    caught = set(found.weights["feedback_id"])
    assert len(caught & planted) >= 0.9 * len(planted)
    assert len(caught - planted) <= 0.004 * found.judged, found.weights
    reason = kind.split()[-1]
    assert found.found[reason].sources >= 1  # type: ignore[index]
    assert set(found.weights.loc[found.weights["feedback_id"].isin(planted), "reason"]) == {reason}
    assert found.lost == pytest.approx(0.05, abs=0.02)


def test_the_same_answers_in_another_order_get_the_same_weights() -> None:
    rows, texts, _ = with_campaign("copies")
    first, second = judged(rows, texts), judged(rows.sample(frac=1, random_state=3), texts)
    assert len(first.weights) > 10
    pd.testing.assert_frame_equal(first.weights, second.weights)


def test_what_counted_less_before_makes_the_next_week_of_it_no_ordinary_one() -> None:
    rows, texts, planted = with_campaign("copies", 0.2)
    later = rows.assign(received_date=[day - timedelta(days=JUDGED) for day in rows["received_date"]])
    again = pd.concat([later.assign(feedback_id="b" + later["feedback_id"]), rows], ignore_index=True)
    again = again[again["received_date"] >= SINCE - timedelta(days=14)]
    known = again.assign(
        weight=again["feedback_id"].isin({"b" + one for one in planted}).map({True: 0.01, False: 1.0})
    )

    def caught(frame: pd.DataFrame) -> float:
        weights = judged(frame, texts).weights
        own = weights[weights["feedback_id"].isin(planted)]
        return float((1 - own["weight"]).sum() / len(planted))

    assert caught(known) > 0.9
    assert caught(again) < caught(known), "what was weighed before made no difference"


def test_without_days_before_nothing_is_judged() -> None:
    rows, texts, _ = with_campaign("copies")
    young = rows[rows["received_date"] >= SINCE - timedelta(days=LEAST_DAYS - 1)]
    found = judged(young, texts)
    assert not found.is_known and not len(found.weights)
    assert not judged(rows.iloc[:0], {}).is_known
    with pytest.raises(ValueError, match="twice"):
        judged(pd.concat([rows, rows.iloc[:1]]), texts)
    assert set(COLUMNS) == set(rows.columns)


def test_near_texts_are_one_group_and_others_are_not() -> None:
    texts = {
        "a": "Everybody must know that this airline is a fraud in Boston",
        "b": "everybody must know, that this airline is a fraud in Miami!",
        "c": "The forecast for my flight to Boston was right and I was in time",
        "d": "",
    }
    assert groups(texts) == {"a": "a", "b": "a", "c": "c", "d": "d"}
    assert groups({}) == {}
    many = {f"k{n:04}": f"{texts['a']} number {'x' * (n % 7)}" for n in range(2000)}
    assert set(groups(many).values()) == {"k0000"}
