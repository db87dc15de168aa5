"""A model's training profile: how each feature was spread over bins when the model was trained.

Bins of numbers end at deciles, a category is its position in the loop file's list, bin 0 is missing. The
bounds are lower <= value < upper, as mon_feature_histograms counts them; an open end is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ratchet.training.encode import Floats, feature_matrix

if TYPE_CHECKING:
    from ratchet.loop import Loop

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


def _cuts(known: np.ndarray) -> list[float]:
    """Inner deciles of sorted values, each once; a cut at the smallest value would leave an empty first bin.

    The i-th decile is the smallest value that i tenths of all values do not exceed, in whole numbers.
    """
    count = len(known)
    if not count:
        return []
    cuts = np.unique(known[[(count * i + 9) // 10 - 1 for i in range(1, 10)]])
    return [float(cut) for cut in cuts if cut > known[0]]
