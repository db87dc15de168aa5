"""Quality of the served model in rolling windows: on mature labels with intervals over days, and before them.

Days are the clusters of every interval. What a window could not know yet stands beside it (`n_open`, `open_share`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from ratchet.experiment.paired import Estimate, plain, ratio_estimate
from ratchet.loop_measures import QualityLimits
from ratchet.monitoring.estimated import Estimated, auc_of, estimate, recalibrated

Floats = NDArray[np.float64]
BINS = 50
#: Losses and shares of errors: name, numerator, denominator (columns of mon_cohorts_daily).
RATIOS = (
    ("log_loss", "sum_log_loss", "n_labelled"),
    ("brier", "sum_brier", "n_labelled"),
    ("false_reassurance", "n_late_not_warned", "sum_label"),
    ("false_alarm", "n_punctual_warned", "n_punctual"),
)
NO_NUMBER: dict[str, float | None] = {"value": None, "low": None, "high": None}
METRICS = ("log_loss", "brier", "auc", "calibration_error", "false_reassurance", "false_alarm")


@dataclass(frozen=True)
class ScoreDays:
    """Sums by day and score bin of one model: days x 50 each."""

    days: tuple[date, ...]
    units: Floats
    scores: Floats
    labelled: Floats
    labelled_scores: Floats
    labels: Floats


def score_days(rows: pd.DataFrame, version: int) -> ScoreDays:
    """The rows of mon_scores_daily of `version`, served and silent together."""
    own = rows[rows["model_version"] == version]
    codes, days = pd.factorize(pd.to_datetime(own["departure_date"]).dt.date, sort=True)
    made = []
    for column in ("n_units", "sum_score", "n_labelled", "sum_score_labelled", "sum_label"):
        table = np.zeros((len(days), BINS))
        np.add.at(
            table, (codes, own["score_bin"].to_numpy(dtype=np.int64)), own[column].to_numpy(dtype=np.float64)
        )
        made.append(table)
    return ScoreDays(tuple(days), *made)


def jackknifed(sums: Floats, statistic: Callable[[Floats], float], error: float) -> dict[str, float | None]:
    """A statistic of sums over clusters (axis 0), with limits by the delete-one-cluster jackknife (Efron 1982)."""
    value, clusters = statistic(sums.sum(axis=0)), len(sums)
    if clusters < 2 or not math.isfinite(value):
        return {"value": plain(value), "low": None, "high": None}
    total = sums.sum(axis=0)
    without = np.array([statistic(total - part) for part in sums])
    spread = math.sqrt((clusters - 1) / clusters * float(((without - without.mean()) ** 2).sum()))
    reach = float(-stdtrit(clusters - 1, error)) * spread
    return {"value": plain(value), "low": plain(value - reach), "high": plain(value + reach)}


def _auc(sums: Floats) -> float:
    return auc_of(sums[0], sums[1], 1 / BINS)


def _calibration_error(sums: Floats) -> float:
    """Expected calibration error over tenths of the score."""
    gaps = (sums[0] - sums[1]).reshape(10, -1).sum(axis=1)
    return float(np.abs(gaps).sum() / sums[2].sum()) if sums[2].sum() > 0 else math.nan


def told(value: Estimate, error: float) -> dict[str, float | None]:
    """An estimate as value, low, high."""
    low, high = value.bound(error) if value.is_usable else (math.nan, math.nan)
    return {"value": plain(value.value), "low": plain(low), "high": plain(high)}


def rolling(
    terms: QualityLimits,
    scores: ScoreDays,
    cohorts: pd.DataFrame,
    until: date,
    mature_until: date,
    count: int,
) -> list[dict[str, Any]]:
    """A record for each of the last `count` windows that end at or before `until`; ends with the newest.

    `cohorts` are the model's rows of mon_cohorts_daily of the cohort all. Measured numbers rest on days up to
    `mature_until` whose windows are closed; the estimate rests on all days of the window.
    """
    daily = by_day(cohorts)
    answers = []
    for back in range(count - 1, -1, -1):
        last = until - timedelta(days=back)
        first = last - timedelta(days=terms.window_days - 1)
        inside = [i for i, day in enumerate(scores.days) if first <= day <= last]
        if not inside:
            continue
        mature = [i for i in inside if scores.days[i] <= mature_until and scores.labelled[i].sum() > 0]
        days = [scores.days[i] for i in mature]
        units = float(scores.units[inside].sum())
        labelled = float(scores.labelled[mature].sum())
        record: dict[str, Any] = {
            "until": last.isoformat(),
            "days": len(mature),
            "n_labelled": round(labelled),
            "n_open": round(units - float(scores.labelled[inside].sum())),
            "open_share": plain(1 - float(scores.labelled[inside].sum()) / units) if units else None,
        }
        part = daily.reindex(days)
        for name, above, below in RATIOS:
            record[name] = told(ratio_estimate(part[above].fillna(0.0), part[below].fillna(0.0)), terms.error)
        positive = scores.labels[mature]
        record["auc"] = jackknifed(
            np.stack([positive, scores.labelled[mature] - positive], axis=1), _auc, terms.error
        ) if mature else told(Estimate(math.nan, math.nan, 0, 0), terms.error)  # fmt: skip
        record["calibration_error"] = jackknifed(
            np.stack([scores.labelled_scores[mature], positive, scores.labelled[mature]], axis=1),
            _calibration_error,
            terms.error,
        ) if mature else told(Estimate(math.nan, math.nan, 0, 0), terms.error)  # fmt: skip
        record["estimated"] = estimated(scores, inside, mature_until, first).evidence()
        answers.append(record)
    return answers


def estimated(scores: ScoreDays, inside: Sequence[int], mature_until: date, first: date) -> Estimated:
    """Quality of the days `inside` as their scores say, calibrated by mature days before `first`."""
    before = [i for i, day in enumerate(scores.days) if day < first and day <= mature_until]
    units, sums = scores.units[list(inside)].sum(axis=0), scores.scores[list(inside)].sum(axis=0)
    positives = recalibrated(
        units,
        sums,
        scores.labelled[before].sum(axis=0),
        scores.labelled_scores[before].sum(axis=0),
        scores.labels[before].sum(axis=0),
    )
    return estimate(units, positives, 1 / BINS)


def by_day(cohorts: pd.DataFrame) -> pd.DataFrame:
    """Sums by departure date, with `n_punctual`, the labelled units that were not late."""
    rows = cohorts.assign(departure_date=pd.to_datetime(cohorts["departure_date"]).dt.date)
    numbers = [c for c in rows.columns if c.startswith(("n_", "sum_"))]
    daily = rows.astype(dict.fromkeys(numbers, "float64")).groupby("departure_date", sort=True)[numbers].sum()
    return daily.assign(n_punctual=daily["n_labelled"] - daily["sum_label"])


def reliability(scores: ScoreDays, days: Sequence[date], error: float) -> list[dict[str, Any]]:
    """Observed rate against mean score by tenth of the score, with limits over days."""
    kept = [i for i, day in enumerate(scores.days) if day in set(days)]
    answers = []
    for tenth in range(10):
        part = slice(tenth * 5, tenth * 5 + 5)
        n = scores.labelled[kept][:, part].sum(axis=1)
        if n.sum() <= 0:
            continue
        rate = ratio_estimate(scores.labels[kept][:, part].sum(axis=1), n)
        answers.append(
            {
                "mean_score": plain(float(scores.labelled_scores[kept][:, part].sum() / n.sum())),
                "n": round(float(n.sum())),
                "rate": plain(rate.value),
                "low": told(rate, error)["low"],
                "high": told(rate, error)["high"],
            }
        )
    return answers


def concept_drift(measured: Mapping[str, Any], terms: QualityLimits, level: float) -> dict[str, Any]:
    """Whether labels contradict the estimate: the window's log loss is above what its scores say, beyond chance.

    `level` is by how much the loss was above its estimate in the windows before.
    """
    expected, low = measured["estimated"]["log_loss"], measured["log_loss"]["low"]
    if expected is None or low is None or measured["days"] < 5:
        return {"suspected": False, "reason": "not known: too few mature days, or no estimate"}
    gap = low - expected - max(level, 0.0)
    suspected = gap > terms.cohort_margin
    words = f"log loss is at least {low:.4f} where the scores say {expected:.4f}"
    if not suspected:
        return {"suspected": False, "reason": f"labels agree with the estimate: {words}"}
    return {
        "suspected": True,
        "reason": f"{words}: the same units behave in another way; the estimate before labels is not to be believed",
    }


def by_cohort(
    terms: QualityLimits,
    rows: pd.DataFrame,
    until: date,
    window_days: int,
    min_units: int,
    min_days: int,
    scores: pd.DataFrame | None = None,
    k: int = 1,
) -> list[dict[str, Any]]:
    """Each cohort's quality in the window until `until`, against its own windows before, with intervals over days.

    `state` is worse where log loss is above that of before by more than the margin, beyond chance; `label_shift`
    where the share of positives is not what the scores say, by more than `rate_margin`, beyond chance. `auc` is of
    `scores`, the rows of mon_cohort_scores_daily, where there are at least `k` units; see `cohort_auc`.
    """
    answers = []
    ranked = {} if scores is None else cohort_auc(terms, scores, until, window_days, min_days, k)
    dates = pd.to_datetime(rows["departure_date"]).dt.date
    first = until - timedelta(days=window_days - 1)
    rows = rows[dates <= until]
    dates = dates[dates <= until]
    for (dimension, cohort), part in rows.groupby(["cohort_dimension", "cohort_value"], sort=True):
        daily = by_day(part)
        now = daily[np.array([day >= first for day in daily.index], dtype=bool)]
        past = daily[np.array([day < first for day in daily.index], dtype=bool)]
        answer: dict[str, Any] = {
            "dimension": str(dimension),
            "cohort": str(cohort),
            "until": until.isoformat(),
            "n_units": round(float(now["n_units"].sum())),
            "n_labelled": round(float(now["n_labelled"].sum())),
            "days": int((now["n_labelled"] > 0).sum()),
            "auc": ranked.get((str(dimension), str(cohort)), {**NO_NUMBER, "state": "not measured"}),
        }
        for name, above, below in RATIOS:
            answer[name] = told(ratio_estimate(now[above], now[below]), terms.error)
        gap = ratio_estimate(now["sum_label"] - now["sum_score"], now["n_labelled"])
        before = ratio_estimate(past["sum_label"] - past["sum_score"], past["n_labelled"])
        answer["rate_gap"] = told(gap, terms.error)
        enough = answer["n_labelled"] >= min_units and answer["days"] >= min_days
        then = ratio_estimate(past["sum_log_loss"], past["n_labelled"])
        loss = ratio_estimate(now["sum_log_loss"], now["n_labelled"])
        if not (enough and then.is_usable and loss.is_usable):
            answer |= {"state": "not enough evidence", "label_shift": "unknown", "shift": None}
        else:
            change = _difference(loss, then)
            moved = _difference(gap, before)
            answer["state"] = "worse" if change.bound(terms.error)[0] > terms.cohort_margin else "ok"
            shifted = abs(moved.value) >= terms.rate_margin and abs(moved.z) >= 3.0
            answer["label_shift"] = "alert" if shifted else "ok"
            answer["shift"] = {**told(moved, terms.error), "change_of_log_loss": told(change, terms.error)}
        answers.append(answer)
    return answers


def cohort_auc(
    terms: QualityLimits, scores: pd.DataFrame, until: date, window_days: int, min_days: int, k: int
) -> dict[tuple[str, str], dict[str, Any]]:
    """AUC of each cohort in the window until `until`, with limits by the jackknife over days.

    `state` says why there is no number: fewer than `k` units, fewer than `min_days` days, or fewer than `k` units of
    one class: of a few, all may stand in order on each day by chance, and an interval over days would have no width.

    Args:
        scores: rows of mon_cohort_scores_daily of one model.
    """
    dates = pd.to_datetime(scores["departure_date"]).dt.date
    first = until - timedelta(days=window_days - 1)
    inside = scores[np.array([first <= day <= until for day in dates], dtype=bool)]
    answers: dict[tuple[str, str], dict[str, Any]] = {}
    for (dimension, cohort), part in inside.groupby(["cohort_dimension", "cohort_value"], sort=True):
        codes, days = pd.factorize(pd.to_datetime(part["departure_date"]).dt.date, sort=True)
        bins = part["score_bin"].to_numpy(dtype=np.int64)
        units, positive = np.zeros((len(days), BINS)), np.zeros((len(days), BINS))
        np.add.at(units, (codes, bins), part["n_labelled"].to_numpy(dtype=np.float64))
        np.add.at(positive, (codes, bins), part["sum_label"].to_numpy(dtype=np.float64))
        found: dict[str, Any] = {**NO_NUMBER}
        if units.sum() < k:
            state = f"fewer than {k} units"
        elif len(days) < max(2, min_days):
            state = f"too few days: {len(days)} of {max(2, min_days)}"
        elif min(positive.sum(), (units - positive).sum()) < max(k, 1):
            state = f"fewer than {max(k, 1)} of one class"
        else:
            told = jackknifed(np.stack([positive, units - positive], axis=1), _auc, terms.error)
            low, high = told["low"], told["high"]
            # Without its only day a class is gone: nobody knows how far days move it.
            state = "ok" if low is not None and high is not None else "one class on all days but one"
            if low is not None and high is not None:
                found = {"value": told["value"], "low": max(0.0, low), "high": min(1.0, high)}
        answers[str(dimension), str(cohort)] = {**found, "state": state}
    return answers


def _difference(now: Estimate, before: Estimate) -> Estimate:
    """now - before, of different days; degrees of freedom of the one with fewer days."""
    return Estimate(
        now.value - before.value,
        math.hypot(now.standard_error, before.standard_error),
        min(now.clusters, before.clusters),
        now.units,
    )
