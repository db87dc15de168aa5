"""Clustered estimates: their error, few clusters, and the null where rows are not independent."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from ratchet.experiment.paired import (
    SKEW_WEIGHT,
    Estimate,
    arm_difference,
    holm,
    ratio_estimate,
    t_to_z,
)


def test_equal_clusters_give_the_one_sample_t_test() -> None:
    sums = np.array([3.0, -1.0, 2.0, 5.0, 0.5])
    estimate = ratio_estimate(sums, np.full(5, 10))
    expected = stats.ttest_1samp(sums / 10, 0, alternative="greater")
    assert estimate.value == pytest.approx(sums.sum() / 50)
    assert estimate.z == pytest.approx(stats.norm.isf(expected.pvalue))
    low, high = estimate.bound(0.025)
    interval = stats.ttest_1samp(sums / 10, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((interval.low, interval.high))


def test_rows_of_one_cluster_are_not_independent() -> None:
    """Same-recipe pairs: the row-wise test calls a third different, the clustered one keeps its level."""
    rng = np.random.default_rng(1)
    by_row, by_cluster, runs = 0, 0, 400
    for _ in range(runs):
        rows = rng.normal(0, 0.2, (28, 300)) + rng.normal(0, 0.05, (28, 1))
        by_row += abs(rows.mean() / (rows.std() / math.sqrt(rows.size))) > 1.96
        by_cluster += abs(ratio_estimate(rows.sum(axis=1), np.full(28, 300)).z) > 1.96
    assert by_row / runs > 0.3
    assert by_cluster / runs == pytest.approx(0.05, abs=0.035)


def test_empty_clusters_are_left_out_and_one_decides_nothing() -> None:
    estimate = ratio_estimate([1.0, math.nan, 2.0], [10, 0, 10])
    assert (estimate.clusters, estimate.units) == (2, 20)
    single = ratio_estimate([1.0], [10])
    assert not single.is_usable
    assert math.isnan(single.z)
    assert single.bound(0.05) == (-math.inf, math.inf)
    assert ratio_estimate([], []).clusters == 0


@pytest.mark.parametrize(
    ("sums", "counts"), [([1.0], [1, 2]), ([math.nan], [1]), ([1.0], [-1]), ([1.0], [math.nan])]
)
def test_unusable_sums_are_refused(sums: list[float], counts: list[float]) -> None:
    with pytest.raises(ValueError):
        ratio_estimate(sums, counts)


def test_what_a_day_does_to_both_arms_cancels() -> None:
    rng = np.random.default_rng(2)
    day = rng.normal(0, 1.0, 30)
    treated, control = np.full(30, 50.0), np.full(30, 50.0)
    estimate = arm_difference(
        (4 + day + 0.2 + rng.normal(0, 0.05, 30)) * 50, treated, (4 + day) * 50, control
    )
    assert estimate.value == pytest.approx(0.2, abs=0.05)
    assert estimate.standard_error < 0.02
    assert estimate.clusters == 30


def test_a_day_with_one_arm_is_no_comparison() -> None:
    estimate = arm_difference([10, 10, 0], [5, 5, 0], [9, 9, 9], [5, 5, 5])
    assert estimate.clusters == 2
    assert estimate.value == pytest.approx(0.2)


def test_arm_difference_agrees_with_a_bootstrap_over_days() -> None:
    rng = np.random.default_rng(3)
    n1, n0 = rng.integers(20, 80, 25), rng.integers(20, 80, 25)
    s1, s0 = n1 * rng.normal(4.0, 0.3, 25), n0 * rng.normal(4.0, 0.3, 25)
    estimate = arm_difference(s1, n1, s0, n0)
    draws = rng.integers(0, 25, (4000, 25))
    means = s1[draws].sum(1) / n1[draws].sum(1) - s0[draws].sum(1) / n0[draws].sum(1)
    assert estimate.standard_error == pytest.approx(means.std(), rel=0.1)


def test_z_keeps_the_p_value_and_saturates() -> None:
    assert stats.norm.sf(t_to_z(2.5, 6)) == pytest.approx(stats.t.sf(2.5, 6))
    assert t_to_z(-2.5, 6) == -t_to_z(2.5, 6)
    assert t_to_z(1e9, 200) == 37.0
    assert math.isnan(t_to_z(math.nan, 5))


def test_no_variation_is_named_degenerate() -> None:
    constant = ratio_estimate([1.0, 1.0, 1.0], [10, 10, 10])
    assert constant.is_degenerate
    assert ratio_estimate([0.0, 0.0], [5, 5]).z == 0
    assert not ratio_estimate([1.0, 1.1], [10, 10]).is_degenerate


def test_evidence_is_json_and_reads_back() -> None:
    for estimate in (ratio_estimate([1.0, 2.0], [10, 10]), ratio_estimate([1.0], [10])):
        content = json.loads(json.dumps(estimate.evidence(), allow_nan=False))
        again = Estimate.from_evidence(content)
        assert again.clusters == estimate.clusters
        assert again.value == estimate.value


def test_holm_steps_down_and_never_rejects_the_unknown() -> None:
    assert holm([0.01, 0.04, 0.03], 0.05) == (True, False, False)
    assert holm([0.01, 0.02, 0.03], 0.05) == (True, True, True)
    assert holm([math.nan, 0.02], 0.05) == (False, True)
    assert holm([], 0.05) == ()


def test_skewness_is_scipys_and_follows_the_sign() -> None:
    from scipy.stats import skew

    gains, sizes = np.random.default_rng(3).gamma(2.0, 1.0, 20), np.ones(20)
    found = ratio_estimate(gains, sizes)
    assert found.skewness == pytest.approx(skew(gains, bias=False))
    assert ratio_estimate(-gains, sizes).skewness == pytest.approx(-found.skewness)
    assert arm_difference(gains, sizes, 0 * gains, sizes).skewness == pytest.approx(found.skewness)
    assert ratio_estimate(gains[:2], sizes[:2]).skewness == 0.0, "two say nothing of a tail"
    assert ratio_estimate(np.ones(9), np.ones(9)).skewness == 0.0


def test_a_careful_z_is_halls_and_never_larger() -> None:
    found = Estimate(0.5, 0.2, 16, 16, skewness=-1.0)
    t, g, n = 2.5, -1.0 * SKEW_WEIGHT, 16
    hall = t + g * t**2 / (3 * n**0.5) + g**2 * t**3 / (27 * n) + g / (6 * n**0.5)
    assert found.careful_z() == pytest.approx(t_to_z(hall, 15))
    assert found.careful_z() < found.z
    assert found.careful_z(direction=-1.0) == pytest.approx(-found.z), "the long tail lies on the other side"
    assert Estimate(0.5, 0.2, 16, 16).careful_z(0.1) == pytest.approx(
        Estimate(0.5, 0.2, 16, 16).z_against(0.1)
    )
    assert math.isnan(Estimate(math.nan, math.nan, 1, 1, skewness=-1.0).careful_z())
