"""A model's training profile: how each feature was spread over bins when the model was trained.

Bins of numbers end at deciles, a category is its position in the loop file's list, bin 0 is missing. The
bounds are lower <= value < upper, as mon_feature_histograms counts them; an open end is null.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.monitoring.drift import MIN_ROWS
from ratchet.monitoring.inputs import LEAST_DISTANCE, effect_rows, js_rows
from ratchet.monitoring.wobble import Wobble
from ratchet.training.encode import Floats, feature_column

if TYPE_CHECKING:
    from ratchet.loop import Loop

_Made = TypeVar("_Made")

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


def reference_bins(frame: pd.DataFrame, loop: Loop, model_version: int) -> pd.DataFrame:
    """The rows of ops.feature_bins for a model trained on `frame`: one per feature and bin, by feature, bin.

    Shares of a feature sum to 1. Equal deciles make one bin, so a feature may have fewer than ten.

    Raises:
        ValueError: the frame is empty, lacks a feature, or one holds an infinite value.
    """
    if frame.empty:
        raise ValueError("the training frame is empty: there is no profile to take")
    found = _of_each(loop.features.columns, lambda name: _bins(feature_column(frame, name, loop), name, loop))
    rows = list(chain.from_iterable(found))
    table = pd.DataFrame(rows, columns=["feature", "bin", "lower_bound", "upper_bound", "reference_share"])
    table = table.astype({"bin": "int64", "lower_bound": "float64", "upper_bound": "float64"})
    return table.assign(loop=loop.loop, model_version=model_version)[list(COLUMNS)]


def _bins(values: Floats, name: str, loop: Loop) -> list[tuple[str, int, float | None, float | None, float]]:
    """A feature's bins: name, bin, bounds, share; `values` are all of its rows."""
    values = np.sort(values)
    known = values[: np.searchsorted(values, np.nan)]  # what is missing sorts last
    if len(known) and np.isinf(known[[0, -1]]).any():
        raise ValueError(f"feature {name} holds an infinite value")
    if name in loop.features.categorical:
        cuts = [i + 0.5 for i in range(len(loop.features.categorical[name]) - 1)]
    else:
        cuts = _cuts(known)
    bounds = [None, *cuts, None]
    counts = np.diff([0, *known.searchsorted(cuts).tolist(), len(known)])
    return [
        (name, 0, None, None, 1 - len(known) / len(values)),
        *(
            (name, index + 1, bounds[index], bounds[index + 1], float(count / len(values)))
            for index, count in enumerate(counts)
        ),
    ]


def _of_each(names: Sequence[str], work: Callable[[str], _Made]) -> list[_Made]:
    """What `work` gives for each name, in order. Sorting lets go of the interpreter: processors share the names."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, names))


def feature_profiles(
    frame: pd.DataFrame,
    loop: Loop,
    model_version: int,
    bins: pd.DataFrame,
    importance: Mapping[str, float],
) -> pd.DataFrame:
    """The rows of ops.feature_profiles: each feature's range, and how far its training days lie from all of them.

    `bins` are the frame's own `reference_bins`, `importance` the model's gain by feature; days of few rows are left
    out. Numbers that no day could say are nan.
    """
    codes, days = pd.factorize(frame["departure_date"])
    rows_of_day = np.bincount(codes, minlength=len(days))
    kept = rows_of_day >= MIN_ROWS
    edges = np.concatenate([[0], np.cumsum(rows_of_day)])
    # A snapshot lies in the order of its days.
    order = None if (codes[1:] >= codes[:-1]).all() else np.argsort(codes, kind="stable")
    gain = sum(importance.values())

    def row(name: str) -> tuple[Any, ...]:
        is_number = name not in loop.features.categorical
        values = feature_column(frame, name, loop)
        values = values if order is None else values[order]
        own = bins[bins["feature"] == name].sort_values("bin")
        cuts = own["lower_bound"].to_numpy(dtype=np.float64)
        counts, lowest, highest, sums = _by_day(values, edges, cuts[np.isfinite(cuts)])
        present = rows_of_day - counts[:, 0]
        counts = counts[kept]
        others = counts.sum(axis=0) - counts
        shares = counts / np.maximum(counts.sum(axis=1), 1.0)[:, None]
        others = others / np.maximum(others.sum(axis=1), 1.0)[:, None]
        apart = Wobble.of(np.log(np.maximum(js_rows(shares, others), LEAST_DISTANCE)))
        with np.errstate(divide="ignore", invalid="ignore"):
            level = Wobble.of((sums / present)[kept])
        effects = effect_rows(shares, others, is_number)
        known = is_number and bool(present.any())
        return (
            loop.loop, model_version, name,
            lowest if known else np.nan, highest if known else np.nan,
            int(kept.sum()), apart.mean, apart.spread,
            level.mean if known else np.nan, level.spread if known else np.nan,
            float(effects.mean()) if len(effects) else np.nan,
            float(effects.max()) if len(effects) else np.nan,
            importance.get(name, 0.0) / gain if gain else np.nan,
        )  # fmt: skip

    return pd.DataFrame(_of_each(loop.features.columns, row), columns=list(PROFILE_COLUMNS))


def _by_day(
    values: Floats, edges: NDArray[np.int64], cuts: Floats
) -> tuple[Floats, float, float, NDArray[np.float64]]:
    """Days x bins counts (bin 0: missing), lowest and highest of all values, sums by day; day i ends at edges[i + 1].

    Sorting a day's few values and looking up the cuts is far cheaper than looking up the bin of every value.
    """
    sought = np.append(cuts, np.nan)
    below = np.zeros((len(edges) - 1, len(sought) + 1))
    lowest, highest = np.inf, -np.inf
    for day, (start, stop) in enumerate(pairwise(edges)):
        part = np.sort(values[start:stop])
        below[day, 1:] = part.searchsorted(sought)
        if known := int(below[day, -1]):
            lowest, highest = min(lowest, float(part[0])), max(highest, float(part[known - 1]))
    counts = np.column_stack([np.diff(edges) - below[:, -1], np.diff(below, axis=1)])
    known_values = np.nan_to_num(values) if counts[:, 0].any() else values
    sums = np.add.reduceat(known_values, edges[:-1]) if len(values) else np.zeros(len(edges) - 1)
    return counts, lowest, highest, sums


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
    places = sorted({(count * i + 9) // 10 - 1 for i in range(1, 10)})
    return [float(cut) for cut in np.unique(known[places]) if cut > known[0]]
