"""Champion and challenger side by side, with intervals over clusters: what a summary or a page shows.

It decides nothing: the verdict has its own estimates.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from ratchet.experiment.paired import Estimate, ratio_estimate
from ratchet.loop import Loop

ERROR = 0.025


def _shown(estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.bound(ERROR)
    return {
        "value": estimate.value,
        "low": low,
        "high": high,
        "clusters": estimate.clusters,
        "units": estimate.units,
    }


def compare(
    loop: Loop, paired: pd.DataFrame, arms: pd.DataFrame, first: Any, last_mature: Any
) -> dict[str, Any]:
    """Log loss and Brier score of both models on the same units, and the travellers' rating by arm.

    Days from `first` to `last_mature`; 95 % intervals over days. An arm without a rating has none.
    """
    rows = paired[(paired["cohort_dimension"] == "all") & (paired["n_labelled"] > 0)]
    rows = rows[_between(rows, first, last_mature)]
    shown: dict[str, Any] = {"days": len(rows), "units": int(rows["n_labelled"].sum())}
    for metric in ("log_loss", "brier"):
        champion, challenger = rows[f"sum_{metric}_champion"], rows[f"sum_{metric}_challenger"]
        shown[metric] = {
            "champion": _shown(ratio_estimate(champion, rows["n_labelled"])),
            "challenger": _shown(ratio_estimate(challenger, rows["n_labelled"])),
            "difference": _shown(ratio_estimate(challenger - champion, rows["n_labelled"])),
        }
    rated = arms[(arms["n_ratings"] > 0) & _between(arms, first, last_mature)]
    shown["rating"] = {
        arm: _shown(ratio_estimate(part["sum_rating"], part["n_ratings"]))
        for arm, part in rated.groupby("arm")
    }
    return shown


def _between(frame: pd.DataFrame, first: Any, last: Any) -> pd.Series:
    days = pd.to_datetime(frame["departure_date"])
    return (days >= pd.Timestamp(first)) & (days <= pd.Timestamp(last))
