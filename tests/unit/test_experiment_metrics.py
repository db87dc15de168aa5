"""Effects of metrics: against second formulations, and their error where rows, impressions or tails mislead."""

from __future__ import annotations

import math
from datetime import date, timedelta
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from scipy import stats

from ratchet.experiment.boundaries import critical_values, power_spending
from ratchet.experiment.cuped import cuped_difference, cuped_units, slope_before
from ratchet.experiment.evalue import two_by_two
from ratchet.experiment.metrics import CATALOGUE, arm_effect, information
from ratchet.experiment.paired import Estimate, arm_difference, unit_difference
from ratchet.experiment.sums import ARM_COLUMNS, PAIRED_COLUMNS, Cells, Sums
from ratchet.loop import Guardrail

START = date(2013, 5, 14)
SHAPE = SimpleNamespace(cluster_shape="symmetric")
INDEPENDENT = SimpleNamespace(unit="user_id", cluster="user_id", rollout=SHAPE)
CLUSTERED = SimpleNamespace(unit="user_id", cluster="day", rollout=SHAPE)


def sums_of(columns: dict[str, tuple[np.ndarray, np.ndarray]]) -> Sums:
    """Arm sums from (challenger, control) arrays by day; everything else is empty."""
    days = len(next(iter(columns.values()))[0])
    nothing = Cells((), {}, np.zeros((0, days), dtype=bool))
    cells = {
        name: np.stack([np.asarray(part, dtype=float) for part in pair]) for name, pair in columns.items()
    }
    arms = Cells((("challenger",), ("control",)), cells, np.ones((2, days), dtype=bool))
    return Sums(START, START + timedelta(days=days - 1), nothing, arms, nothing)


def test_every_metric_of_the_loop_file_is_in_the_catalogue_and_the_tables() -> None:
    assert set(get_args(Guardrail.model_fields["metric"].annotation)) == set(CATALOGUE)
    for name, metric in CATALOGUE.items():
        used = {metric.total, metric.count, *metric.covariates.values()} | (
            {metric.squares} if metric.squares else set()
        )
        assert used <= set(ARM_COLUMNS), name
        if metric.has_pairs:
            assert {f"sum_{name}_champion", f"sum_{name}_challenger"} <= set(PAIRED_COLUMNS)
    assert CATALOGUE["rating"].covariates.keys() == {"champion_score"}


def test_independent_units_give_welchs_test() -> None:
    rng = np.random.default_rng(1)
    treated, control = rng.normal(1, 2, 80), rng.normal(0.5, 1, 40)
    estimate = unit_difference(
        (80, treated.sum(), (treated**2).sum()), (40, control.sum(), (control**2).sum())
    )
    expected = stats.ttest_ind(treated, control, equal_var=False)
    assert estimate.value == pytest.approx(treated.mean() - control.mean())
    assert estimate.value / estimate.standard_error == pytest.approx(expected.statistic)
    assert not unit_difference((1, 1.0, 1.0), (40, 2.0, 3.0)).is_usable
    with pytest.raises(ValueError, match="too small"):
        unit_difference((10, 10.0, 5.0), (10, 1.0, 5.0))


def test_delta_method_for_a_ratio_equals_its_textbook_form() -> None:
    """Deng, Knoblich and Lu 2018: var(s) - 2 r cov(s, c) + r^2 var(c), over clusters, each arm alone."""
    rng = np.random.default_rng(2)
    c = rng.poisson(30, 50) + 1.0
    s = c * 0.2 + rng.normal(0, 2, 50)
    ratio = s.sum() / c.sum()
    cov = np.cov(s, c)
    variance = (cov[0, 0] - 2 * ratio * cov[0, 1] + ratio**2 * cov[1, 1]) / 50 / c.mean() ** 2
    # The control's metric is 0 everywhere: it adds no variance.
    estimate = arm_difference(s, c, np.zeros(50), c)
    assert estimate.standard_error == pytest.approx(math.sqrt(variance))


def test_cuped_equals_regression_on_the_covariate() -> None:
    """With equal counts: the intercept of ordinary least squares over the clusters' differences, and its error."""
    rng = np.random.default_rng(3)
    clusters = 30
    x1, x0 = rng.normal(5, 1, clusters), rng.normal(5, 1, clusters)
    y1, y0 = 1 + x1 + rng.normal(0, 0.5, clusters), 1 + x0 + rng.normal(0, 0.5, clusters)
    n = np.ones(clusters)
    estimate = cuped_difference((y1, n, x1), (y0, n, x0))
    fit = stats.linregress(x1 - x0, y1 - y0)
    assert estimate.value == pytest.approx(fit.intercept)
    assert estimate.standard_error == pytest.approx(fit.intercept_stderr)
    assert (estimate.fitted, estimate.degrees) == (2, clusters - 2)
    plain = arm_difference(y1, n, y0, n)
    assert estimate.standard_error < 0.6 * plain.standard_error
    same = cuped_difference((y1, n, n), (y0, n, n))
    assert same.value == pytest.approx(plain.value), "a covariate that does not vary adjusts nothing"


