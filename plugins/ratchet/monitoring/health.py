"""The health of the served model: quality with its interval, beside how much of it is known yet.

Everything is computed over mature departure days (outcome window closed at `as_of`) from daily sums, errors
over days. Where the prediction cannot change the outcome, the model's silent predictions count too: during a
rollout the champion is judged on all units, not on its arm alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ratchet.experiment.calibration import BINS, calibration_error
from ratchet.experiment.paired import Estimate, plain, ratio_estimate, unplain
from ratchet.loop_days import last_mature_day as last_mature_day
from ratchet.monitoring.drift import FeatureDrift, feature_drift

if TYPE_CHECKING:
    from ratchet.loop import Loop

Status = Literal["healthy", "drifting", "degraded", "worse than a constant", "unknown"]
ERROR = 0.05  # one-sided, of each limit
MIN_DAYS = 5  # fewer mature days leave the health unknown
QUALITY_COLUMNS = (
    "departure_date",
    "model_version",
    "is_served",
    "n_units",
    "n_labelled",
    "n_unresolved",
    "n_open",
    "sum_log_loss",
    "sum_brier",
    "sum_score",
    "sum_label",
    "n_ratings",
    "sum_rating",
    "n_tickets",
)


@dataclass(frozen=True)
class ReferenceQuality:
    """What the champion promised at its evaluation: log loss and its error, training share of positives."""

    model_version: int
    log_loss: float
    log_loss_standard_error: float
    training_rate: float
    evaluated_until: date


@dataclass(frozen=True)
class Health:
    """The served model's health at `as_of`.

    `above_reference` is mean log loss minus the reference, `over_constant` the gain over a constant at the
    training rate (positive = better), over the event and the urgent window; `reasons` say in words what led
    to `status`.
    """

    as_of: datetime
    model_version: int
    status: Status
    reasons: tuple[str, ...]
    log_loss: Estimate
    above_reference: Estimate
    over_constant: Estimate
    calibration_error: float
    calibration_error_low: float
    drift: tuple[FeatureDrift, ...]
    maturity: dict[str, Any]
    opinions: dict[str, Any]
    urgent_days: int

    @property
    def drifting_features(self) -> tuple[str, ...]:
        """Names of the features that drift."""
        return tuple(item.feature for item in self.drift if item.is_drifting)

    def to_json(self) -> dict[str, Any]:
        """Plain types for a record."""
        return {
            "as_of": self.as_of.isoformat(),
            "model_version": self.model_version,
            "status": self.status,
            "reasons": list(self.reasons),
            "log_loss": self.log_loss.evidence(ERROR),
            "above_reference": self.above_reference.evidence(ERROR),
            "over_constant": self.over_constant.evidence(ERROR),
            "calibration_error": plain(self.calibration_error),
            "calibration_error_low": plain(self.calibration_error_low),
            "drifting_features": list(self.drifting_features),
            "drift": [item.evidence() for item in self.drift],
            "maturity": self.maturity,
            "opinions": self.opinions,
            "urgent_days": self.urgent_days,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Health:
        """The health that `to_json` wrote; numbers that were unknown are nan again.

        Raises:
            KeyError: a key is missing.
        """
        return cls(
            as_of=datetime.fromisoformat(record["as_of"]),
            model_version=int(record["model_version"]),
            status=record["status"],
            reasons=tuple(record["reasons"]),
            log_loss=Estimate.from_evidence(record["log_loss"]),
            above_reference=Estimate.from_evidence(record["above_reference"]),
            over_constant=Estimate.from_evidence(record["over_constant"]),
            calibration_error=unplain(record["calibration_error"]),
            calibration_error_low=unplain(record["calibration_error_low"]),
            drift=tuple(FeatureDrift.from_evidence(item) for item in record["drift"]),
            maturity=dict(record["maturity"]),
            opinions=dict(record["opinions"]),
            urgent_days=int(record["urgent_days"]),
        )


def assess_health(
    loop: Loop,
    quality: pd.DataFrame,
    calibration: pd.DataFrame,
    histograms: pd.DataFrame,
    bins: pd.DataFrame,
    reference: ReferenceQuality,
    as_of: datetime,
) -> Health:
    """The health of model `reference.model_version` at `as_of`.

    `quality`, `calibration`, `histograms` are mon_quality_daily, mon_calibration_daily and
    mon_feature_histograms; `bins` are the champion's rows of ops.feature_bins.

    Raises:
        ValueError: a column of `quality` is missing, or the reference is not a usable number.
    """
    missing = [column for column in QUALITY_COLUMNS if column not in quality.columns]
    if missing:
        raise ValueError(f"mon_quality_daily lacks {', '.join(missing)}")
    if not (math.isfinite(reference.log_loss) and 0 < reference.training_rate < 1):
        raise ValueError(f"reference of model {reference.model_version} is no usable number: {reference}")
    event, urgent = loop.triggers.event, loop.triggers.urgent
    until = last_mature_day(loop, as_of)
    daily = _daily(loop, quality, reference.model_version, as_of)
    mature = daily[(daily["departure_date"] <= until) & (daily["n_labelled"] > 0)]
    window = mature[mature["departure_date"] > until - timedelta(days=event.window_days)]
    recent = mature[mature["departure_date"] > until - timedelta(days=urgent.window_days)]
    log_loss = ratio_estimate(window["sum_log_loss"], window["n_labelled"])
    above = Estimate(
        log_loss.value - reference.log_loss,
        math.hypot(log_loss.standard_error, reference.log_loss_standard_error),
        log_loss.clusters,
        log_loss.units,
    )
    rate = reference.training_rate
    constant = -(
        recent["sum_label"] * math.log(rate)
        + (recent["n_labelled"] - recent["sum_label"]) * math.log1p(-rate)
    )
    over_constant = ratio_estimate(constant - recent["sum_log_loss"], recent["n_labelled"])
    error, error_low = _calibration(calibration, reference.model_version, window["departure_date"])
    profiled: list[date] = list(pd.to_datetime(histograms["departure_date"]).dt.date)
    days = sorted({day for day in profiled if day < as_of.date()})
    k, n = event.k_of_n_days
    drift = (
        feature_drift(histograms, bins, days, min_distance=event.drift_js_distance, k=k, n=n) if days else ()
    )
    status, reasons = _status(loop, log_loss, above, over_constant, drift, reference)
    return Health(
        as_of=as_of,
        model_version=reference.model_version,
        status=status,
        reasons=tuple(reasons),
        log_loss=log_loss,
        above_reference=above,
        over_constant=over_constant,
        calibration_error=error,
        calibration_error_low=error_low,
        drift=drift,
        maturity=_maturity(daily, until, event.window_days),
        opinions=_opinions(daily, until, event.window_days),
        urgent_days=over_constant.clusters,
    )


def _daily(loop: Loop, quality: pd.DataFrame, version: int, as_of: datetime) -> pd.DataFrame:
    """The model's sums by departure date before `as_of`, in date order."""
    rows = quality[quality["model_version"] == version]
    if loop.prediction.influences_outcome:
        rows = rows[rows["is_served"].astype(bool)]
    numbers = list(QUALITY_COLUMNS[3:])
    rows = rows.assign(departure_date=pd.to_datetime(rows["departure_date"]).dt.date)
    rows = rows.astype(dict.fromkeys(numbers, "float64"))
    rows = rows[np.array([day < as_of.date() for day in rows["departure_date"]], dtype=bool)]
    return rows.groupby("departure_date", sort=True)[numbers].sum(min_count=1).reset_index()


