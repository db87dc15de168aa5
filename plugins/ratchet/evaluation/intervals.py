"""Losses of scores against labels, and their clustered comparison."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from ratchet.experiment.calibration import BINS, calibration_error
from ratchet.experiment.paired import Estimate, ratio_estimate

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


def cluster_gain(clusters: pd.Series, reference: Floats, candidate: Floats) -> Estimate:
    """Mean of reference loss minus candidate loss, positive = candidate better, errors over clusters."""
    frame = pd.DataFrame({"cluster": clusters.to_numpy(), "gain": reference - candidate})
    sums = frame.groupby("cluster", sort=True)["gain"].agg(["sum", "count"])
    return ratio_estimate(sums["sum"].to_numpy(), sums["count"].to_numpy())


def auc(labels: Floats, scores: Floats) -> float:
    """Area under the ROC curve with ties at one half; nan when there is one class only."""
    positives = float(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return math.nan
    ranks = rankdata(scores)
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def calibration_by_day(
    clusters: pd.Series, labels: Floats, scores: Floats, error: float
) -> tuple[float, float]:
    """Expected calibration error over ten equal score bins, and its lower limit over clusters."""
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    codes, days = pd.factorize(clusters.to_numpy(), sort=True)
    gaps = np.zeros((len(days), BINS))
    np.add.at(gaps, (codes, bins), scores - labels)
    return calibration_error(gaps, np.bincount(codes, minlength=len(days)).astype(np.float64), error)
