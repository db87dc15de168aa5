"""Losses of scores against labels, and how well scores rank them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
CLIP = 1e-6  # as in marts.fct_predictions: a certain mistake costs 13.8, not infinity


def losses(metric: str, labels: Floats, scores: Floats) -> Floats:
    """The loss of each row: `log_loss` (natural logarithm, scores clipped to 1e-6) or `brier`.

    Raises:
        ValueError: another metric.
    """
    if metric == "brier":
        return np.asarray((labels - scores) ** 2)
    if metric != "log_loss":
        raise ValueError(f"unknown metric {metric!r}; known are log_loss and brier")
    clipped = np.clip(scores, CLIP, 1 - CLIP)
    return np.asarray(-(labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped)))


def auc(labels: Floats, scores: Floats) -> float:
    """Area under the ROC curve with ties at one half; nan when there is one class only."""
    positives = float(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return math.nan
    ranks = rankdata(scores)
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))