def test_the_slope_for_a_sequential_test_looks_back_only() -> None:
    y, x, w = np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0]), np.ones(3)
    assert slope_before(y, x, w).tolist() == pytest.approx([0.0, 1.0, 1.5])


def _median_day(correlation: float, use: bool, runs: int) -> float:
    """+2 points on a base of 20 sd-points, 200 per arm and day, 60 days, looks each day."""
    rng = np.random.default_rng(4)
    looks = np.arange(5, 61)
    bounds = critical_values((looks / 60).tolist(), power_spending(0.025, 2))
    found = []
    for _ in range(runs):
        x = rng.normal(0, 1, (2, 60)) * math.sqrt(200)
        noise = rng.normal(0, 1, (2, 60)) * math.sqrt(200)
        y = correlation * x + math.sqrt(1 - correlation**2) * noise
        y[0] += 200 * 0.05
        n = np.full(60, 200.0)
        day = 99
        for look, bound in zip(looks, bounds, strict=True):
            cut = slice(0, look)
            if use:
                estimate = cuped_difference((y[0, cut], n[cut], x[0, cut]), (y[1, cut], n[cut], x[1, cut]))
            else:
                estimate = arm_difference(y[0, cut], n[cut], y[1, cut], n[cut])
            if estimate.z >= bound:
                day = int(look)
                break
        found.append(day)
    return float(np.median(found))


def test_a_covariate_of_correlation_07_nearly_halves_the_days() -> None:
    with_it, without = _median_day(0.7, True, 80), _median_day(0.7, False, 80)
    assert with_it <= 0.72 * without


def _crossed(metric: str, loop: SimpleNamespace, make, runs: int, days: int = 30) -> float:
    looks = np.arange(5, days + 1)
    bounds = critical_values((looks / days).tolist(), power_spending(0.025, 2))
    rng = np.random.default_rng(5)
    count = 0
    for _ in range(runs):
        sums = sums_of(make(rng, days))
        z = [arm_effect(loop, metric, sums, int(look), sign=1.0, margin=0.1).estimate.z for look in looks]
        count += any(one >= bound for one, bound in zip(z, bounds, strict=True))
    return count / runs


