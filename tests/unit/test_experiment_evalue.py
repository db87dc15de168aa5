"""E-processes: worked examples, exactness by enumeration, second formulations, and what they find in simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ratchet.experiment.boundaries import critical_values, power_spending
from ratchet.experiment.evalue import e_bh, either, mean_bets, symmetric, two_by_two
from ratchet.experiment.paired import ratio_estimate

ONE = ((1.0, 1.0),)


def test_two_by_two_worked_example() -> None:
    """Turner, Ly and Gruenwald, one unit in each arm: p_a(y_a) p_b(y_b) over the mean rate's likelihood."""
    path = two_by_two([1, 1], [0, 1], [1, 1], [1, 1], effect=0.2, prior=(1, 1), effects=ONE)
    assert math.exp(path[0]) == pytest.approx(0.6 * 0.6 / 0.5**2)  # rates 0.4 and 0.6 about 0.5
    # Then one success in two units and the prior's one in two: rates about 0.5 again, two successes.
    assert math.exp(path[1] - path[0]) == pytest.approx(0.4 * 0.6 / 0.5**2)


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 2), (2, 5)])
def test_two_by_two_is_exact_at_every_point_of_the_null(margin: float, sizes: tuple[int, int]) -> None:
    """The mean over all outcomes of a block, by enumeration."""
    n1, n0 = sizes
    outcomes = list(itertools.product(range(n1 + 1), range(n0 + 1)))
    e = {
        (k1, k0): math.exp(
            two_by_two([n1], [k1], [n0], [k0], effect=0.1, margin=margin, prior=(3.0, 7.0))[-1]
        )
        for k1, k0 in outcomes
    }
    means = []
    for p0 in np.linspace(0.01, 0.99, 15):
        for p1 in np.linspace(max(0.0, p0 - margin), 1.0, 12):
            mean = sum(
                value * stats.binom.pmf(k1, n1, p1) * stats.binom.pmf(k0, n0, p0)
                for (k1, k0), value in e.items()
            )
            means.append(mean)
    assert len(means) == 180
    assert max(means) <= 1 + 1e-12
    assert max(means) > 0.95, "the bound is met at the null's edge"


def test_the_nearest_null_is_the_one_a_minimiser_finds() -> None:
    n1, n0, margin, apart, rate = 30.0, 10.0, 0.05, 0.15, 0.4
    low = rate - (1 - n1 / (n1 + n0)) * apart
    high = low + apart

    def divergence(q: float) -> float:
        def kl(p: float, r: float) -> float:
            return p * math.log(p / r) + (1 - p) * math.log((1 - p) / (1 - r))

        return n1 * kl(low, q) + n0 * kl(high, q + margin)

    best = optimize.minimize_scalar(
        divergence, bounds=(0.01, 0.94), method="bounded", options={"xatol": 1e-12}
    ).x
    k1, k0 = 9.0, 6.0
    expected = k1 * math.log(low / best) + (n1 - k1) * math.log((1 - low) / (1 - best))
    expected += k0 * math.log(high / (best + margin)) + (n0 - k0) * math.log((1 - high) / (1 - best - margin))
    path = two_by_two(
        [n1], [k1], [n0], [k0], effect=apart - margin, margin=margin, prior=(40, 60), effects=ONE
    )
    assert path[0] == pytest.approx(expected, abs=1e-8)


def test_a_path_does_not_change_when_a_day_is_added() -> None:
    rng = np.random.default_rng(1)
    n, k1, k0 = np.full(20, 50.0), rng.binomial(50, 0.3, 20), rng.binomial(50, 0.3, 20)
    whole = two_by_two(n, k1, n, k0, effect=0.05, margin=0.01)
    part = two_by_two(n[:7], k1[:7], n[:7], k0[:7], effect=0.05, margin=0.01)
    assert (whole[:7] == part).all()
    harms = rng.normal(size=20)
    assert (symmetric(harms)[:7] == symmetric(harms[:7])).all()


def _ramp(effect: float, runs: int, seed: int) -> tuple[float, float, float]:
    """Share rolled back, median day, users exposed by then: 1, 5, 10, 25, 50 % of 4,000 a day, 30 days."""
    days = np.array([0.01, 0.05, 0.10, 0.10, *[0.25] * 3, *[0.5] * 23])
    n = np.round(4000 * days).astype(int)
    rng = np.random.default_rng(seed)
    worse, control = rng.binomial(n, 0.2 - effect, (runs, 30)), rng.binomial(n, 0.2, (runs, 30))
    crossed = two_by_two(n, worse, n, control, effect=0.02, prior=(20, 80)) >= -math.log(0.025)
    hit = crossed.any(axis=1)
    day = int(np.median(np.where(hit, crossed.argmax(axis=1) + 1, 99)))
    return float(hit.mean()), day, float(n[: min(day, 30)].sum())


def test_rollback_in_the_ramp() -> None:
    assert _ramp(0.10, 1000, 1)[1:] == (2, 240)
    assert _ramp(0.04, 1000, 2)[1:] == (5, 2040)
    assert _ramp(0.02, 1000, 3)[1] <= 9
    assert _ramp(0.0, 4000, 4)[0] <= 0.012


