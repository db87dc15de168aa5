"""Fit gradient-boosted trees, and predict from the model's JSON.

The model is XGBoost's own JSON document: nothing is pickled. The same rows, parameters and seed give the same
bytes, with one thread or several.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.training.encode import Floats, Matrix

OBJECTIVE = "binary:logistic"
# what a loop file may set; a key outside is a spelling mistake that XGBoost would pass over
TUNABLE = frozenset(
    {
        "max_depth",
        "eta",
        "min_child_weight",
        "num_boost_round",
        "subsample",
        "colsample_bytree",
        "lambda",
        "alpha",
        "gamma",
        "max_bin",
    }
)


def fit_model(
    matrix: Matrix,
    labels: Floats,
    params: Mapping[str, float | int],
    *,
    seed: int,
    feature_names: Sequence[str],
    nthread: int = 1,
    monotone: Mapping[str, str] | None = None,
    weights: Floats | None = None,
) -> bytes:
    """The fitted model as UTF-8 JSON bytes; `params` are the loop file's `training.params`.

    `monotone` names features whose score may only rise with them ("up"), or only fall ("down"): what is known of
    the world beforehand is built in, and the gate that checks it finds a model that was made otherwise. `weights`:
    how much each row counts, 1 without.

    Raises:
        ValueError: no row, one class only, shapes that differ, an unknown parameter or feature, or no
            `num_boost_round`.
    """
    booster = fit_booster(
        matrix,
        labels,
        params,
        seed=seed,
        feature_names=feature_names,
        nthread=nthread,
        monotone=monotone,
        weights=weights,
    )
    return bytes(booster.save_raw("json"))


def fit_booster(
    matrix: Matrix,
    labels: Floats,
    params: Mapping[str, float | int],
    *,
    seed: int,
    feature_names: Sequence[str],
    nthread: int = 1,
    monotone: Mapping[str, str] | None = None,
    weights: Floats | None = None,
) -> Any:
    """The fitted booster itself, for what is predicted at once and not kept.

    Raises:
        ValueError: as `fit_model`.
    """
    import xgboost

    unknown = sorted(set(params) - TUNABLE)
    if unknown:
        raise ValueError(f"training.params has {', '.join(unknown)}; known are {', '.join(sorted(TUNABLE))}")
    if "num_boost_round" not in params:
        raise ValueError("training.params lacks num_boost_round")
    if matrix.shape != (len(labels), len(feature_names)):
        raise ValueError(
            f"matrix is {matrix.shape}; expected {len(labels)} labels x {len(feature_names)} features"
        )
    if weights is not None and (len(weights) != len(labels) or not (weights >= 0).all()):
        raise ValueError(f"{len(weights)} weights of {len(labels)} rows; each row needs one of 0 or more")
    if len(np.unique(labels)) < 2:
        raise ValueError(f"{len(labels)} training rows of one class: nothing can be learned")
    settings: dict[str, Any] = {name: value for name, value in params.items() if name != "num_boost_round"}
    if monotone:
        strange = sorted(set(monotone) - set(feature_names))
        if strange:
            raise ValueError(f"monotone names {', '.join(strange)}, which is no feature")
        ways = {"up": 1, "down": -1}
        settings["monotone_constraints"] = tuple(
            ways[monotone[n]] if n in monotone else 0 for n in feature_names
        )
    data = xgboost.DMatrix(
        matrix, label=labels, weight=weights, feature_names=list(feature_names), nthread=nthread
    )
    return xgboost.train(
        {
            "objective": OBJECTIVE,
            "tree_method": "hist",
            "seed": seed,
            "nthread": nthread,
            "verbosity": 0,
            **settings,
        },
        data,
        num_boost_round=int(params["num_boost_round"]),
    )


def predict_booster(booster: Any, matrix: Matrix) -> NDArray[np.float64]:
    """Scores in [0, 1] of a booster that was fitted in this process."""
    import xgboost

    return np.asarray(
        booster.predict(xgboost.DMatrix(matrix, feature_names=booster.feature_names)), dtype=np.float64
    )


def predict_scores(model_json: bytes, matrix: Matrix) -> NDArray[np.float64]:
    """Scores in [0, 1], one per row of `matrix`, from a model's JSON bytes.

    To be called in a process that may crash when the bytes come from outside. Bytes that are not JSON are
    refused before XGBoost sees them: its binary format can crash the process.

    Raises:
        ValueError: not a JSON model of this objective, or a matrix of another width.
    """
    import xgboost

    names = model_features(model_json)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ValueError(f"matrix is {matrix.shape}; the model has {len(names)} features")
    if not len(matrix):
        return np.empty(0)
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(model_json))
        data = xgboost.DMatrix(matrix, feature_names=list(names), nthread=1)
        return np.asarray(booster.predict(data), dtype=np.float64)
    except xgboost.core.XGBoostError as error:
        raise ValueError(f"XGBoost refused the model: {str(error).splitlines()[0][:200]}") from None


def model_features(model_json: bytes) -> tuple[str, ...]:
    """The feature names in a model's JSON, in order.

    Raises:
        ValueError: the bytes are no JSON model of objective binary:logistic, or it names no features.
    """
    try:
        document = json.loads(model_json, parse_constant=_no_constant)
        learner = document["learner"]
        objective = learner["objective"]["name"]
        names = learner["feature_names"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not an XGBoost model in JSON: {error.__class__.__name__}") from None
    if objective != OBJECTIVE or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"objective {objective!r} with {len(names)} feature names; expected {OBJECTIVE}")
    return tuple(names)


def _no_constant(name: str) -> float:
    """NaN and Infinity are no JSON, and no number of a model that was fitted."""
    raise ValueError(name)