def _lognormal(rng: np.random.Generator, days: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ratings that are mostly zero, the rest with a heavy tail: units are independent."""
    values = rng.lognormal(1, 1.3, (2, days, 100)) * (rng.random((2, days, 100)) < 0.1)
    n = np.full(days, 100.0)
    total, squares = values.sum(axis=2), (values**2).sum(axis=2)
    return {
        "sum_rating": (total[0], total[1]),
        "sum_rating_squared": (squares[0], squares[1]),
        "n_ratings": (n, n),
    }


def _impressions(rng: np.random.Generator, days: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Clicks over impressions: a user's impressions share the user's own rate; a day is the cluster."""
    users = rng.poisson(20, (2, days, 50)) + 1
    rates = rng.beta(1, 9, users.shape) * rng.uniform(0.5, 1.5, (1, days, 1))
    clicks = rng.binomial(users, np.clip(rates, 0, 1))
    return {
        "n_tickets": (clicks[0].sum(axis=1), clicks[1].sum(axis=1)),
        "n_units": (users[0].sum(axis=1), users[1].sum(axis=1)),
    }


@pytest.mark.parametrize("loop", [INDEPENDENT, CLUSTERED])
def test_a_zero_inflated_lognormal_keeps_its_error(loop: SimpleNamespace) -> None:
    assert _crossed("rating", loop, _lognormal, 250) <= 0.025 + 2.5 * math.sqrt(0.025 * 0.975 / 250)


def test_impressions_of_one_user_are_not_independent() -> None:
    assert _crossed("ticket_rate", CLUSTERED, _impressions, 250) <= 0.025 + 2.5 * math.sqrt(
        0.025 * 0.975 / 250
    )


def test_a_rate_of_independent_units_takes_the_exact_test() -> None:
    rng = np.random.default_rng(6)
    n = np.full(20, 400.0)
    good, bad = rng.binomial(400, 0.2, 20).astype(float), rng.binomial(400, 0.12, 20).astype(float)
    sums = sums_of({"sum_label": (bad, good), "n_labelled": (n, n)})
    harmed = arm_effect(INDEPENDENT, "outcome_rate", sums, 20, sign=1.0, margin=0.01)
    assert harmed.is_exact and harmed.log_e[-1] > 5
    assert information(INDEPENDENT, harmed.estimate) == 16_000
    assert (
        information(
            CLUSTERED, arm_effect(CLUSTERED, "outcome_rate", sums, 20, sign=1.0, margin=0.01).estimate
        )
        == 20
    )
    low_is_good = arm_effect(INDEPENDENT, "outcome_rate", sums, 20, sign=-1.0, margin=0.01)
    assert low_is_good.estimate.value == pytest.approx(-harmed.estimate.value)
    assert low_is_good.log_e[-1] < 0


def test_the_shadow_days_tell_the_rate_before_the_first_unit() -> None:
    """The first day's stake is right already; without them the rate would be taken for a half."""
    few = np.array([0.0] * 4 + [40.0])
    bad, good = np.array([0.0] * 4 + [4.0]), np.array([0.0] * 4 + [12.0])
    plain = sums_of({"sum_label": (bad, good), "n_labelled": (few, few)})
    rest = np.array([1000.0] * 4 + [0.0])
    arms = Cells(
        (*plain.arms.keys, ("rest",)),
        {
            "sum_label": np.vstack([plain.arms.columns["sum_label"], 0.2 * rest]),
            "n_labelled": np.vstack([plain.arms.columns["n_labelled"], rest]),
        },
        np.ones((3, 5), dtype=bool),
    )
    informed = Sums(plain.started_on, plain.day, plain.paired, arms, plain.exposure)
    with_it, without = (
        arm_effect(INDEPENDENT, "outcome_rate", sums, 5, sign=1.0, margin=0.01).log_e[-1]
        for sums in (informed, plain)
    )
    assert with_it > without > 0


def test_no_day_with_both_arms_is_no_evidence() -> None:
    nothing = np.zeros(5)
    sums = sums_of({"sum_label": (nothing, nothing), "n_labelled": (nothing, nothing + 3)})
    for loop in (INDEPENDENT, CLUSTERED):
        effect = arm_effect(loop, "outcome_rate", sums, 5, sign=1.0, margin=0.1)
        assert not effect.estimate.is_usable and not len(effect.log_e)
    assert Estimate.from_evidence(effect.estimate.evidence()).clusters == 0


def _six(y: np.ndarray, x: np.ndarray) -> tuple[float, ...]:
    return (len(y), y.sum(), (y * y).sum(), x.sum(), (x * x).sum(), (x * y).sum())


def test_a_covariate_by_unit_is_the_regression_with_the_arm_and_the_covariate() -> None:
    rng = np.random.default_rng(4)
    x1, x0 = rng.normal(0.2, 1, 500), rng.normal(0, 1, 500)
    y1, y0 = 0.3 + 0.8 * x1 + rng.normal(size=500), 0.8 * x0 + rng.normal(size=500)
    found = cuped_units(_six(y1, x1), _six(y0, x0))
    design = np.column_stack([np.ones(1000), np.r_[np.ones(500), np.zeros(500)], np.r_[x1, x0]])
    y = np.r_[y1, y0]
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    residual = y - design @ beta
    error = np.sqrt(residual @ residual / 997 * np.linalg.inv(design.T @ design)[1, 1])
    assert found.value == pytest.approx(beta[1])
    assert found.standard_error == pytest.approx(error, rel=0.01)
    assert found.degrees == 997
    flat = cuped_units(_six(y1, 0 * x1), _six(y0, 0 * x0))
    plain = unit_difference(_six(y1, x1)[:3], _six(y0, x0)[:3])
    assert (flat.value, flat.standard_error) == pytest.approx((plain.value, plain.standard_error))
    assert not cuped_units(_six(y1[:2], x1[:2]), _six(y0, x0)).is_usable
    with pytest.raises(ValueError, match="too small"):
        cuped_units((9, 9.0, 1.0, 0, 0, 0), _six(y0, x0))


def test_independent_units_use_the_sums_by_unit_where_they_are_kept() -> None:
    rng = np.random.default_rng(6)
    x, n = rng.normal(size=(2, 20, 50)), np.full(20, 50.0)
    y = 0.7 * x + np.sqrt(0.51) * rng.normal(size=x.shape)
    kept = {
        name: tuple(values.sum(axis=2))
        for name, values in {
            "sum_rating": y, "sum_rating_squared": y * y, "sum_champion_score_rated": x,
            "sum_champion_score_squared_rated": x * x, "sum_rating_by_champion_score": x * y,
        }.items()
    } | {"n_ratings": (n, n)}  # fmt: skip
    by_unit, by_day, before = (
        arm_effect(
            loop, "rating", sums_of(columns), 20, sign=1.0, margin=0.1, covariate="champion_score"
        ).estimate
        for loop, columns in (
            (INDEPENDENT, kept),
            (CLUSTERED, kept),
            (INDEPENDENT, {k: v for k, v in kept.items() if "squared_rated" not in k}),
        )
    )
    assert (by_unit.degrees, by_day.degrees, before.degrees) == (1997, 18, 18)
    assert by_unit.standard_error == pytest.approx(np.sqrt(0.51 * 2 / 1000), rel=0.1)


@pytest.mark.parametrize("name", [name for name, metric in CATALOGUE.items() if metric.kind == "binary"])
def test_every_binary_metric_of_independent_units_has_the_exact_test(name: str) -> None:
    n, k = np.full(10, 50.0), np.full(10, 5.0)
    columns = {CATALOGUE[name].count: (n, n), CATALOGUE[name].total: (k, k)}
    exact = arm_effect(INDEPENDENT, name, sums_of(columns), 10, sign=1.0, margin=0.01)
    assert exact.is_exact
    assert exact.log_e == pytest.approx(two_by_two(n, k, n, k, effect=0.01, margin=0.01, prior=(1.0, 1.0)))
    assert not arm_effect(CLUSTERED, name, sums_of(columns), 10, sign=1.0, margin=0.01).is_exact
