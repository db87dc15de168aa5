"""Drift of all features together: can a classifier tell today's rows from the reference's?

A logistic regression on standardised features and their squares is asked on days that it did not see (blocks of days):
an area under the curve of a half means that it can't. A change that no single feature shows, of two that moved
together and no longer do, shows in the products of features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.experiment.paired import plain
from ratchet.loop_measures import Classifier
from ratchet.monitoring.wobble import State

Floats = NDArray[np.float64]
METHOD = "logistic regression on features, missing marks and products, cross-validated by days"
#: Products of so many features at most, those that vary most: their number grows with its square.
PRODUCTS = 8


@dataclass(frozen=True)
class Multivariate:
    """Area under the curve with its limits over the held-out days, and what it rests on."""

    state: State
    auc: float
    low: float
    high: float
    days: int
    rows: int

    def evidence(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "method": METHOD,
            "state": self.state,
            "auc": plain(self.auc),
            "low": plain(self.low),
            "high": plain(self.high),
            "days": self.days,
            "rows": self.rows,
        }


def tell_apart(terms: Classifier, matrix: Floats, days: NDArray[Any], recent: date) -> Multivariate:
    """How well rows from `recent` on are told from earlier ones; `matrix` has nan for missing.

    It alerts when the lower limit over days is at least `min_auc`: some difference of days there always is.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    labels = (days >= recent).astype(np.int64)
    unique = sorted(set(days.tolist()))
    old, new = [d for d in unique if d < recent], [d for d in unique if d >= recent]
    if min(len(old), len(new)) < terms.folds:
        return Multivariate("unknown", math.nan, math.nan, math.nan, len(unique), len(labels))
    fold_of = {d: i * terms.folds // len(part) for part in (old, new) for i, d in enumerate(part)}
    fold = np.array([fold_of[d] for d in days.tolist()])
    areas = []
    for number in range(terms.folds):
        held = fold == number
        train, test = _prepared(matrix[~held], matrix[held])
        model = LogisticRegression(C=0.1, max_iter=200, random_state=terms.seed)
        model.fit(train, labels[~held])
        scores = model.decision_function(test)
        # Each held-out day of now against the held-out days of the reference: a day is one observation.
        before = scores[labels[held] == 0]
        for day in sorted(set(days[held & (labels == 1)].tolist())):
            own = scores[(days[held] == day)]
            areas.append(
                float(roc_auc_score(np.r_[np.zeros(len(before)), np.ones(len(own))], np.r_[before, own]))
            )
    value = float(np.mean(areas))
    error = float(np.std(areas, ddof=1)) / math.sqrt(len(areas))
    low, high = max(0.0, value - 2.0 * error), min(1.0, value + 2.0 * error)
    state: State = "alert" if low >= terms.min_auc else "ok"
    return Multivariate(state, value, low, high, len(unique), len(labels))


def _prepared(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Standardised by the training part alone: features, missing marks, and products of the first few."""
    with np.errstate(all="ignore"):
        mean = np.nan_to_num(np.nanmean(np.where(np.isnan(train), np.nan, train), axis=0))
        spread = np.nan_to_num(np.nanstd(train, axis=0))
    spread = np.where(spread > 0, spread, 1.0)
    holes = np.isnan(train).any(axis=0)
    made = []
    for part in (train, test):
        z = np.clip(np.nan_to_num((part - mean) / spread), -5, 5)
        first = z[:, -PRODUCTS:]
        upper = np.triu_indices(first.shape[1])
        made.append(np.hstack([z, np.isnan(part)[:, holes], first[:, upper[0]] * first[:, upper[1]]]))
    return made[0], made[1]