def _cohorts(harm: float, runs: int, seed: int) -> tuple[float, float, float]:
    """Any cohort blocked; the harmed one found; its median day. 10 cohorts, 100 per arm and day, 60 days."""
    rng = np.random.default_rng(seed)
    worse, control = rng.binomial(100, 0.2, (runs, 10, 60)), rng.binomial(100, 0.2, (runs, 10, 60))
    worse[:, 0] = rng.binomial(100, 0.2 - harm, (runs, 60))
    path = two_by_two(100, worse, 100, control, effect=0.04, prior=(20, 80), effects=ONE)
    blocked, found = 0, []
    for run in path:
        may_alarm = np.flatnonzero(run.max(axis=0) >= -math.log(0.04))
        alarms = [(day, e_bh(run[:, day].tolist(), 0.04)) for day in may_alarm]
        blocked += any(any(out) for _, out in alarms)
        found.append(next((day + 1 for day, out in alarms if out[0]), 99))
    return blocked / runs, float(np.mean(np.array(found) < 99)), float(np.median(found))


def test_a_harmed_cohort_is_found_and_equal_ones_are_not_blocked() -> None:
    _, found, day = _cohorts(0.04, 500, 1)
    assert found >= 0.97
    assert day <= 20
    assert _cohorts(0.0, 2000, 2)[0] <= 0.025 + 2.5 * math.sqrt(0.025 * 0.975 / 2000)


def test_symmetric_worked_example() -> None:
    """One cluster: twice the logistic of 2 d, whatever its size; the mixture is the mean."""
    for size in (1e-6, 1.0, 1e9):
        assert math.exp(symmetric([size], effects=(0.5,))[0]) == pytest.approx(2 / (1 + math.exp(-1.0)))
    both = np.exp(symmetric([1.0], effects=(0.5, 1.0)))[0]
    assert both == pytest.approx(1 / (1 + math.exp(-1.0)) + 1 / (1 + math.exp(-2.0)))
    assert symmetric([0.0, 0.0]).tolist() == [0.0, 0.0]
    assert symmetric(np.zeros((3, 0))).shape == (3, 0)


def test_symmetric_is_a_fair_game_for_fair_signs() -> None:
    """The mean over all signs of given sizes is 1 after each cluster; stopping early gains nothing."""
    sizes = np.array([1.0, 0.1, 30.0, 2.0, 0.7, 5.0, 0.0, 3.0])
    signs = np.array(list(itertools.product((-1, 1), repeat=len(sizes))))
    e = np.exp(symmetric(signs * sizes))
    assert e.mean(axis=0) == pytest.approx(np.ones(len(sizes)))
    stopped = [path[np.argmax(path >= 1.7)] if (path >= 1.7).any() else path[-1] for path in e]
    assert np.mean(stopped) == pytest.approx(1.0)


def test_a_factor_is_never_below_de_la_penas() -> None:
    x = np.linspace(-5, 5, 401)
    factor = np.exp(x) / np.cosh(x)
    assert (factor >= np.exp(x - x * x / 2) - 1e-15).all()
    single = np.array([math.exp(symmetric([s], effects=(abs(s),))[0]) for s in x if s > 0])
    assert single == pytest.approx(factor[x > 0])


@pytest.mark.parametrize("shape", ["equal", "unequal", "heavy"])
def test_symmetric_keeps_its_error_on_unequal_and_heavy_clusters(shape: str) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(4000, 60))
    if shape == "unequal":
        x *= np.exp(rng.normal(size=x.shape)) * np.linspace(0.1, 3, 60)
    if shape == "heavy":
        x = rng.standard_t(2, size=x.shape)
    alarms = float((symmetric(x).max(axis=1) >= -math.log(0.025)).mean())
    assert 0.004 <= alarms <= 0.025 + 2.5 * math.sqrt(0.025 * 0.975 / 4000)


def test_both_tests_at_half_the_error_on_day_clusters() -> None:
    """The rule of a rollout: equal models within the error, gross harm within eight days, mild harm by the horizon."""
    days, looks = 42, np.arange(4, 43)
    bounds = np.array(critical_values(looks / days, power_spending(0.0125, 2)))
    rng = np.random.default_rng(3)

    def found(per_day: float, runs: int) -> tuple[float, float]:
        harms = rng.standard_t(5, (runs, days)) / math.sqrt(5 / 3) + per_day
        by_e = symmetric(harms) >= -math.log(0.0125)
        z = np.array([[ratio_estimate(run[:n], np.ones(n)).z for n in looks] for run in harms])
        crossed = by_e.copy()
        crossed[:, 3:] |= z >= bounds
        hit = crossed.any(axis=1)
        return float(hit.mean()), float(np.median(np.where(hit, crossed.argmax(axis=1) + 1, 99)))

    equal, _ = found(0.0, 800)
    assert 0 < equal <= 0.025 + 2.5 * math.sqrt(0.025 * 0.975 / 800)
    assert found(2.0, 100) == (1.0, pytest.approx(8, abs=1))
    assert found(0.5, 150)[0] >= 0.6


