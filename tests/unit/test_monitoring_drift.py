"""Profiles and drift: distances by hand, quiet on stable days however many rows, loud on a shift."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ratchet.loop import Loop, load_loop
from ratchet.monitoring.drift import (
    MIN_ROWS,
    FeatureDrift,
    benjamini_hochberg,
    chi_square_p_value,
    feature_drift,
    js_distance,
    ks_distance,
    psi,
)
from ratchet.monitoring.profile import feature_profiles, reference_bins

START = date(2013, 5, 1)


def flights_loop() -> Loop:
    return load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")


def training_rows(n: int = 5000, seed: int = 1) -> pd.DataFrame:
    loop, rng = flights_loop(), np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=n) for name in loop.features.numeric})
    frame["precipitation_in"] = np.where(rng.random(n) < 0.95, 0.0, rng.random(n))
    frame.loc[rng.random(n) < 0.3, "wind_gust_mph"] = np.nan
    frame["plane_seats"] = np.nan
    for name, values in loop.features.categorical.items():
        frame[name] = rng.choice(list(values), n)
    return frame


def counted(values: np.ndarray, bins: pd.DataFrame) -> dict[int, int]:
    """Counts by bin as mon_feature_histograms has them: lower <= value < upper, else bin 0."""
    answer = {0: int(np.isnan(values).sum())}
    for row in bins[bins["bin"] > 0].itertuples():
        low = -math.inf if math.isnan(row.lower_bound) else row.lower_bound
        high = math.inf if math.isnan(row.upper_bound) else row.upper_bound
        answer[int(row.bin)] = int(((values >= low) & (values < high)).sum())
    return answer


def test_bins_cover_each_feature_and_their_shares_are_what_the_histogram_counts() -> None:
    loop, frame = flights_loop(), training_rows()
    bins = reference_bins(frame, loop, model_version=3)
    assert set(bins["feature"]) == set(loop.features.columns)
    whole = np.ones(len(loop.features.columns))
    assert bins.groupby("feature")["reference_share"].sum().to_numpy() == pytest.approx(whole)
    assert (bins["model_version"] == 3).all()
    for name in ("departure_hour", "precipitation_in", "wind_gust_mph", "plane_seats"):
        own = bins[bins["feature"] == name]
        counts = counted(frame[name].to_numpy(), own)
        assert own.set_index("bin")["reference_share"].to_dict() == pytest.approx(
            {bin_: n / len(frame) for bin_, n in counts.items()}
        )
    carriers = bins[(bins["feature"] == "carrier") & (bins["bin"] > 0)]
    assert len(carriers) == len(loop.features.categorical["carrier"])
    first = carriers.iloc[0]
    assert first["reference_share"] == pytest.approx((frame["carrier"] == "9E").mean())


def test_an_empty_training_frame_has_no_profile() -> None:
    with pytest.raises(ValueError, match="empty"):
        reference_bins(training_rows().iloc[:0], flights_loop(), 1)


def test_an_infinite_value_has_no_profile() -> None:
    rows = training_rows()
    with pytest.raises(ValueError, match="departure_hour holds an infinite value"):
        reference_bins(rows.assign(departure_hour=[-np.inf, *rows["departure_hour"][1:]]), flights_loop(), 1)


def test_a_profile_does_not_hang_on_the_order_of_rows() -> None:
    loop, rows = flights_loop(), training_rows()
    days = np.minimum(np.arange(len(rows)) // 600, 7)
    days[:5] = 9  # a day of too few rows to say anything
    rows = rows.assign(departure_date=pd.Timestamp(START) + pd.to_timedelta(days, unit="D"))
    shuffled = rows.sample(frac=1, random_state=5)
    one, two = (
        feature_profiles(each, loop, 1, reference_bins(each, loop, 1), {"departure_hour": 2.0})
        for each in (rows, shuffled)
    )
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)
    hours = one.set_index("feature").loc["departure_hour"]
    assert (hours["lowest"], hours["highest"]) == (rows["departure_hour"].min(), rows["departure_hour"].max())
    daily = rows.groupby("departure_date")["departure_hour"].mean()
    kept = rows.groupby("departure_date").size() >= MIN_ROWS
    assert 0 < kept.sum() < len(kept)
    assert (hours["days"], hours["importance"]) == (kept.sum(), 1.0)
    assert hours["day_mean"] == pytest.approx(daily[kept].mean())


def test_distances_agree_with_scipy_and_by_hand() -> None:
    p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.25, 0.25, 0.25, 0.25])
    assert js_distance(p, q) == pytest.approx(jensenshannon(p, q, base=2))
    assert js_distance(p, p) == 0
    assert js_distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1
    assert ks_distance(p, q) == pytest.approx(0.3)
    assert psi(np.array([0.6, 0.4]), np.array([0.5, 0.5])) == pytest.approx(
        0.1 * math.log(1.2) - 0.1 * math.log(0.8)
    )
    assert math.isfinite(psi(p, np.array([0.5, 0.5, 0.0, 0.0])))
    counts = np.array([50.0, 30, 20])
    assert chi_square_p_value(counts, np.full(3, 1 / 3)) == pytest.approx(stats.chisquare(counts).pvalue)


def test_benjamini_hochberg_agrees_with_scipy() -> None:
    p = np.random.default_rng(1).random(40) ** 3
    expected = stats.false_discovery_control(p) <= 0.05
    assert benjamini_hochberg(p.tolist(), 0.05) == tuple(expected)
    assert benjamini_hochberg([math.nan, 0.001], 0.05) == (False, True)
    assert benjamini_hochberg([], 0.05) == ()


def drift_of(shift: float, rows: int, seed: int, wobble: float = 0.03, days: int = 7) -> FeatureDrift:
    rng = np.random.default_rng(seed)
    edges = stats.norm.ppf(np.arange(1, 10) / 10)
    bins = pd.DataFrame({"feature": "f", "bin": range(11), "reference_share": [0.0] + [0.1] * 10})
    histogram = []
    for offset in range(days):
        values = rng.normal(shift + rng.normal(0, wobble), 1, rows)
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=10)
        histogram += [
            {"departure_date": START + timedelta(days=offset), "feature": "f", "bin": b + 1, "n": int(n)}
            for b, n in enumerate(counts)
        ]
    dates = [START + timedelta(days=offset) for offset in range(days)]
    (answer,) = feature_drift(pd.DataFrame(histogram), bins, dates, min_distance=0.05, k=2, n=days)
    return answer


def test_stable_days_with_a_natural_wobble_do_not_drift_however_many_rows() -> None:
    for rows in (1_000, 10_000, 200_000):
        found = [drift_of(0.0, rows, seed) for seed in range(5)]
        assert not any(answer.is_drifting for answer in found)
        assert rows == 1_000 or [answer.alert_days for answer in found] == [0] * 5


def test_a_shift_is_found_within_two_days() -> None:
    for seed in range(5):
        found = drift_of(0.4, 10_000, seed, days=2)
        assert found.is_drifting
        assert found.ks > 0.1


def test_days_without_rows_are_not_compared() -> None:
    bins = pd.DataFrame({"feature": "f", "bin": [0, 1], "reference_share": [0.0, 1.0]})
    none = pd.DataFrame({"departure_date": [], "feature": [], "bin": [], "n": []})
    (answer,) = feature_drift(none, bins, [START], min_distance=0.1, k=1, n=7)
    assert answer.days == 0
    assert not answer.is_drifting
    assert math.isnan(answer.js_distance)
    assert FeatureDrift.from_evidence(answer.evidence()).days == 0


def test_no_profile_is_an_error_not_silence() -> None:
    rows = pd.DataFrame({"departure_date": [START], "feature": ["f"], "bin": [1], "n": [9]})
    with pytest.raises(ValueError, match="no training profile"):
        feature_drift(rows, pd.DataFrame(columns=["feature", "bin", "reference_share"]), [START],
                      min_distance=0.1, k=1, n=7)  # fmt: skip
    with pytest.raises(ValueError, match="histograms lack n"):
        feature_drift(rows.drop(columns="n"), rows, [START], min_distance=0.1, k=1, n=7)
