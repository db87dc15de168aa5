"""What a receipt says: only words where few are behind a number, nothing that anybody wrote, the same for the same."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from jinja2 import TemplateError

from ratchet.feedback import receipts
from ratchet.feedback.forgetting import Flagged, retrain_after
from ratchet.feedback.receipts import Contribution, Day, Receipt, trend, write

WORDS = Path(receipts.__file__).with_name("receipt_en.txt").read_text(encoding="utf-8")
PERIOD = (date(2013, 5, 1), date(2013, 5, 28))
TITLES = {"false_alarm": "a warning that did not come true"}


def days(share: float, people: int = 50, count: int = 28, seed: int = 1) -> list[Day]:
    rng = np.random.default_rng(seed)
    answers = rng.poisson(300, count)
    return [Day(int(n), int(rng.binomial(n, share)), people) for n in answers]


def said(*contributions: Contribution, template: str = WORDS, **trends: receipts.Trend) -> Receipt:
    return write(
        template, "en", goal="g", period=PERIOD, contributions=contributions, titles=TITLES, trends=trends
    )


def answer(**changes: object) -> Contribution:
    told = {
        "received_on": PERIOD[0],
        "channel": "rating",
        "category": "false_alarm",
        "use": "watched",
        "model_version": 3,
    }
    return Contribution(**{**told, **changes})  # type: ignore[arg-type]


def test_a_change_is_told_when_enough_people_are_behind_both_sides() -> None:
    assert trend(days(0.30), days(0.20, seed=2), 20) == "fell"
    assert trend(days(0.20), days(0.30, seed=2), 20) == "rose"
    assert trend(days(0.20), days(0.20, seed=2), 20) == "same"
    assert trend(days(0.30, people=19), days(0.20, seed=2), 20) == "unknown"
    assert trend(days(0.30), days(0.20, people=19, seed=2), 20) == "unknown"
    assert trend(days(0.30, count=4), days(0.20, seed=2), 20) == "unknown"
    assert trend([], days(0.2), 20) == "unknown"


def test_no_change_is_called_one_rarely() -> None:
    """A/A over 400 pairs with days that differ: the clustered interval is wrong about 5 % of the time."""
    rng = np.random.default_rng(7)

    def uneven() -> list[Day]:
        shares = np.clip(rng.normal(0.25, 0.06, 28), 0.02, 0.9)
        return [Day(200, int(rng.binomial(200, share)), 50) for share in shares]

    wrong = sum(trend(uneven(), uneven(), 20) != "same" for _ in range(400))
    assert wrong <= 36, wrong


def test_the_receipt_says_what_was_used_and_why_not() -> None:
    text = said(
        answer(use="decided"), answer(), answer(), answer(use="late"), answer(use="unplaced", model_version=None),
        answer(category=None, may_train=False), false_alarm="fell",
    )  # fmt: skip
    assert text.subject == "What became of your feedback, 2013-05-01 to 2013-05-28"
    assert "6 answers of yours" in text.body and "2 about a warning that did not come true" in text.body
    for phrase in (
        "it was decided whether version 3", "in the daily watch over version 3", "came after the time",
        "no forecast that you were shown", "you did not agree", "Fewer of the answers", "without a subject",
    ):  # fmt: skip
        assert phrase in text.body, phrase
    assert text.templates == "en/2"
    assert said(answer(), false_alarm="fell") == said(answer(), false_alarm="fell")


@pytest.mark.parametrize(
    ("trend_told", "since", "before"),
    [
        ("fell", "Since then a smaller share", "Fewer of the answers named"),
        ("rose", "Since then a larger share", "More of the answers named"),
        ("same", "Since then the share of answers that name this problem has not", "has not changed by more"),
    ],
)
def test_what_is_compared_with_what_is_said(trend_told: receipts.Trend, since: str, before: str) -> None:
    waited, at_once = (
        write(WORDS, "en", goal="g", period=PERIOD, contributions=[answer(trained_version=4)], titles=TITLES,
              trends={"false_alarm": trend_told}, has_waited=has_waited).body
        for has_waited in (True, False)
    )  # fmt: skip
    assert since in waited and since not in at_once and before in at_once
    assert "they are counted in what version 4 was trained on" in waited


def test_nothing_is_said_of_a_change_that_is_not_known() -> None:
    for told in ({}, {"false_alarm": "unknown"}):
        body = said(answer(), **told).body  # type: ignore[arg-type]
        assert "share of answers" not in body and "the answers named" not in body
    # The person's own counts and versions are the only numbers.
    numbers = {
        w.strip(".,:") for w in said(answer(), false_alarm="rose").body.split() if w.strip(".,:").isdigit()
    }
    assert numbers == {"1", "3"}


def test_a_category_is_data_and_a_template_can_do_nothing_but_print() -> None:
    hostile = write(
        WORDS, "en", goal="g", period=PERIOD, contributions=[answer()], trends={},
        titles={"false_alarm": "<script>{{ 7 * 7 }}</script>"},
    )  # fmt: skip
    assert "<script>" not in hostile.body and "{{ 7 * 7 }}" in hostile.body
    assert "something else" in said(answer(category="'; drop table")).body
    for template in (
        "{{ ''.__class__.__mro__ }}",
        "{{ goal.__init__.__globals__ }}",
        "{{ nothing_of_that_name }}",
    ):
        with pytest.raises(TemplateError):
            said(answer(), template=template)


def test_message_ids_name_a_receipt_for_good() -> None:
    one = receipts.message_id("flights", "u_1", PERIOD[0])
    assert one == receipts.message_id("flights", "u_1", PERIOD[0])
    assert (
        len(
            {
                one,
                receipts.message_id("flights", "u_2", PERIOD[0]),
                receipts.message_id("f", "u_1", PERIOD[0]),
            }
        )
        == 3
    )


def test_forgetting_asks_for_a_retrain_only_when_the_model_that_serves_learned_from_it() -> None:
    flagged = [Flagged(2, 5)]
    assert retrain_after("retrain_now", flagged, 2, is_busy=False).action == "request"
    assert retrain_after("retrain_now", flagged, 2, is_busy=True).action == "none"
    assert retrain_after("retrain_now", flagged, 3, is_busy=False).action == "none"
    assert retrain_after("next_routine", flagged, 2, is_busy=False).action == "none"
    assert retrain_after("none", flagged, 2, is_busy=False).action == "none"
    assert retrain_after("retrain_now", [], None, is_busy=False).action == "none"
