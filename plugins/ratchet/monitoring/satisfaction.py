"""How content those are who were asked, cohort by cohort weighted up from those who answered, with limits over days."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.experiment.paired import plain
from ratchet.feedback.propensity import Cell, satisfaction
from ratchet.monitoring.quality import jackknifed

Floats = NDArray[np.float64]
_SUMS = ("n_asked", "n_ratings", "sum_rating")


def weighted_ratings(
    cohorts: pd.DataFrame, days: Sequence[date], k: int, error: float
) -> list[dict[str, Any]]:
    """Mean rating over `days`, raw and weighted, for each cohort dimension as weighting classes.

    The limits are of the delete-one-day jackknife: answers of one day share their weather, so their spread within a
    cohort would promise too much. Cohorts of fewer than `k` answers are left out, and `covered` says how many of those
    asked are spoken for. A dimension with fewer than `k` answers in all shows no number.

    Args:
        cohorts: rows of mon_cohorts_daily.
    """
    served = cohorts[cohorts["is_served"].astype(bool)]
    dates = pd.to_datetime(served["departure_date"]).dt.date
    rows = served.assign(day=dates)[dates.isin(list(days))]
    found = []
    for dimension, part in rows.groupby("cohort_dimension", sort=True):
        if dimension != "all":
            found.append({"dimension": str(dimension), **_of_dimension(part, k, error)})
    return found


def _of_dimension(rows: pd.DataFrame, k: int, error: float) -> dict[str, Any]:
    at, _ = pd.factorize(rows["day"], sort=True)
    of, names = pd.factorize(rows["cohort_value"], sort=True)
    sums = np.zeros((int(at.max()) + 1, len(_SUMS), len(names)))
    for i, column in enumerate(_SUMS):
        np.add.at(sums[:, i], (at, of), rows[column].to_numpy(dtype=np.float64))
    total = sums.sum(axis=0)
    answered = round(float(total[1].sum()))
    empty = {"n": None, "raw": None, "weighted": None, "covered": None, "largest_weight": None}
    if answered < k:
        return {**empty, "state": "fewer than k"}
    if (total[1] > total[0]).any():
        return {**empty, "state": "more answered than were asked: nobody knows who was"}
    cells = [
        Cell(str(name), round(asked), round(n), rating, None)
        for name, (asked, n, rating) in zip(names, total.T.tolist(), strict=True)
    ]
    whole = satisfaction(cells, k)
    used = total[1] >= max(k, 2)
    return {
        "n": answered,
        "raw": jackknifed(sums, _raw, error),
        "weighted": jackknifed(sums[:, :, used], _weighted, error) if used.any() else None,
        "covered": plain(whole.covered),
        "largest_weight": None if whole.largest_weight is None else plain(whole.largest_weight),
        "state": "ok" if used.any() else "fewer than k",
    }


def _raw(sums: Floats) -> float:
    return float(sums[2].sum() / sums[1].sum()) if sums[1].sum() > 0 else math.nan


def _weighted(sums: Floats) -> float:
    """`propensity.satisfaction`'s weighted mean; nan where a cohort has no answer left."""
    if not (sums[1] > 0).all():
        return math.nan
    return float((sums[0] * sums[2] / sums[1]).sum() / sums[0].sum())
