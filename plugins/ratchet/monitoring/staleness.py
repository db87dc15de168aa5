"""Quality against a model's age: what former champions lose, on days that none of them had seen.

Days differ in how hard they are. So a version is compared with the youngest one that scored the same units of the same
day, and intervals are over days.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.experiment.paired import ratio_estimate
from ratchet.monitoring.health import ERROR
from ratchet.monitoring.quality import told

#: Versions are compared over so many of the newest days.
RECENT_DAYS = 28
#: Ages are shown in steps of so many days.
STEP_DAYS = 28


def day_sums(
    dates: NDArray[Any],
    labels: NDArray[np.float64],
    log_losses: NDArray[np.float64],
    briers: NDArray[np.float64],
) -> pd.DataFrame:
    """departure_date, n_labelled, sum_log_loss, sum_brier: one row a day, from one entry a unit."""
    rows = pd.DataFrame(
        {
            "departure_date": dates,
            "n_labelled": ~np.isnan(labels),
            "sum_log_loss": log_losses,
            "sum_brier": briers,
        }
    )
    return rows.groupby("departure_date", sort=True).sum().reset_index()


def curve(rows: pd.DataFrame, withdrawn: Collection[int] = ()) -> list[dict[str, Any]]:
    """One record a version over the newest `RECENT_DAYS` of ops.staleness_daily, the youngest first.

    `age_days` is from the last day that it learnt from to the newest day it was scored on; `above_youngest` its log
    loss above that of the youngest version that serves or may serve again, on the days that both were scored on; None
    of that one itself.
    """
    if rows.empty:
        return []
    known = _paired(rows, withdrawn)
    newest = known["departure_date"].max()
    recent = known[known["departure_date"] > newest - pd.Timedelta(days=RECENT_DAYS)]
    found = [
        {
            "model_version": int(str(version)),
            "age_days": int(part["age"].max()),
            "days": len(part),
            "n_labelled": int(part["n_labelled"].sum()),
            "log_loss": told(ratio_estimate(part["sum_log_loss"], part["n_labelled"].astype(float)), ERROR),
            "above_youngest": _above(part),
            "is_withdrawn": int(str(version)) in withdrawn,
        }
        for version, part in recent.groupby("model_version", sort=True)
    ]
    return sorted(found, key=lambda one: (one["age_days"], one["model_version"]))


def by_age(rows: pd.DataFrame, withdrawn: Collection[int] = ()) -> list[dict[str, Any]]:
    """One record for each step of age over all days: log loss above the youngest version's of the same day."""
    if rows.empty:
        return []
    known = _paired(rows, withdrawn)
    known = known[known["above"].notna()]
    steps = known["age"] // STEP_DAYS * STEP_DAYS
    answers = []
    for step, part in known.groupby(steps, sort=True):
        # Versions of one age on one day share the day: they are one cluster.
        daily = part.groupby("departure_date", sort=True).agg(
            above=("above", "sum"), n_labelled=("n_labelled", "sum")
        )
        answers.append(
            {
                "age_days": int(str(step)),
                "versions": int(part["model_version"].nunique()),
                "days": len(daily),
                "above_youngest": told(
                    ratio_estimate(daily["above"], daily["n_labelled"].astype(float)), ERROR
                ),
            }
        )
    return answers


def _paired(rows: pd.DataFrame, withdrawn: Collection[int]) -> pd.DataFrame:
    """The rows with `age` and `above`: the sum of losses above those of the day's youngest, nan where none is younger.

    Two versions that did not score equally many units of a day are not compared on it.
    """
    known = rows.assign(
        departure_date=pd.to_datetime(rows["departure_date"]),
        trained_until=pd.to_datetime(rows["trained_until"]),
    ).sort_values(["departure_date", "trained_until", "model_version"], ignore_index=True)
    known["age"] = (known["departure_date"] - known["trained_until"]).dt.days
    youngest = (
        known[~known["model_version"].isin(list(withdrawn))]
        .groupby("departure_date")
        .tail(1)
        .set_index("departure_date")
    )
    beside = youngest.reindex(known["departure_date"]).reset_index(drop=True)
    is_compared = (
        beside["model_version"].notna()
        & (beside["model_version"] != known["model_version"])
        & (beside["trained_until"] > known["trained_until"])
        & (beside["n_labelled"] == known["n_labelled"])
    )
    known["above"] = (known["sum_log_loss"] - beside["sum_log_loss"]).where(is_compared)
    return known


def _above(part: pd.DataFrame) -> dict[str, Any] | None:
    own = part[part["above"].notna()]
    if own.empty:
        return None
    return {"days": len(own), **told(ratio_estimate(own["above"], own["n_labelled"].astype(float)), ERROR)}