def test_either_direction_shares_the_stake() -> None:
    up, down = symmetric([1.0, 1.0]), symmetric([-1.0, -1.0])
    assert np.exp(either(up, down)) == pytest.approx((np.exp(up) + np.exp(down)) / 2)


def test_e_bh_worked_example() -> None:
    """Three hypotheses at 10 %: limits 30, 15, 10 for one, two, three."""
    assert e_bh([math.log(40), math.log(16), 0.0], 0.1) == (True, True, False)
    assert e_bh([math.log(29), math.log(14), 0.0], 0.1) == (False, False, False)
    assert e_bh([math.log(10.1)] * 3, 0.1) == (True, True, True)
    assert e_bh([math.nan, math.log(31), math.nan], 0.1) == (False, True, False)
    assert e_bh([], 0.1) == ()
    with pytest.raises(ValueError, match="alpha"):
        e_bh([1.0], 1.5)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-3, 9, allow_nan=False), max_size=8), st.sampled_from([0.02, 0.1, 0.4]))
def test_e_bh_equals_benjamini_hochberg_of_inverses(log_e: list[float], alpha: float) -> None:
    """Wang and Ramdas: e-BH is the step-up procedure on p = 1 / e."""
    p = [math.exp(-value) for value in log_e]
    m = len(p)
    passing = [k for k in range(1, m + 1) if sum(one <= k * alpha / m for one in p) >= k]
    limit = max(passing, default=0) * alpha / m if m else 0.0
    assert list(e_bh(log_e, alpha)) == [bool(passing) and one <= limit for one in p]


@pytest.mark.parametrize(
    "call",
    [
        lambda: two_by_two([1], [2], [1], [0], effect=0.1),
        lambda: two_by_two([1], [math.nan], [1], [0], effect=0.1),
        lambda: two_by_two([1], [1], [1], [0], effect=0.0),
        lambda: two_by_two([1], [1], [1], [0], effect=0.1, margin=-0.1),
        lambda: two_by_two([1], [1], [1], [0], effect=0.1, effects=((1.0, 0.4),)),
        lambda: symmetric([math.nan]),
        lambda: symmetric([1.0], effects=()),
    ],
)
def test_impossible_input_is_refused(call) -> None:
    with pytest.raises(ValueError):
        call()


def _gamma_days(seed: int, runs: int, days: int, mean: float, against: float) -> np.ndarray:
    """Harm of days with deviation 1 and skewness 1.4; `against` -1: mildly bad days, a few very good ones."""
    tail = (np.random.default_rng(seed).gamma(2.0, 1.0, (runs, days)) - 2.0) / math.sqrt(2.0)
    return mean + against * tail


def test_mean_bets_worked_example_and_a_second_formulation() -> None:
    harms = np.array([1.0, -1.0, 0.5, 2.0, -3.0, 0.0])
    stakes = dict.fromkeys((0.1, 0.4), 1.0)
    expected = []
    for k, harm in enumerate(harms):
        if k >= 3:
            scale = np.std(harms[:k], ddof=1) * (1 + 2 / k)
            stakes = {share: money * (1 + share * harm / scale) for share, money in stakes.items()}
        expected.append(math.log(sum(stakes.values()) / 2))
    assert mean_bets(harms, shares=(0.1, 0.4)) == pytest.approx(expected)
    assert mean_bets(1000 * harms) == pytest.approx(mean_bets(harms)), (
        "the unit of measurement does not matter"
    )
    assert mean_bets(harms[:4]) == pytest.approx(mean_bets(harms)[:4]), "the past does not change"
    assert not mean_bets(np.full(20, 0.3)).any(), "equal numbers have no deviation to bet on"
    assert mean_bets(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("bad", [[math.nan], [math.inf]])
def test_mean_bets_refuses_what_is_no_number(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="not finite"):
        mean_bets(bad)
    with pytest.raises(ValueError, match="shares"):
        mean_bets([1.0], shares=(1.0,))


def test_a_few_very_good_days_are_taken_for_harm_by_signs_and_not_by_bets() -> None:
    """The check that can fail: the rule for symmetric days does, on the same days."""
    runs, limit = 2000, math.log(1 / 0.025)
    error = 2 * math.sqrt(0.025 * 0.975 / runs)
    equal = _gamma_days(1, runs, 42, 0.0, -1.0)
    assert (mean_bets(equal).max(axis=1) >= limit).mean() <= 0.025 + error
    assert (symmetric(equal).max(axis=1) >= limit).mean() > 0.05
    assert (mean_bets(_gamma_days(2, runs, 42, 0.0, 1.0)).max(axis=1) >= limit).mean() <= 0.025 + error
    worse = mean_bets(_gamma_days(3, runs, 42, 1.0, -1.0)).max(axis=1) >= limit
    assert worse.mean() > 0.85