def _status(
    loop: Loop,
    log_loss: Estimate,
    above: Estimate,
    over_constant: Estimate,
    drift: tuple[FeatureDrift, ...],
    reference: ReferenceQuality,
) -> tuple[Status, list[str]]:
    event = loop.triggers.event
    if not log_loss.is_usable or log_loss.clusters < MIN_DAYS:
        return "unknown", [
            f"{log_loss.clusters} mature days with labels; {MIN_DAYS} are needed to speak of quality"
        ]
    drifting = [item.feature for item in drift if item.is_drifting]
    numbers = (
        f"log loss {log_loss.value:.4f} over {log_loss.clusters} days, reference {reference.log_loss:.4f}, "
        f"above it by {above.value:+.4f} (at least {above.bound(ERROR)[0]:+.4f})"
    )
    constant = (
        f"gain over a constant {over_constant.value:+.4f} (at most {over_constant.bound(ERROR)[1]:+.4f}) "
        f"over {over_constant.clusters} days"
    )
    moved = f"{len(drifting)} features drift" + (f": {', '.join(drifting)}" if drifting else "")
    reasons = [numbers, constant, moved]
    if over_constant.clusters >= MIN_DAYS and over_constant.bound(ERROR)[1] < 0:
        return "worse than a constant", [constant, numbers, moved]
    if above.bound(ERROR)[0] > event.log_loss_margin:
        return "degraded", reasons
    return ("drifting" if len(drifting) >= event.drift_features else "healthy"), reasons


def _calibration(calibration: pd.DataFrame, version: int, days: pd.Series) -> tuple[float, float]:
    wanted = sorted(set(days))
    if not wanted or calibration.empty:
        return math.nan, math.nan
    rows = calibration[calibration["model_version"] == version]
    rows = rows.assign(departure_date=pd.to_datetime(rows["departure_date"]).dt.date)
    rows = rows[rows["departure_date"].isin(wanted)]
    if rows.empty:
        return math.nan, math.nan
    codes, present = pd.factorize(rows["departure_date"], sort=True)
    gaps = np.zeros((len(present), BINS))
    gap = rows["sum_score"].to_numpy(dtype=np.float64) - rows["sum_label"].to_numpy(dtype=np.float64)
    np.add.at(gaps, (codes, rows["score_bin"].to_numpy(dtype=np.int64)), gap)
    counts = np.zeros(len(present))
    np.add.at(counts, codes, rows["n_labelled"].to_numpy(dtype=np.float64))
    return calibration_error(gaps, counts, ERROR)


def _maturity(daily: pd.DataFrame, until: date, window_days: int) -> dict[str, Any]:
    """How much of the window is known, and what is still open after it."""
    inside = daily[
        (daily["departure_date"] <= until) & (daily["departure_date"] > until - timedelta(days=window_days))
    ]
    later = daily[daily["departure_date"] > until]
    units, labelled = float(inside["n_units"].sum()), float(inside["n_labelled"].sum())
    return {
        "mature_until": until.isoformat(),
        "mature_days": len(inside),
        "units": round(units),
        "labelled": round(labelled),
        "labelled_share": labelled / units if units else None,
        "unresolved": round(float(inside["n_unresolved"].sum())),
        "open": round(float(daily["n_open"].sum())),
        "days_not_mature": len(later),
        "units_not_mature": round(float(later["n_units"].sum())),
    }


def _opinions(daily: pd.DataFrame, until: date, window_days: int) -> dict[str, Any]:
    """What travellers said of the window's predictions; None without an answer."""
    inside = daily[
        (daily["departure_date"] <= until) & (daily["departure_date"] > until - timedelta(days=window_days))
    ]
    ratings = ratio_estimate(inside["sum_rating"].fillna(0.0), inside["n_ratings"].fillna(0.0))
    return {"rating": ratings.evidence(ERROR), "tickets": round(float(inside["n_tickets"].sum()))}
