"""Requests that a model is tried with before it is offered: rows it was trained on, and rows at the edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ratchet.training.encode import Floats, feature_matrix

if TYPE_CHECKING:
    from ratchet.loop import Loop

ROWS = 200  # of the snapshot, evenly spaced
TOLERANCE = 1e-9  # of a score, between training and serving
UNSEEN = "(never seen)"


def sample_requests(loop: Loop, frame: pd.DataFrame) -> Floats:
    """Rows of the snapshot, and each edge: all missing, zeros, far out on both sides, categories never seen.

    Raises:
        ValueError: the frame is empty, or a feature is absent or unusable.
    """
    if frame.empty:
        raise ValueError("the snapshot has no row: there is no request to try")
    sample = frame.iloc[:: -(-len(frame) // ROWS)]
    edge = sample.iloc[:1]
    numeric = list(loop.features.numeric)
    unseen = dict.fromkeys(loop.features.categorical, UNSEEN)
    edges = [edge.assign(**dict.fromkeys(numeric, value), **unseen) for value in (np.nan, 0.0, -1e6, 1e6)]
    edges += [
        edge.assign(**{name: value}) for name, values in loop.features.categorical.items() for value in values
    ]
    return np.vstack([feature_matrix(part, loop) for part in (sample, *edges)])
