"""Quality before labels: what calibrated scores say of themselves, from binned sums (CBPE).

If a score is the probability that it claims to be, then so many of a bin's units are positive, and AUC, log loss and
Brier follow (confidence-based performance estimation, as in NannyML). Shares are corrected first by the calibration
that labelled days have shown. The estimate feels a change of the units (covariate shift) and is blind to a change of
what the units do (concept drift): it clears no model by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.experiment.paired import plain

Floats = NDArray[np.float64]
WARNING = (
    "estimated from scores, not from outcomes: blind to a change of what the same units do (concept drift)"
)
#: Fewer labelled units in a bin say too little of its calibration.
MIN_CALIBRATED = 50.0


@dataclass(frozen=True)
class Estimated:
    """AUC, log loss, Brier and share of positives as the scores say; nan when there is no score."""

    auc: float
    log_loss: float
    brier: float
    rate: float
    units: int

    def evidence(self) -> dict[str, Any]:
        """Plain types, with the warning."""
        return {
            "auc": plain(self.auc),
            "log_loss": plain(self.log_loss),
            "brier": plain(self.brier),
            "rate": plain(self.rate),
            "units": self.units,
            "warning": WARNING,
        }


def auc_of(positives: Floats, negatives: Floats, width: float) -> float:
    """Area under the ROC curve from counts by score bin of `width`; nan without positives or negatives.

    Within a bin around a score p, scores that are calibrated make positives denser to the right: a positive of the bin
    stands above a negative of it with probability 1/2 + width / (12 p (1 - p)), to first order, where ties as half
    would say 1/2.
    """
    total = float(positives.sum() * negatives.sum())
    if not total > 0:
        return math.nan
    below = np.cumsum(negatives) - negatives
    both = positives + negatives
    pairs = positives * negatives
    inside = np.divide(width * both**2, 12 * pairs, out=np.zeros_like(both), where=pairs > 0)
    return float((positives * below + pairs * np.minimum(0.5 + inside, 1.0)).sum()) / total


def recalibrated(
    units: Floats, scores: Floats, labelled: Floats, labelled_scores: Floats, labels: Floats
) -> Floats:
    """Each bin's expected positives: sum of scores, less the gap that labelled units of the bin have shown.

    Bins of few labelled units take the gap of their score among the bins that have enough (linear between them).
    """
    enough = labelled >= MIN_CALIBRATED
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(units > 0, scores / units, math.nan)
        gap = np.where(enough, (labels - labelled_scores) / labelled, math.nan)
        at = np.where(enough, labelled_scores / labelled, math.nan)
        noise = at * (1 - at) / labelled
        # Labels of scores that are right differ from them by chance: a gap counts for what it is beyond that
        # (James and Stein's positive part).
        gap = np.where(gap**2 > 0, gap * np.maximum(0.0, 1 - 2 * noise / gap**2), 0.0)
    if enough.sum() < 2:
        return np.clip(scores, 0.0, units)
    known = np.flatnonzero(enough)
    shift = np.interp(np.nan_to_num(mean, nan=0.5), at[known], gap[known])
    return np.clip(scores + shift * units, 0.0, units)


def estimate(units: Floats, positives: Floats, width: float) -> Estimated:
    """What `positives` of `units` by score bin of `width` would make of the scores."""
    total = float(units.sum())
    if not total > 0:
        return Estimated(math.nan, math.nan, math.nan, math.nan, 0)
    negatives = units - positives
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.clip(np.where(units > 0, positives / units, 0.5), 1e-6, 1 - 1e-6)
    log_loss = -(positives * np.log(p) + negatives * np.log1p(-p)).sum() / total
    brier = (units * p * (1 - p)).sum() / total
    return Estimated(
        auc_of(positives, negatives, width),
        float(log_loss),
        float(brier),
        float(positives.sum() / total),
        round(total),
    )
