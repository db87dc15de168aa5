"""A model's training profile: how each feature was spread over bins when the model was trained.

Bins of numbers end at deciles, a category is its position in the loop file's list, bin 0 is missing. The
bounds are lower <= value < upper, as mon_feature_histograms counts them; an open end is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ratchet.monitoring.drift import MIN_ROWS
from ratchet.monitoring.inputs import LEAST_DISTANCE, effect_rows, js_rows
from ratchet.monitoring.wobble import Wobble
from ratchet.training.encode import Floats, feature_matrix

if TYPE_CHECKING:
    from ratchet.loop import Loop

PROFILE_COLUMNS = (
    "loop",
    "model_version",
    "feature",
    "lowest",
    "highest",
    "days",
    "log_distance",
    "log_distance_spread",
    "day_mean",
    "day_mean_spread",
    "effect",
    "effect_largest",
    "importance",
)
COLUMNS = ("loop", "model_version", "feature", "bin", "lower_bound", "upper_bound", "reference_share")


def reference_bins(
    frame: pd.DataFrame, loop: Loop, model_version: int, matrix: Floats | None = None
) -> pd.DataFrame:
    """The rows of ops.feature_bins for a model trained on `frame`: one per feature and bin, by feature, bin.

    `matrix` is the frame's feature matrix where it is at hand. Shares of a feature sum to 1. Equal deciles make one
    bin, so a feature may have fewer than ten.

    Raises:
        ValueError: the frame is empty or lacks a feature.
    """
    if frame.empty:
        raise ValueError("the training frame is empty: there is no profile to take")
    matrix = feature_matrix(frame, loop) if matrix is None else matrix
    rows: list[tuple[str, int, float | None, float | None, float]] = []
    for position, name in enumerate(loop.features.columns):
        values = matrix[:, position]
        known = np.sort(values[~np.isnan(values)])
        rows.append((name, 0, None, None, 1 - len(known) / len(values)))
        if name in loop.features.categorical:
            cuts = [i + 0.5 for i in range(len(loop.features.categorical[name]) - 1)]
        else:
            cuts = _cuts(known)
        bounds = [None, *cuts, None]
        counts = np.diff([0, *np.searchsorted(known, np.array(cuts)), len(known)])
        for index, count in enumerate(counts):
            rows.append((name, index + 1, bounds[index], bounds[index + 1], float(count / len(values))))
    table = pd.DataFrame(rows, columns=["feature", "bin", "lower_bound", "upper_bound", "reference_share"])
    table = table.astype({"bin": "int64", "lower_bound": "float64", "upper_bound": "float64"})
    return table.assign(loop=loop.loop, model_version=model_version)[list(COLUMNS)]


def feature_profiles(
    frame: pd.DataFrame,
    loop: Loop,
    model_version: int,
    bins: pd.DataFrame,
    importance: Mapping[str, float],
    matrix: Floats | None = None,
) -> pd.DataFrame:
    """The rows of ops.feature_profiles: each feature's range, and how far its training days lie from all of them.

    `bins` are the frame's own `reference_bins`, `importance` the model's gain by feature; days of few rows are left
    out. Numbers that no day could say are nan.
    """
    matrix = feature_matrix(frame, loop) if matrix is None else matrix
    codes, days = pd.factorize(frame["departure_date"])
    kept = np.bincount(codes, minlength=len(days)) >= MIN_ROWS
    gain = sum(importance.values())
    rows = []
    for position, name in enumerate(loop.features.columns):
        is_number = name not in loop.features.categorical
        values = matrix[:, position]
        present = ~np.isnan(values)
        own = bins[bins["feature"] == name].sort_values("bin")
        cuts = own["lower_bound"].to_numpy(dtype=np.float64)
        cuts = cuts[np.isfinite(cuts)]
        at = np.where(present, 1 + np.searchsorted(cuts, values, side="right"), 0)
        counts = np.zeros((len(days), len(own)))
        np.add.at(counts, (codes, at), 1.0)
        counts = counts[kept]
        others = counts.sum(axis=0) - counts
        shares = counts / np.maximum(counts.sum(axis=1), 1.0)[:, None]
        others = others / np.maximum(others.sum(axis=1), 1.0)[:, None]
        apart = Wobble.of(np.log(np.maximum(js_rows(shares, others), LEAST_DISTANCE)))
        sums = np.bincount(codes, weights=np.where(present, values, 0.0), minlength=len(days))
        with np.errstate(divide="ignore", invalid="ignore"):
            level = Wobble.of((sums / np.bincount(codes, weights=present, minlength=len(days)))[kept])
        effects = effect_rows(shares, others, is_number)
        known = is_number and bool(present.any())
        rows.append(
            (
                loop.loop, model_version, name,
                float(values[present].min()) if known else np.nan,
                float(values[present].max()) if known else np.nan,
                int(kept.sum()), apart.mean, apart.spread,
                level.mean if known else np.nan, level.spread if known else np.nan,
                float(effects.mean()) if len(effects) else np.nan,
                float(effects.max()) if len(effects) else np.nan,
                importance.get(name, 0.0) / gain if gain else np.nan,
            )
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PROFILE_COLUMNS))


def gains(model_json: bytes) -> dict[str, float]:
    """How much each feature of an XGBoost model reduced its loss, over all splits; what no split uses is left out."""
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(model_json))
    found = booster.get_score(importance_type="total_gain")
    return {str(name): float(np.sum(value)) for name, value in found.items()}


def _cuts(known: np.ndarray) -> list[float]:
    """Inner deciles of sorted values, each once; a cut at the smallest value would leave an empty first bin.

    The i-th decile is the smallest value that i tenths of all values do not exceed, in whole numbers.
    """
    count = len(known)
    if not count:
        return []
    cuts = np.unique(known[[(count * i + 9) // 10 - 1 for i in range(1, 10)]])
    return [float(cut) for cut in cuts if cut > known[0]]
