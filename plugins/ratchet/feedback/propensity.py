"""Satisfaction of everybody who was asked, estimated from those who answered.

Who answers is no fair draw: the unhappy answer more often, and some groups never do. Each cohort's mean rating is
counted by how many were asked there, not by how many answered: inverse propensity weights with the propensity estimated
by cohort (Little 1986, Survey nonresponse adjustments; a weighting class is a cohort here). It takes out what the
cohorts explain and nothing else: within a cohort the unhappy still answer more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """Sums of one weighting class: asked, answered, and the ratings' sum and sum of squares (None: not known)."""

    name: str
    asked: int
    answered: int
    sum_rating: float
    sum_rating_squared: float | None


@dataclass(frozen=True)
class Satisfaction:
    """Mean ratings from 1 to 5, None where nobody answered.

    `raw` counts each answer, `weighted` each person asked. `standard_error` is of the weighted mean, within cells,
    and None without the sums of squares.
    `covered`: share of those asked whose cell has enough answers; the others' mean is unknown and left out.
    `largest_weight`: how many people one answer speaks for at most; a large one is a warning.
    """

    raw: float | None
    weighted: float | None
    standard_error: float | None
    covered: float
    largest_weight: float | None
    cells: int


def satisfaction(cells: Sequence[Cell], min_answers: int) -> Satisfaction:
    """Raw and weighted satisfaction; a cell with fewer than `min_answers` is left out of the weighted one.

    Raises:
        ValueError: a cell has more answers than people asked, or a negative number.
    """
    for cell in cells:
        if min(cell.asked, cell.answered) < 0 or cell.answered > cell.asked:
            raise ValueError(f"cell {cell.name}: {cell.answered} answers of {cell.asked} asked")
    asked, answered = sum(c.asked for c in cells), sum(c.answered for c in cells)
    raw = math.fsum(c.sum_rating for c in cells) / answered if answered else None
    used = [c for c in cells if c.answered >= max(min_answers, 2)]
    spoken_for = sum(c.asked for c in used)
    if not spoken_for:
        return Satisfaction(raw, None, None, 0.0, None, 0)
    weighted = math.fsum(c.asked * c.sum_rating / c.answered for c in used) / spoken_for
    spreads = [_variance(c) for c in used]
    known = [spread for spread in spreads if spread is not None]
    variance = math.fsum(
        (c.asked / spoken_for) ** 2 * spread / c.answered for c, spread in zip(used, known, strict=False)
    )
    return Satisfaction(
        raw=raw,
        weighted=weighted,
        standard_error=math.sqrt(variance) if len(known) == len(used) else None,
        covered=spoken_for / asked,
        largest_weight=max(c.asked / c.answered for c in used),
        cells=len(used),
    )


def _variance(cell: Cell) -> float | None:
    """Of one answer in the cell, unbiased."""
    if cell.sum_rating_squared is None:
        return None
    mean = cell.sum_rating / cell.answered
    return max(0.0, (cell.sum_rating_squared - cell.answered * mean**2) / (cell.answered - 1))
