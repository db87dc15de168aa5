"""Quality against age: versions are compared on the same units of the same days, whatever the days were like."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from ratchet.monitoring.staleness import by_age, curve, day_sums

NEWEST = date(2013, 6, 30)


def scored(version: int, trained_until: date, loss: float, days: int = 28, n: int = 200) -> pd.DataFrame:
    """Day sums of a version whose loss is `loss` above what the day itself costs."""
    made = []
    for back in range(days):
        day = NEWEST - timedelta(days=back)
        hard = 0.4 + 0.2 * ((day.toordinal() * 7) % 5)
        made.append((version, day, trained_until, n, n * (hard + loss), n * 0.1))
    columns = ["model_version", "departure_date", "trained_until", "n_labelled", "sum_log_loss", "sum_brier"]
    return pd.DataFrame(made, columns=columns)


ROWS = pd.concat(
    [
        scored(1, date(2013, 3, 1), 0.05),
        scored(2, date(2013, 4, 26), 0.02),
        scored(3, date(2013, 6, 9), 0.0, days=21),
    ]
)


def test_older_versions_are_compared_with_the_youngest_of_the_day() -> None:
    youngest, second, oldest = curve(ROWS)
    assert [one["model_version"] for one in (youngest, second, oldest)] == [3, 2, 1]
    assert [one["age_days"] for one in (youngest, second, oldest)] == [21, 65, 121]
    assert youngest["above_youngest"] is None
    # 0.02 below for 21 days on which version 3 was scored too; the days before, version 2 is the youngest itself.
    assert second["above_youngest"]["days"] == 21
    assert second["above_youngest"]["value"] == pytest.approx(0.02)
    assert oldest["above_youngest"]["days"] == 28
    assert oldest["above_youngest"]["value"] == pytest.approx((21 * 0.05 + 7 * 0.03) / 28)
    low, high = (oldest["above_youngest"][name] for name in ("low", "high"))
    assert low < oldest["above_youngest"]["value"] < high
    # Days are far more different than versions: alone, they say nothing of age.
    assert oldest["log_loss"]["high"] - oldest["log_loss"]["low"] > 5 * (high - low)


def test_a_withdrawn_version_is_shown_and_nobodys_measure() -> None:
    found = {one["model_version"]: one for one in curve(ROWS, withdrawn={3})}
    assert [found[v]["is_withdrawn"] for v in (1, 2, 3)] == [False, False, True]
    assert found[3]["above_youngest"] is None
    assert found[2]["above_youngest"] is None
    assert found[1]["above_youngest"]["value"] == pytest.approx(0.03)


def test_days_on_which_the_units_differ_are_not_compared() -> None:
    other = pd.concat([scored(1, date(2013, 3, 1), 0.05), scored(2, date(2013, 4, 26), 0.0, n=199)])
    assert curve(other)[1]["above_youngest"] is None
    assert by_age(other) == []


def test_age_is_in_steps_and_a_day_counts_once() -> None:
    twin = pd.concat([ROWS, scored(4, date(2013, 3, 1), 0.07)])
    steps = by_age(twin)
    assert [one["age_days"] for one in steps] == [28, 56, 84, 112]
    assert [one["versions"] for one in steps] == [1, 1, 2, 2]
    assert steps[-1]["days"] == sum(
        (NEWEST - timedelta(days=b) - date(2013, 3, 1)).days >= 112 for b in range(28)
    )
    # 0.05 and 0.07 above the youngest, of days that both were scored on.
    assert steps[-1]["above_youngest"]["value"] == pytest.approx(0.06)


def test_nothing_measured_has_no_curve() -> None:
    assert (curve(ROWS.iloc[:0]), by_age(ROWS.iloc[:0])) == ([], [])


def test_sums_are_by_day() -> None:
    days = np.array([NEWEST, NEWEST - timedelta(days=1), NEWEST], dtype=object)
    found = day_sums(days, np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.1, 0.25]), np.array([0.2, 0.1, 0.3]))
    assert found["n_labelled"].tolist() == [1, 2]
    assert found["sum_log_loss"].tolist() == [0.1, 0.75]
    assert found["sum_brier"].tolist() == [0.1, 0.5]
