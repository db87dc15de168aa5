"""Encoding, fitting, baselines and the split: what is refused, and that repeating gives the same bytes."""

from __future__ import annotations

import json
import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.loop import Loop, load_loop
from ratchet.training.baselines import LogisticModel, constant_rate, fit_logistic
from ratchet.training.encode import feature_matrix, label_vector, tree_matrix
from ratchet.training.fit import fit_model, model_features, predict_scores
from ratchet.training.recipe import Recipe, TooLittleData, ordered, time_split

START = date(2013, 1, 1)


def flights_loop(min_rows: int = 1000) -> Loop:
    loop = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")
    return loop.model_copy(update={"training": loop.training.model_copy(update={"min_rows": min_rows})})


def snapshot(days: int = 40, per_day: int = 50, seed: int = 1) -> pd.DataFrame:
    loop, rng = flights_loop(), np.random.default_rng(seed)
    n = days * per_day
    frame = pd.DataFrame({name: rng.normal(size=n) for name in loop.features.numeric})
    frame.loc[rng.random(n) < 0.1, "wind_gust_mph"] = np.nan
    for name, values in loop.features.categorical.items():
        frame[name] = rng.choice(list(values), n)
    frame["departure_date"] = [START + timedelta(days=i // per_day) for i in range(n)]
    frame["unit_id"] = [f"u{i:06d}" for i in range(n)]
    logit = frame["departure_hour"] + 0.8 * (frame["origin"] == "EWR") - 1
    frame["label"] = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return frame


def fitted(frame: pd.DataFrame, nthread: int = 1) -> bytes:
    loop = flights_loop()
    return fit_model(
        feature_matrix(frame, loop),
        label_vector(frame),
        loop.training.params,
        seed=1,
        feature_names=loop.features.columns,
        nthread=nthread,
    )


def test_trees_learn_the_same_from_single_precision() -> None:
    loop, frame = flights_loop(), snapshot(days=20)
    small = tree_matrix(frame, loop)
    assert (small.dtype, small.nbytes * 2) == (np.float32, feature_matrix(frame, loop).nbytes)
    model = fit_model(
        small, label_vector(frame), loop.training.params, seed=1, feature_names=loop.features.columns
    )
    assert model == fitted(frame)
    with pytest.raises(ValueError, match="temperature_f holds an infinite value"):
        tree_matrix(frame.assign(temperature_f=1e300), loop)


@pytest.mark.parametrize("kind", ["str", object, "category"])
def test_a_category_has_one_code_however_the_frame_holds_it(kind: object) -> None:
    loop, frame = flights_loop(), snapshot(days=1, per_day=4)
    frame["carrier"] = pd.Series(["9E", "YV", "ZZ", None]).astype(kind)
    np.testing.assert_array_equal(feature_matrix(frame, loop)[:, -1], [0.0, 15.0, np.nan, np.nan])


def test_rows_are_in_order_whether_they_came_so_or_not() -> None:
    loop, frame = flights_loop(), snapshot(days=5)
    for given in (frame, frame.iloc[::-1], frame.sample(frac=1, random_state=3)):
        for days in (given["departure_date"], pd.to_datetime(given["departure_date"])):
            pd.testing.assert_frame_equal(ordered(given.assign(departure_date=days), loop), frame)
    swapped = frame.assign(unit_id=[*frame["unit_id"][1:], frame["unit_id"][0]])
    found = ordered(swapped, loop)
    assert (swapped["unit_id"].iloc[-1], found["unit_id"].iloc[200]) == ("u000000", "u000000")
    assert found.groupby("departure_date")["unit_id"].is_monotonic_increasing.all()
    mixed = frame.assign(unit_id=pd.Series([None, *frame["unit_id"][1:]], dtype=object))
    assert ordered(mixed, loop)["unit_id"].iloc[49] is None
    undated = frame.assign(departure_date=[None, *frame["departure_date"][1:]])
    assert pd.isna(ordered(undated, loop)["departure_date"].iloc[-1])


def test_columns_follow_the_contract_and_unknown_categories_are_missing() -> None:
    loop, frame = flights_loop(), snapshot(days=1, per_day=3)
    frame["carrier"] = ["9E", "YV", "ZZ"]
    frame["origin"] = ["LGA", None, "EWR"]
    matrix = feature_matrix(frame[list(reversed(frame.columns))], loop)
    assert matrix.shape == (3, len(loop.features.columns))
    assert matrix[:, -1].tolist()[:2] == [0.0, 15.0]
    assert math.isnan(matrix[2, -1])
    assert matrix[0, -2] == 2.0
    assert math.isnan(matrix[1, -2])


def test_a_row_is_encoded_alone() -> None:
    loop, frame = flights_loop(), snapshot(days=2)
    assert np.array_equal(
        feature_matrix(frame, loop)[7:8], feature_matrix(frame.iloc[7:8], loop), equal_nan=True
    )


def test_unusable_features_and_labels_are_refused() -> None:
    loop, frame = flights_loop(), snapshot(days=1)
    with pytest.raises(ValueError, match="lacks the feature departure_hour"):
        feature_matrix(frame.drop(columns="departure_hour"), loop)
    with pytest.raises(ValueError, match="no number"):
        feature_matrix(frame.assign(departure_hour="soon"), loop)
    with pytest.raises(ValueError, match="infinite"):
        feature_matrix(frame.assign(departure_hour=np.inf), loop)
    for bad in (np.nan, 2, 0.5):
        with pytest.raises(ValueError, match="neither 0 nor 1"):
            label_vector(frame.assign(label=bad))
    with pytest.raises(ValueError, match="no column label"):
        label_vector(frame.drop(columns="label"))
    assert feature_matrix(frame.iloc[:0], loop).shape == (0, len(loop.features.columns))


def test_a_fit_repeats_byte_for_byte_with_one_thread_or_two() -> None:
    frame = snapshot()
    first = fitted(frame)
    assert first == fitted(frame)
    assert first == fitted(frame, nthread=2)
    assert first != fitted(snapshot(seed=2))


def test_scores_come_from_json_alone() -> None:
    loop, frame = flights_loop(), snapshot()
    model, matrix = fitted(frame), feature_matrix(frame, flights_loop())
    scores = predict_scores(model, matrix)
    assert scores.shape == (len(frame),)
    assert ((scores > 0) & (scores < 1)).all()
    assert scores[frame["label"] == 1].mean() > scores[frame["label"] == 0].mean() + 0.1
    assert model_features(model) == loop.features.columns
    assert len(predict_scores(model, matrix[:0])) == 0


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[1]", b"\x80\x04pickle", b"{L\x00\x00", b"null"])
def test_what_is_no_json_model_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        predict_scores(content, np.zeros((1, 20)))


def test_another_objective_or_width_is_refused() -> None:
    model = fitted(snapshot())
    document = json.loads(model)
    document["learner"]["objective"]["name"] = "reg:squarederror"
    with pytest.raises(ValueError, match="objective"):
        predict_scores(json.dumps(document).encode(), np.zeros((1, 20)))
    with pytest.raises(ValueError, match="features"):
        predict_scores(model, np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("params", "message"),
    [({"max_depth": 3}, "num_boost_round"), ({"num_boost_round": 3, "maxdepth": 3}, "maxdepth")],
)
def test_parameters_are_checked(params: dict[str, int], message: str) -> None:
    matrix, labels = np.zeros((4, 1)), np.array([0.0, 1, 0, 1])
    with pytest.raises(ValueError, match=message):
        fit_model(matrix, labels, params, seed=1, feature_names=["a"])


def test_one_class_teaches_nothing() -> None:
    loop = flights_loop()
    with pytest.raises(ValueError, match="one class"):
        fit_model(np.zeros((4, 1)), np.zeros(4), {"num_boost_round": 2}, seed=1, feature_names=["a"])
    with pytest.raises(ValueError, match="one class"):
        fit_logistic(np.zeros((4, 20)), np.zeros(4), loop)
    with pytest.raises(ValueError, match="no training label"):
        constant_rate(np.empty(0))


def test_logistic_regression_predicts_from_its_json_as_scikit_learn_would() -> None:
    loop, frame = flights_loop(), snapshot()
    matrix, labels = feature_matrix(frame, loop), label_vector(frame)
    model = fit_logistic(matrix, labels, loop)
    assert model == fit_logistic(matrix, labels, loop)
    again = LogisticModel.from_json(model.to_json())
    scores = again.predict(matrix)
    assert np.array_equal(scores, model.predict(matrix))
    # The score equation of an unpenalised intercept: predicted and observed positives agree.
    assert scores.mean() == pytest.approx(labels.mean(), abs=1e-4)
    assert scores[labels == 1].mean() > scores[labels == 0].mean() + 0.1
    unseen = np.full((1, matrix.shape[1]), np.nan)
    assert 0 < again.predict(unseen)[0] < 1


def test_statistics_come_from_the_training_rows_alone() -> None:
    loop, frame = flights_loop(), snapshot()
    matrix, labels = feature_matrix(frame, loop), label_vector(frame)
    model = fit_logistic(matrix, labels, loop)
    assert model.predict(matrix[:5]) == pytest.approx(model.predict(matrix)[:5])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"features": 3}'])
def test_what_is_no_logistic_model_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        LogisticModel.from_json(text)


def test_coefficients_must_fit_their_inputs() -> None:
    loop, frame = flights_loop(), snapshot()
    content = json.loads(fit_logistic(feature_matrix(frame, loop), label_vector(frame), loop).to_json())
    content["coefficients"].pop()
    with pytest.raises(ValueError, match="coefficients"):
        LogisticModel.from_json(json.dumps(content))


def test_the_split_leaves_an_embargo_and_shares_no_row() -> None:
    loop = flights_loop()
    split = time_split(snapshot().sample(frac=1, random_state=1), loop)
    assert split.holdout_end == START + timedelta(days=39)
    assert split.holdout_start == START + timedelta(days=26)
    assert split.train_end == START + timedelta(days=22)
    assert not set(split.train["unit_id"]) & set(split.holdout["unit_id"])
    assert split.train["unit_id"].is_monotonic_increasing
    assert len(split.train) + len(split.holdout) == (40 - 3) * 50


def test_too_little_is_said_with_both_numbers() -> None:
    with pytest.raises(TooLittleData, match="1150 rows up to 2013-01-23; training needs 20000"):
        time_split(snapshot(), flights_loop(20000))
    with pytest.raises(TooLittleData, match="empty"):
        time_split(snapshot().iloc[:0], flights_loop())
    with pytest.raises(TooLittleData, match="no row from"):
        time_split(snapshot(), flights_loop(), last=START + timedelta(days=80))


def test_the_recipe_names_all_that_decides_the_bytes() -> None:
    loop = flights_loop()
    recipe = Recipe.of(loop)
    assert (
        json.loads(json.dumps(recipe.to_json()))["params"]["max_depth"] == loop.training.params["max_depth"]
    )
    assert recipe.fingerprint() == Recipe.of(loop).fingerprint()
    assert recipe.fingerprint() != Recipe.of(flights_loop(999)).fingerprint()
