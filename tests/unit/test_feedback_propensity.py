"""Those who were asked count, not those who answered."""

from __future__ import annotations

import numpy as np
import pytest

from ratchet.feedback.propensity import Cell, satisfaction


def cell(name: str, asked: int, ratings: list[int]) -> Cell:
    return Cell(name, asked, len(ratings), sum(ratings), sum(r * r for r in ratings))


def test_a_cohort_that_answers_more_does_not_count_more() -> None:
    found = satisfaction([cell("upset", 100, [1] * 50), cell("content", 900, [5] * 10)], 5)
    assert found.raw == pytest.approx((50 + 50) / 60)
    assert found.weighted == pytest.approx(0.1 * 1 + 0.9 * 5)
    assert (found.standard_error, found.covered, found.largest_weight) == (0.0, 1.0, 90.0)


def test_equal_propensities_change_nothing() -> None:
    cells = [cell("a", 100, [1, 2, 3, 4, 5] * 2), cell("b", 200, [5, 4, 4, 5, 5] * 4)]
    found = satisfaction(cells, 2)
    assert found.weighted == pytest.approx(found.raw)


def test_what_is_too_small_is_left_out_and_said() -> None:
    found = satisfaction([cell("a", 100, [3] * 10), cell("b", 300, [1])], 5)
    assert (found.covered, found.cells) == (0.25, 1)
    nothing = satisfaction([cell("a", 100, [])], 5)
    assert (nothing.raw, nothing.weighted, nothing.covered) == (None, None, 0.0)
    with pytest.raises(ValueError, match="5 answers of 3 asked"):
        satisfaction([cell("a", 3, [1] * 5)], 5)


def test_the_interval_covers_the_truth_where_answering_depends_on_the_cohort_alone() -> None:
    rng = np.random.default_rng(7)
    truth, hits, biased, runs = 0.7 * 4.4 + 0.3 * 2.2, 0, 0, 400
    for _ in range(runs):
        cells = []
        for name, asked, mean, rate in (("calm", 1_400, 4.4, 0.03), ("late", 600, 2.2, 0.12)):
            answered = int(rng.binomial(asked, rate))
            cells.append(cell(name, asked, (1 + rng.binomial(4, (mean - 1) / 4, answered)).tolist()))
        found = satisfaction(cells, 5)
        assert found.weighted is not None and found.standard_error is not None and found.raw is not None
        hits += abs(found.weighted - truth) <= 1.96 * found.standard_error
        biased += found.raw < truth - 0.3
    assert 0.92 <= hits / runs <= 0.98, f"{hits} of {runs}"
    assert biased / runs > 0.95
