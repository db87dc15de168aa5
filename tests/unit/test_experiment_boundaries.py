"""Group-sequential boundaries against published tables, and what a day-by-day look relies on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from ratchet.experiment.boundaries import (
    boundary_at,
    critical_values,
    crossing_probabilities,
    power_spending,
)

FIVE = [0.2, 0.4, 0.6, 0.8, 1.0]


def obrien_fleming_spending(t: float) -> float:
    return float(2 * norm.sf(norm.isf(0.0125) / math.sqrt(t)))


def pocock_spending(t: float) -> float:
    return 0.025 * math.log(1 + (math.e - 1) * t)


@pytest.mark.parametrize(
    ("spending", "published"),
    [
        # Lan and DeMets 1983, five equal looks, one-sided 0.025 (Reboussin et al. 2000, Controlled Clinical
        # Trials 21:190-207, program LANDEM)
        (obrien_fleming_spending, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
        (pocock_spending, (2.4380, 2.4268, 2.4102, 2.3966, 2.3860)),
    ],
)
def test_lan_demets_tables(spending, published) -> None:
    assert critical_values(FIVE, spending) == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize(
    ("constant", "shape"),
    [
        (2.040, 0.5),  # O'Brien and Fleming 1979; Jennison and Turnbull 2000, table 2.3, K = 5, alpha = 0.05
        (2.413, 0.0),  # Pocock 1977; Jennison and Turnbull 2000, table 2.1, K = 5, alpha = 0.05
    ],
)
def test_classical_constants_spend_the_error(constant: float, shape: float) -> None:
    bounds = [constant / t**shape for t in FIVE]
    # The tables are two-sided: each side has half the error, up to paths that cross both.
    assert sum(crossing_probabilities(FIVE, bounds)) == pytest.approx(0.025, abs=2e-4)


def test_one_look_is_the_normal_quantile() -> None:
    assert boundary_at([1.0], 0.025, 2) == pytest.approx(1.959964, abs=1e-6)


def test_boundaries_spend_what_the_function_allows_also_when_looks_are_uneven() -> None:
    fractions = [0.03, 0.05, 0.31, 0.32, 0.7, 0.96, 1.0]
    bounds = critical_values(fractions, power_spending(0.025, 2))
    spent = np.cumsum(crossing_probabilities(fractions, bounds))
    assert spent == pytest.approx([0.025 * t**2 for t in fractions], rel=1e-6)


def test_a_later_look_does_not_move_an_earlier_boundary() -> None:
    fractions = [k / 42 for k in range(7, 43)]
    whole = critical_values(fractions, power_spending(0.025, 2))
    for k in (1, 5, 20):
        assert boundary_at(fractions[:k], 0.025, 2) == whole[k - 1]


def test_simulated_paths_cross_as_often_as_promised() -> None:
    looks = 30
    fractions = np.arange(1, looks + 1) / looks
    bounds = np.array(critical_values(fractions.tolist(), power_spending(0.025, 2)))
    rng = np.random.default_rng(5)
    score = np.cumsum(rng.normal(0, math.sqrt(1 / looks), (40_000, looks)), axis=1)
    crossed = (score / np.sqrt(fractions) >= bounds).any(axis=1).mean()
    assert crossed == pytest.approx(0.025, abs=3 * math.sqrt(0.025 * 0.975 / 40_000))


def test_a_boundary_never_depends_on_later_looks() -> None:
    fractions = [k / 60 for k in range(1, 61)]
    values = critical_values(fractions, power_spending(0.0249, 2))
    assert len(values) == 60
    assert critical_values(fractions[:20], power_spending(0.0249, 2)) == pytest.approx(values[:20], abs=1e-12)


def test_no_error_to_spend_is_no_crossing() -> None:
    assert critical_values([0.001, 1.0], obrien_fleming_spending)[0] == math.inf


@pytest.mark.parametrize("fractions", [[], [0.0], [1.1], [math.nan], [0.5, 0.5], [0.5, 0.4], [0.5, 0.50001]])
def test_impossible_looks_are_refused(fractions: list[float]) -> None:
    with pytest.raises(ValueError, match=r"look|fraction"):
        critical_values(fractions, power_spending(0.025, 2))


@pytest.mark.parametrize(("alpha", "power"), [(0.0, 2), (0.5, 2), (math.nan, 2), (0.025, 0), (0.025, -1)])
def test_impossible_spending_is_refused(alpha: float, power: float) -> None:
    with pytest.raises(ValueError, match=r"alpha|power"):
        power_spending(alpha, power)
