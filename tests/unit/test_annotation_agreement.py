"""Agreement against truths that are known, drift where it was planted, label errors where they were made."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from ratchet.annotation.agreement import alpha, annotators, independent, is_usable
from ratchet.annotation.errors import Labelled, suspects
from ratchet.annotation.labels import Label, resolve
from ratchet.loop_feedback import Annotation

NOON = datetime(2013, 5, 14, 12)
KINDS = ("late", "price", "praise", "other")


def drawn(items: int, errors: dict[str, tuple[float, float]], seed: int = 1) -> list[Label]:
    """Labels of annotators who err with one rate early and another late."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(items):
        truth = KINDS[int(rng.integers(len(KINDS)))]
        for name, (early, late) in errors.items():
            rate = early if n < items / 2 else late
            others = [kind for kind in KINDS if kind != truth]
            said = others[int(rng.integers(len(others)))] if rng.random() < rate else truth
            at = NOON + timedelta(minutes=n)
            found.append(Label(f"f{n:04}", name, said, "1", at, at, "csv"))
    return found


def test_alpha_is_the_librarys_published_example() -> None:
    # Krippendorff's example as the library documents it: three coders, fifteen units, 0.691358.
    table = ("_____34121133_3", "1_213343_______", "__21344_21133_4")
    labels = [
        Label(f"f{unit:02}", f"coder{coder}", value, "1", NOON, NOON, "csv")
        for coder, row in enumerate(table)
        for unit, value in enumerate(row)
        if value != "_"
    ]
    found = alpha(labels, 10)
    assert found.value == pytest.approx(0.691358, abs=1e-6) and found.items == 12
    assert found.low is not None and found.high is not None and found.low < found.value < found.high


def test_agreement_is_what_the_error_rates_make_it() -> None:
    found = alpha(drawn(600, {"a": (0.1, 0.1), "b": (0.1, 0.1)}), 30)
    same = 0.9**2 + 0.1**2 / 3
    truth = (same - 0.25) / 0.75
    assert found.low is not None and found.high is not None and found.low < truth < found.high
    assert is_usable(found, 0.667) and not is_usable(found, 0.9)
    chance = alpha(drawn(600, {"a": (0.75, 0.75), "b": (0.75, 0.75)}), 30)
    assert chance.low is not None and chance.high is not None and chance.low < 0 < chance.high
    assert not is_usable(chance, 0.0) or chance.low >= 0


def test_too_little_is_no_agreement_and_allows_nothing() -> None:
    few = alpha(drawn(29, {"a": (0.0, 0.0), "b": (0.0, 0.0)}), 30)
    assert few.value is None and "29 items" in few.reason and not is_usable(few, 0.0)
    alone = alpha(drawn(100, {"a": (0.0, 0.0)}), 30)
    assert alone.items == 0 and not is_usable(alone, 0.0)
    one = [Label(f"f{n}", who, "late", "1", NOON, NOON, "csv") for n in range(50) for who in "ab"]
    assert "one category" in alpha(one, 30).reason and not is_usable(alpha(one, 30), 0.0)
    assert alpha([], 30).value is None
    assert annotators([], [], (), 1) == []


def test_who_drifts_is_found_and_who_does_not_is_left_in_peace() -> None:
    errors = {"steady": (0.05, 0.05), "calm": (0.05, 0.05), "tired": (0.05, 0.5)}
    labels = drawn(400, errors)
    found = {one.name: one for one in annotators(labels, resolve(labels, Annotation()), (), 1)}
    assert found["tired"].is_drifting and (found["tired"].drift.value or 0) < -0.3
    assert found["tired"].agreement.value == min(one.agreement.value or 0 for one in found.values())
    off = sum(n for (truth, said), n in found["tired"].confusion.items() if truth != said)
    assert off > 3 * sum(n for (truth, said), n in found["steady"].confusion.items() if truth != said)
    false = 0
    for seed in range(40):
        labels = drawn(80, {"a": (0.1, 0.1), "b": (0.1, 0.1)}, seed)
        false += sum(one.is_drifting for one in annotators(labels, resolve(labels, Annotation()), (), seed))
    assert false <= 6, f"{false} of 80 were called drifting"
    short = annotators(drawn(30, errors), [], (), 1)
    assert {one.drift.value for one in short} == {None} and "needed" in short[0].drift.reason


@pytest.mark.parametrize(("items", "errors"), [(40, 0.02), (100, 0.1)])
def test_the_interval_of_alpha_covers_as_often_as_it_says(items: int, errors: float) -> None:
    same = (1 - errors) ** 2 + errors**2 / 3
    truth, covered = (same - 0.25) / 0.75, 0
    for seed in range(250):
        found = alpha(drawn(items, {"a": (errors, errors), "b": (errors, errors)}, seed), 30)
        assert found.low is not None and found.high is not None and found.value is not None
        assert found.low <= found.value <= found.high <= 1
        covered += found.low <= truth <= found.high
    assert covered / 250 >= 0.92, f"{covered} of 250"  # three standard errors of 95 % are 4 %


def test_where_nobody_differed_the_interval_still_has_a_width() -> None:
    found = alpha(drawn(30, {"a": (0.0, 0.0), "b": (0.0, 0.0)}), 30)
    assert found.value == found.high == 1.0 and found.low is not None and 0.8 < found.low < 0.99
    many = alpha(drawn(300, {"a": (0.0, 0.0), "b": (0.0, 0.0)}), 30)
    assert many.low is not None and many.low > 0.97
    nearly = [
        Label(f"f{n:02}", who, "late" if n > 1 else "price", "1", NOON, NOON, "csv")
        for n in range(50)
        for who in "ab"
    ]
    assert "no interval" in alpha(nearly, 30).reason


def test_an_adjudicator_is_no_second_opinion() -> None:
    labels = drawn(60, {"a": (0.1, 0.1), "judge": (0.0, 0.0)})
    assert alpha(independent(labels, ["judge"]), 30).items == 0
    found = {one.name: one for one in annotators(labels, resolve(labels, Annotation()), ["judge"], 1)}
    assert found["a"].agreement.value is None and found["judge"].agreement.value is None


WORDS = {"late": "delay missed waited", "price": "fare refund dear", "praise": "thanks great smooth"}


def test_planted_label_errors_are_found_by_what_came_before() -> None:
    rng = np.random.default_rng(3)
    items, wrong = [], set()
    kinds = sorted(WORDS)
    for n in range(180):
        said = truth = kinds[int(rng.integers(3))]
        text = " ".join(rng.choice([*WORDS[truth].split(), "the", "flight", "my", "app"], 6))
        if n >= 60 and rng.random() < 0.15:
            said = [kind for kind in kinds if kind != truth][int(rng.integers(2))]
            wrong.add(f"f{n:04}")
        items.append(Labelled(f"f{n:04}", text, said, f"{n:04}"))
    found = suspects(items, 1)
    named = {one.feedback_id for one in found.found}
    assert found.items == 180 and found.judged >= 120 and len(wrong) > 10
    assert len(named & wrong) / len(wrong) > 0.7, "recall"
    assert len(named & wrong) / len(named) > 0.7, "precision"
    assert [one.quality for one in found.found] == sorted(one.quality for one in found.found)
    few = suspects(items[:30], 1)
    assert few.found == () and "needed" in few.reason
    assert suspects([], 1).judged == 0
