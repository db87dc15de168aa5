"""Health of the served model, and the retrain policy on it: each tier, each refusal, and readiness."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.loop import Loop, load_loop
from ratchet.monitoring.health import Health, ReferenceQuality, assess_health, last_mature_day

AS_OF = datetime(2013, 6, 11)
REFERENCE = ReferenceQuality(
    model_version=1,
    log_loss=0.45,
    log_loss_standard_error=0.005,
    training_rate=0.25,
    evaluated_until=date(2013, 5, 1),
)


def flights_loop() -> Loop:
    return load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")


def quality(loss: float = 0.45, rate: float = 0.25, days: int = 30, sd: float = 0.01, seed: int = 1,
            version: int = 1) -> pd.DataFrame:  # fmt: skip
    rng = np.random.default_rng(seed)
    rows = []
    for back in range(1, days + 1):
        day = AS_OF.date() - timedelta(days=back)
        mature = day <= last_mature_day(flights_loop(), AS_OF)
        for served, units in ((True, 700), (False, 200)):
            labelled = round(units * (0.97 if mature else 0.5))
            rows.append(
                {
                    "loop": "flights",
                    "departure_date": day,
                    "model_version": version,
                    "is_served": served,
                    "n_units": units,
                    "n_labelled": labelled,
                    "n_unresolved": units - labelled if mature else 0,
                    "n_open": 0 if mature else units - labelled,
                    "sum_log_loss": labelled * (loss + rng.normal(0, sd)),
                    "sum_brier": labelled * 0.15,
                    "sum_score": units * rate,
                    "sum_label": round(labelled * rate),
                    "n_ratings": 30 if served else 0,
                    "sum_rating": 114.0 if served else None,
                    "n_tickets": 2 if served else 0,
                    "n_asked": 1000,
                }
            )
    return pd.DataFrame(rows)


def calibration(gap: float = 0.0, days: int = 30) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "departure_date": AS_OF.date() - timedelta(days=back),
                "model_version": 1,
                "score_bin": b,
                "n_labelled": 60,
                "sum_score": 60 * (b + 0.5) / 10,
                "sum_label": 60 * ((b + 0.5) / 10 - gap),
            }
            for back in range(1, days + 1)
            for b in range(10)
        ]
    )


def bins(features: tuple[str, ...] = ("a", "b", "c", "d")) -> pd.DataFrame:
    return pd.DataFrame(
        [{"feature": f, "bin": b, "reference_share": 0.25 * (b > 0)} for f in features for b in range(5)]
    )


def histograms(drifting: tuple[str, ...] = (), days: int = 10) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "departure_date": AS_OF.date() - timedelta(days=back),
                "feature": f,
                "bin": b,
                "n": (600 if b == 1 else 100) if f in drifting else 225,
            }
            for back in range(1, days + 1)
            for f in ("a", "b", "c", "d")
            for b in range(1, 5)
        ]
    )


def health(**change: object) -> Health:
    frames: dict = {
        "quality": quality(),
        "calibration": calibration(),
        "histograms": histograms(),
        "bins": bins(),
        "reference": REFERENCE,
        "as_of": AS_OF,
    }
    answer = assess_health(flights_loop(), **{**frames, **change})
    assert (
        Health.from_json(json.loads(json.dumps(answer.to_json(), allow_nan=False))).to_json()
        == answer.to_json()
    )
    assert answer.reasons
    return answer


def test_maturity_is_counted_in_local_days() -> None:
    # 2013-06-11 00:00 UTC less 72 hours is 20:00 of 7 June in New York: that day is not over.
    assert last_mature_day(flights_loop(), datetime(2013, 6, 11)) == date(2013, 6, 6)
    assert last_mature_day(flights_loop(), datetime(2013, 6, 11, 5)) == date(2013, 6, 7)
    assert last_mature_day(flights_loop(), datetime(2013, 1, 11, 4, 30)) == date(2013, 1, 6)


def test_a_model_that_keeps_its_promise_is_healthy() -> None:
    answer = health()
    assert answer.status == "healthy"
    assert answer.log_loss.clusters == 14
    assert answer.log_loss.units == 14 * (679 + 194)
    assert answer.over_constant.clusters == 7
    assert answer.maturity["mature_until"] == "2013-06-06"
    assert answer.maturity["labelled_share"] == pytest.approx(0.97, abs=0.001)
    assert answer.maturity["days_not_mature"] == 4
    assert answer.maturity["open"] == 4 * 450
    assert answer.opinions["rating"]["value"] == pytest.approx(3.8)
    assert answer.calibration_error == pytest.approx(0, abs=1e-9)


def test_immature_days_do_not_count() -> None:
    rows = quality()
    late = [day > date(2013, 6, 6) for day in rows["departure_date"]]
    rows.loc[late, "sum_log_loss"] = 1e6
    assert health(quality=rows).log_loss == health().log_loss


def test_rows_of_other_models_and_of_the_future_do_not_count() -> None:
    other = quality(loss=5.0, version=2)
    future = quality(loss=5.0).assign(departure_date=AS_OF.date() + timedelta(days=1))
    assert health(quality=pd.concat([quality(), other, future])).log_loss == health().log_loss


def test_quality_lost_beyond_the_margin_is_degraded() -> None:
    assert health(quality=quality(loss=0.50)).status == "degraded"
    assert health(quality=quality(loss=0.475)).status == "healthy"


def test_a_noisy_loss_is_not_called_degraded() -> None:
    assert health(quality=quality(loss=0.49, sd=0.15)).status == "healthy"


def test_worse_than_a_constant_is_the_worst_status() -> None:
    answer = health(quality=quality(loss=0.60))
    assert answer.status == "worse than a constant"
    assert answer.over_constant.value == pytest.approx(0.5623 - 0.60, abs=0.02)


def test_drift_is_named() -> None:
    answer = health(histograms=histograms(("a", "b", "c")))
    assert answer.status == "drifting"
    assert answer.drifting_features == ("a", "b", "c")


def test_calibration_has_a_limit_over_days() -> None:
    answer = health(calibration=calibration(gap=0.08))
    assert answer.calibration_error == pytest.approx(0.08)
    assert answer.calibration_error_low > 0.07


def test_nothing_to_see_is_unknown_never_healthy() -> None:
    for rows in (quality().iloc[:0], quality(days=6), quality(version=9)):
        answer = health(quality=rows)
        assert answer.status == "unknown"
        assert "needed" in answer.reasons[0]
    empty = health(calibration=calibration().iloc[:0], histograms=histograms().iloc[:0])
    assert math.isnan(empty.calibration_error)
    assert empty.drift == ()


def test_unusable_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="lacks sum_log_loss"):
        health(quality=quality().drop(columns="sum_log_loss"))
    bad = ReferenceQuality(1, math.nan, 0.01, 0.25, date(2013, 5, 1))
    with pytest.raises(ValueError, match="no usable number"):
        health(reference=bad)
