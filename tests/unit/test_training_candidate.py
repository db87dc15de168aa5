"""Search, windows and the candidate's parts: seeded, ordered by time, and made before what judges them."""

from __future__ import annotations

import json
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.judged_rows import dated, flights_loop

from ratchet.loop import Loop
from ratchet.training.candidate import WHOLE, make_candidate
from ratchet.training.cost import measured
from ratchet.training.fit import fit_model, predict_scores
from ratchet.training.recipe import TooLittleData, rolling_splits
from ratchet.training.search import folds_of, search_params
from ratchet.training.weights import LABELS

START = date(2013, 1, 1)


def searching(**changes: Any) -> Loop:
    loop = flights_loop()
    search = loop.training.search.model_copy(update={"trials": 4, "folds": 2, "max_rows": 4000, **changes})
    params = {"max_depth": 3, "eta": 0.1, "min_child_weight": 30, "num_boost_round": 5}
    training = loop.training.model_copy(
        update={"search": search, "params": params, "min_rows": 1000, "windows": 3}
    )
    return loop.model_copy(update={"training": training})


@lru_cache(maxsize=1)
def snapshot() -> pd.DataFrame:
    loop, rng = flights_loop(), np.random.default_rng(5)
    n = 100 * 80
    frame = pd.DataFrame({name: rng.normal(size=n) for name in loop.features.numeric})
    frame["origin"], frame["carrier"] = rng.choice(["EWR", "JFK"], n), rng.choice(["AA", "DL"], n)
    frame["departure_date"] = [START + timedelta(days=i // 80) for i in range(n)]
    frame["unit_id"] = [f"u{i:05d}" for i in range(n)]
    logit = frame["departure_hour"] * frame["distance_miles"] - 1
    frame["label"] = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return dated(frame)


def test_windows_go_back_from_the_newest_day_and_share_no_row_with_what_came_before() -> None:
    splits = rolling_splits(snapshot(), searching())
    assert [split.holdout_start for split in splits] == [START + timedelta(days=d) for d in (58, 72, 86)]
    for split in splits:
        assert (split.holdout_start - split.train_end).days - 1 == 3
        assert not set(split.train["unit_id"]) & set(split.holdout["unit_id"])
        assert max(split.holdout["departure_date"]) == split.holdout_end
    few = searching().model_copy(
        update={"training": searching().training.model_copy(update={"min_rows": 6000})}
    )
    assert len(rolling_splits(snapshot(), few)) == 1
    none = few.model_copy(update={"training": few.training.model_copy(update={"min_rows": 7000})})
    with pytest.raises(TooLittleData, match="training needs 7000"):
        rolling_splits(snapshot(), none)


def test_a_search_repeats_and_begins_with_what_is_declared() -> None:
    loop = searching()
    one, two = (make_candidate(loop, snapshot(), champion_rows_end=None) for _ in range(2))
    assert one.searched is not None
    assert two.searched is not None
    assert one.searched.to_json() == two.searched.to_json()
    assert (one.judged, one.serving, one.params) == (two.judged, two.serving, two.params)
    trials = one.searched.trials
    assert len(trials) == 4
    assert trials[0]["params"] == loop.training.params
    assert len({json.dumps(trial["params"]) for trial in trials}) == 4
    assert one.params == trials[one.searched.best]["params"]
    assert one.searched.to_json()["loss"] == min(trial["loss"] for trial in trials)
    space = loop.training.search.space
    assert all(
        low <= trial["params"][name] <= high for trial in trials[1:] for name, (low, high) in space.items()
    )
    json.dumps(one.searched.to_json(), allow_nan=False)


def test_what_is_declared_inside_the_space_is_the_first_trial_too() -> None:
    loop = searching(space={"max_depth": (2, 4), "eta": (0.05, 0.2)})
    made = make_candidate(loop, snapshot(), champion_rows_end=None)
    assert made.searched is not None
    assert made.searched.trials[0]["params"] == loop.training.params
    assert len(made.searched.trials) == 4


def test_no_row_of_a_window_reaches_the_search() -> None:
    """Labels turned over from the first window on change the judged fits, not one trial."""
    loop, frame = searching(), snapshot()
    first = rolling_splits(frame, loop)[0]
    later = pd.Series(frame["departure_date"]) > first.train_end
    turned = frame.assign(label=np.where(later, 1 - frame["label"], frame["label"]))
    honest = make_candidate(loop, frame, champion_rows_end=None)
    other = make_candidate(loop, turned, champion_rows_end=None)
    assert honest.searched is not None
    assert other.searched is not None
    assert honest.searched.to_json() == other.searched.to_json()
    assert honest.judged[0] == other.judged[0]
    assert honest.serving != other.serving


def test_folds_are_ordered_in_time_with_the_embargo_between() -> None:
    days = np.repeat(np.arange("2013-01-01", "2013-02-10", dtype="datetime64[D]"), 7)
    pairs = folds_of(days, 3, 2)
    assert len(pairs) == 3
    for learnt, judged in pairs:
        gap = (days[judged.start] - days[learnt.stop - 1]).astype(int) - 1
        assert gap == 2
        assert learnt.stop <= judged.start
    assert pairs[-1][1].stop == len(days)
    assert [pair[1].start for pair in pairs[1:]] == [pair[1].stop for pair in pairs[:-1]]
    with pytest.raises(ValueError, match="too few"):
        folds_of(days[:14], 3, 2)


def test_without_trials_there_is_no_search() -> None:
    loop = searching(trials=0)
    assert search_params(np.zeros((3, 20)), np.zeros(3), np.array([], dtype="datetime64[D]"), loop) is None
    made = make_candidate(loop, snapshot(), champion_rows_end=None)
    assert made.searched is None
    assert made.params == loop.training.params


def test_a_candidate_has_a_model_for_each_comparison() -> None:
    loop, frame = searching(trials=0), snapshot()
    newest = rolling_splits(frame, loop)[-1]
    made = make_candidate(loop, frame, champion_rows_end=START + timedelta(days=50))
    assert len(made.judged) == len(made.constants) == 3
    assert made.old_rows is not None
    assert len({*made.judged, made.old_rows, made.serving}) == 5
    assert set(made.ablation.models) == {WHOLE, *loop.gates.evaluation.ablation.groups}
    assert set(made.ablation.absent) == {LABELS}, "no row of this snapshot has its label from feedback"
    assert made.seconds > 0
    assert made.megabytes > 50
    # Nothing newer than what the champion knew: there is no fit without new rows.
    assert make_candidate(loop, frame, champion_rows_end=newest.train_end).old_rows is None
    assert make_candidate(loop, frame, champion_rows_end=None).old_rows is None


def test_a_model_without_a_group_does_not_read_it() -> None:
    loop, frame = searching(trials=0), snapshot()
    made = make_candidate(loop, frame, champion_rows_end=None)
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(50, len(loop.features.columns)))
    place = loop.features.columns.index("departure_hour")
    other = matrix.copy()
    other[:, place] = rng.normal(size=50)
    without = made.ablation.models["schedule"]
    assert np.array_equal(predict_scores(without, matrix), predict_scores(without, other))
    whole = made.ablation.models[WHOLE]
    assert not np.array_equal(predict_scores(whole, matrix), predict_scores(whole, other))


def test_a_declared_direction_is_built_in() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2000, 2))
    y = (rng.random(2000) < 1 / (1 + np.exp(2 * x[:, 0]))).astype(float)
    grid = np.column_stack([np.linspace(-3, 3, 50), np.zeros(50)])
    params = {"max_depth": 3, "num_boost_round": 20}
    free = predict_scores(fit_model(x, y, params, seed=1, feature_names=["a", "b"]), grid)
    bound = predict_scores(
        fit_model(x, y, params, seed=1, feature_names=["a", "b"], monotone={"a": "up"}), grid
    )
    assert (np.diff(free) < -1e-6).any()
    assert (np.diff(bound) >= -1e-7).all()
    with pytest.raises(ValueError, match="no feature"):
        fit_model(x, y, params, seed=1, feature_names=["a", "b"], monotone={"c": "up"})


def test_a_cost_is_never_nothing() -> None:
    with measured() as cost:
        held = np.ones(4_000_000)
    assert held.sum() > 0
    assert cost.seconds > 0
    assert cost.cpu_seconds > 0
    assert cost.megabytes > 30
