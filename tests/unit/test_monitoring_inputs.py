"""Inputs: silent while days do what days do, however many rows; loud after a shift; each share on its own."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from ratchet.loop_measures import Inputs
from ratchet.monitoring.inputs import FeatureShift, judge_inputs, table_of
from ratchet.monitoring.profile import PROFILE_COLUMNS

START = date(2013, 1, 1)
CUTS = norm.ppf(np.arange(1, 10) / 10)
NO_PROFILES = pd.DataFrame(columns=list(PROFILE_COLUMNS))
TERMS = Inputs()


def profile(features: int) -> pd.DataFrame:
    """Bins at the deciles of a standard normal."""
    rows = [
        {"feature": f"x{i:02}", "bin": b, "reference_share": 0.1 if b else 0.0}
        for i in range(features)
        for b in range(11)
    ]
    return pd.DataFrame(rows)


def days_of(
    rng: np.random.Generator, days: int, rows: int, features: int, shift_at: int, shift: float
) -> pd.DataFrame:
    """Histograms of normals whose mean wobbles by 0.03 from day to day; x00 moves by `shift` at `shift_at`."""
    found = []
    for day in range(days):
        for i in range(features):
            mean = rng.normal(0, 0.03) + (shift if i == 0 and day >= shift_at else 0.0)
            cumulative = np.r_[0, norm.cdf(CUTS - mean), 1]
            counts = rng.multinomial(rows, np.diff(cumulative))
            for b, n in enumerate(counts, start=1):
                found.append((START + timedelta(days=day), f"x{i:02}", b, n, 0, mean * n))
    columns = ["departure_date", "feature", "bin", "n", "n_out_of_range", "sum_value"]
    return pd.DataFrame(found, columns=columns)


def judged(rows: pd.DataFrame, bins: pd.DataFrame, day: int, terms: Inputs = TERMS) -> list[FeatureShift]:
    last = START + timedelta(days=day)
    known = rows[rows["departure_date"] <= last]
    days = sorted(set(known["departure_date"]))
    return list(judge_inputs(terms, table_of(known, bins), bins, NO_PROFILES, days))


@pytest.mark.parametrize("rows_a_day", [10_000, 100_000])
def test_days_of_wobble_are_silent_and_a_shift_is_found_within_two(rows_a_day: int) -> None:
    bins = profile(20)
    rows = days_of(np.random.default_rng(3), 46, rows_a_day, 20, 40, 0.2)
    false, found = 0, None
    for day in range(30, 46):
        drifting = {shift.feature for shift in judged(rows, bins, day) if shift.is_drifting}
        false += bool(drifting - {"x00"}) or (day < 40 and bool(drifting))
        if "x00" in drifting and found is None:
            found = day
    assert false == 0
    assert found is not None
    assert found - 40 < 2


def test_few_reference_days_are_unknown_and_not_ok() -> None:
    bins = profile(2)
    rows = days_of(np.random.default_rng(1), 5, 1000, 2, 99, 0)
    assert {shift.state for shift in judged(rows, bins, 4)} == {"unknown"}


def test_no_day_is_unknown() -> None:
    bins = profile(1)
    rows = days_of(np.random.default_rng(1), 1, 10, 1, 99, 0)
    assert [shift.state for shift in judge_inputs(TERMS, table_of(rows, bins), bins, NO_PROFILES, [])] == [
        "unknown"
    ]


def test_what_is_missing_or_out_of_range_is_told_by_itself() -> None:
    bins = profile(2)
    rows = days_of(np.random.default_rng(5), 40, 1000, 2, 99, 0)
    late = rows["departure_date"] >= START + timedelta(days=37)
    mine = late & (rows["feature"] == "x01")
    rows.loc[mine & (rows["bin"] == 1), "bin"] = 0
    rows.loc[mine & (rows["bin"] == 10), "n_out_of_range"] = rows["n"]
    by_name = {shift.feature: shift for shift in judged(rows, bins, 39)}
    assert by_name["x01"].shares["missing"][0] == "alert"
    assert by_name["x01"].shares["out_of_range"][0] == "alert"
    assert by_name["x00"].shares["missing"][0] == "ok"


def test_a_feature_that_is_another_one_each_day_is_no_drift() -> None:
    """A weekday is far from all weekdays together, each day by the same."""
    bins = pd.DataFrame(
        [{"feature": "weekday", "bin": b, "reference_share": 1 / 7 if b else 0.0} for b in range(8)]
    )
    columns = ["departure_date", "feature", "bin", "n", "n_out_of_range", "sum_value"]
    rows = pd.DataFrame(
        [
            (START + timedelta(days=d), "weekday", d % 7 + 1, 900 + d % 5, 0, 900.0 * (d % 7 + 1))
            for d in range(42)
        ],
        columns=columns,
    )
    assert {judged(rows, bins, day)[0].state for day in range(15, 42)} == {"ok"}


def test_an_empty_profile_and_a_missing_column_are_refused() -> None:
    rows = days_of(np.random.default_rng(1), 1, 10, 1, 99, 0)
    with pytest.raises(ValueError, match="no training profile"):
        table_of(rows, profile(0))
    with pytest.raises(ValueError, match="lacks sum_value"):
        table_of(rows.drop(columns="sum_value"), profile(1))


def test_a_season_is_compared_with_the_year_before_and_not_with_the_weeks_before() -> None:
    """Summer is no drift where last summer is the reference; what last summer did not do is."""
    terms, bins = Inputs(reference="season"), profile(1)

    def year(shift_now: float) -> pd.DataFrame:
        rng, found = np.random.default_rng(9), []
        for first, move in (
            (START, 0.5),
            (START + timedelta(days=350), 0.0),
            (START + timedelta(days=364), shift_now),
        ):
            for day in range(14):
                when = first + timedelta(days=day)
                mean = move + rng.normal(0, 0.03)
                counts = rng.multinomial(10_000, np.diff(np.r_[0, norm.cdf(CUTS - mean), 1]))
                found += [(when, "x00", b, n, 0, mean * n) for b, n in enumerate(counts, start=1)]
        columns = ["departure_date", "feature", "bin", "n", "n_out_of_range", "sum_value"]
        return pd.DataFrame(found, columns=columns)

    (same,) = judged(year(0.5), bins, 370, terms)
    assert (same.reference, same.is_drifting) == ("season", False)
    (other,) = judged(year(0.0), bins, 370, terms)
    assert (other.reference, other.is_drifting) == ("season", True)
    # The weeks before say the opposite of both.
    assert judged(year(0.5), bins, 366, Inputs())[0].is_drifting
    assert not judged(year(0.0), bins, 366, Inputs())[0].is_drifting
