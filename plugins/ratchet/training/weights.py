"""How much each row counts in training: what the loop file takes from feedback, nothing that depends on outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.training.encode import Floats, feature_column

if TYPE_CHECKING:
    from ratchet.loop import Loop

#: What a training is fitted without to see what it is worth, beside the groups of features.
WEIGHTS, LABELS = "feedback_weights", "feedback_labels"


def claimed(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows whose label is what users assert; none in a frame that does not say where labels are from."""
    if "label_source" not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return (frame["label_source"] == "feedback").to_numpy(dtype=bool)


def row_weights(frame: pd.DataFrame, loop: Loop) -> Floats:
    """The weight of each row (1 without `feedback.learn.weights`), before its label's source is looked at.

    Raises:
        ValueError: the feature is absent or holds text.
    """
    rules = loop.feedback.learn.weights
    if rules is None:
        return np.ones(len(frame))
    share = np.nan_to_num(feature_column(frame, rules.feature, loop), nan=0.0)
    return np.clip(1.0 + rules.boost * share, 1.0, rules.at_most)


def training_weights(frame: pd.DataFrame, loop: Loop, *, without: str = "") -> Floats | None:
    """The weights that a model is fitted with, or those `without` WEIGHTS or LABELS; None where every row weighs 1."""
    weights = np.ones(len(frame)) if without == WEIGHTS else row_weights(frame, loop)
    weights = weights * (
        np.where(claimed(frame), 0.0, 1.0) if without == LABELS else label_weights(frame, loop)
    )
    return None if (weights == 1).all() else weights


def label_weights(frame: pd.DataFrame, loop: Loop) -> Floats:
    """1 for a row with an outcome, `feedback.learn.labels.weight` for one with users' word for it.

    A loop that no longer takes users' word for a label gives such rows 0: a snapshot of before may hold some.
    """
    rules = loop.feedback.learn.labels
    return np.where(claimed(frame), 0.0 if rules is None else rules.weight, 1.0)
