"""What feedback adds to training rows: their weights, their labels, and what each is worth."""

from __future__ import annotations

import json
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.judged_rows import dated, flights_loop

from ratchet.evaluation.ablation import ablation_gate
from ratchet.loop import Loop
from ratchet.loop_feedback import ClaimedLabels, Feedback, RowWeights
from ratchet.training.candidate import WHOLE, make_candidate
from ratchet.training.fit import fit_model
from ratchet.training.recipe import Recipe, TooLittleData, rolling_splits
from ratchet.training.weights import LABELS, WEIGHTS, claimed, training_weights

START = date(2013, 1, 1)


def learning(**changes: Any) -> Loop:
    loop = flights_loop()
    training = loop.training.model_copy(
        update={
            "min_rows": 1000,
            "windows": 2,
            "params": {"max_depth": 3, "eta": 0.2, "min_child_weight": 5, "num_boost_round": 8},
        }
    )
    weights = RowWeights(feature="route_complaint_share_28d", boost=1.0, at_most=2.0)
    learn = loop.feedback.learn.model_copy(update={"weights": weights, **changes})
    feedback = loop.feedback.model_copy(update={"learn": learn})
    return loop.model_copy(update={"training": training, "feedback": feedback})


@lru_cache(maxsize=1)
def snapshot() -> pd.DataFrame:
    loop, rng, n = flights_loop(), np.random.default_rng(8), 60 * 80
    frame = pd.DataFrame({name: rng.normal(size=n) for name in loop.features.numeric})
    frame["route_complaint_share_28d"] = np.where(np.arange(n) % 2, rng.random(n), np.nan)
    frame["origin"], frame["carrier"] = rng.choice(["EWR", "JFK"], n), rng.choice(["AA", "DL"], n)
    frame["departure_date"] = [START + timedelta(days=i // 80) for i in range(n)]
    frame["unit_id"] = [f"u{i:05d}" for i in range(n)]
    frame["label"] = (rng.random(n) < 1 / (1 + np.exp(-2 * frame["departure_hour"]))).astype(int)
    frame["label_source"] = np.where(np.arange(n) % 10, "outcome", "feedback")
    return dated(frame)


def test_a_row_weighs_by_what_was_known_before_its_outcome() -> None:
    loop = learning(
        weights=RowWeights(feature="route_complaint_share_28d", boost=2.0, at_most=2.5), labels=None
    )
    frame = pd.DataFrame({"route_complaint_share_28d": [0.0, 0.25, 1.0, np.nan, -1.0]})
    assert training_weights(frame, loop).tolist() == [1.0, 1.5, 2.5, 1.0, 1.0]
    assert training_weights(frame, loop, without=WEIGHTS) is None
    whole = snapshot()
    turned = whole.assign(label=1 - whole["label"])
    assert np.array_equal(training_weights(whole, loop), training_weights(turned, loop)), (
        "an outcome weighs nothing"
    )


def test_users_word_weighs_what_the_loop_file_says_and_nothing_once_it_no_longer_does() -> None:
    frame = pd.DataFrame(
        {"route_complaint_share_28d": [1.0, 1.0, 0.0], "label_source": ["outcome", "feedback", "feedback"]}
    )
    weights = RowWeights(feature="route_complaint_share_28d", boost=1.0)
    loop = learning(weights=weights, labels=ClaimedLabels(weight=0.5))
    assert training_weights(frame, loop).tolist() == [2.0, 1.0, 0.5]
    assert training_weights(frame, loop, without=LABELS).tolist() == [2.0, 0.0, 0.0]
    assert training_weights(frame, learning(weights=weights, labels=None)).tolist() == [2.0, 0.0, 0.0]
    assert claimed(frame.drop(columns="label_source")).sum() == 0


def test_users_word_teaches_and_never_judges() -> None:
    loop, frame = learning(), snapshot()
    splits = rolling_splits(frame, loop)
    for split in splits:
        assert claimed(split.train).any()
        assert not claimed(split.holdout).any()
        assert len(split.holdout) == 14 * 72
    last = splits[-1].holdout_start
    only = frame.assign(label_source=np.where(frame["departure_date"] >= last, "feedback", "outcome"))
    with pytest.raises(TooLittleData, match="no row with an outcome"):
        rolling_splits(only, loop)


def test_baselines_are_made_from_outcomes_alone() -> None:
    loop, frame = learning(), snapshot()
    lied = frame.assign(label=np.where(claimed(frame), 1, frame["label"]))
    honest, other = (make_candidate(loop, rows, champion_rows_end=None) for rows in (frame, lied))
    assert honest.constants == other.constants
    assert honest.logistic == other.logistic
    assert honest.serving != other.serving, "but the model learns from them"


def test_each_is_fitted_without_and_what_is_not_there_is_named() -> None:
    loop, frame = learning(), snapshot()
    made = make_candidate(loop, frame, champion_rows_end=None)
    assert {WEIGHTS, LABELS} <= set(made.ablation.models)
    assert made.ablation.absent == {}
    assert len({made.ablation.models[name] for name in (WHOLE, WEIGHTS, LABELS)}) == 3
    bare = frame.assign(route_complaint_share_28d=np.nan, label_source="outcome")
    absent = make_candidate(loop, bare, champion_rows_end=None).ablation
    assert set(absent.absent) == {WEIGHTS, LABELS}
    assert not {WEIGHTS, LABELS} & set(absent.models)
    none = make_candidate(learning(weights=None, labels=None), frame, champion_rows_end=None).ablation
    assert none.absent == {}


@pytest.mark.parametrize(("shift", "state"), [(-0.1, "harms"), (0.1, "helps"), (0.0, "not shown to matter")])
def test_the_gate_says_what_feedback_is_worth(shift: float, state: str) -> None:
    """Losses without it that are lower by more than the margin refuse the candidate; higher ones speak for it."""
    loop, rng = learning(), np.random.default_rng(1)
    rows = np.full(14, 100.0)
    whole = rows * 0.5 + rng.normal(size=14) * 0.2
    names = (WHOLE, *loop.gates.evaluation.ablation.groups, WEIGHTS)
    sums = {
        "windows": [{"rows": rows}],
        "ablation": {
            "rows": 1000,
            "seconds": dict.fromkeys(names, 1.0),
            "absent": {LABELS: "none of the 1000 rows has its label from feedback"},
            "losses": {n: whole + (rows * shift if n == WEIGHTS else 0) + rng.normal(size=14) * 0.01 for n in names},
        },
    }  # fmt: skip
    found = ablation_gate(loop, sums)
    assert found.verdict == ("refuse" if state == "harms" else "pass")
    assert found.evidence["groups"][WEIGHTS]["state"] == state
    assert "feedback_labels not judged: none of the 1000 rows" in found.reason


def test_weights_that_are_none_are_refused() -> None:
    x, y = np.random.default_rng(1).normal(size=(50, 1)), np.arange(50) % 2.0
    for weights in (np.ones(49), np.full(50, -1.0), np.full(50, np.nan)):
        with pytest.raises(ValueError, match="each row needs one of 0 or more"):
            fit_model(x, y, {"num_boost_round": 2}, seed=1, feature_names=["a"], weights=weights)


def test_what_is_learnt_from_feedback_is_part_of_the_recipe() -> None:
    one, two = Recipe.of(learning()), Recipe.of(learning(weights=None))
    assert one.fingerprint() != two.fingerprint()
    assert json.loads(json.dumps(one.to_json()))["learn"]["weights"]["feature"] == "route_complaint_share_28d"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learn": {"complaints": ["rudeness"]}}, "learn.complaints names rudeness"),
        ({"learn": {"labels": {}}, "taxonomy": "one side"}, "claims: negative"),
    ],
)
def test_what_feedback_can_not_teach_is_refused(change: dict[str, Any], message: str) -> None:
    given = flights_loop().feedback.model_dump(mode="json")
    if change.pop("taxonomy", None):
        given["taxonomy"]["categories"]["false_alarm"]["claims"] = None
    with pytest.raises(ValueError, match=message):
        Feedback.model_validate({**given, **change})
