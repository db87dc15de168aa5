"""Whether complaints of a category fell where the new model served, against the control arm. Pure.

The sums are of days and arms (`monitoring.mon_feedback_daily`). Units of one day share their weather, so a day is one
observation: the difference of the two arms' complaint rates, which leaves out whatever happened to both. Intervals
may be read on every day.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ratchet.experiment.evalue import mean_bets
from ratchet.experiment.paired import arm_difference, plain
from ratchet.loop_feedback import Taxonomy

Array = NDArray[np.float64]
Expected = Literal["down", "none"]
State = Literal["fell", "rose", "not enough evidence", "fewer than k"]

#: Of all categories together: one interval of them is wrong on some day with this probability at most.
ERROR = 0.05
TREATED, CONTROL = "challenger", "control"
_GRID, _ROUNDS, _ROOM = 201, 3, 4.0  # points, refinements, and how far beyond the days' own range is searched
COLUMNS = (
    "departure_date",
    "arm",
    "cohort_dimension",
    "answer_category",
    "n_asked",
    "n_answers",
    "sum_weight",
)


@dataclass(frozen=True)
class Interval:
    """A difference of rates; a limit is None while the days can't tell it."""

    value: float | None
    low: float | None
    high: float | None
    days: int


@dataclass(frozen=True)
class Effect:
    """What became of one category: complaints a person asked, treated minus control, with its interval.

    `verdict` holds it against what the loop file expects. Where fewer than k answers are behind both arms together
    there is no number.
    """

    category: str
    expected: Expected
    state: State
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    days: int
    n_answers: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain types for a summary."""
        return asdict(self)


def difference(
    treated: ArrayLike, treated_of: ArrayLike, control: ArrayLike, control_of: ArrayLike, error: float = ERROR
) -> Interval:
    """Treated rate minus control rate with a confidence sequence, from sums by day.

    The value is `arm_difference`'s. The interval holds at all days at once with probability 1 - error: it has every
    difference d that neither of two bets refutes, one that the days' mean is above d and one that it is below, each at
    error / 2 (a hedged capital process, Waudby-Smith and Ramdas 2024, JRSS B 86:1-27, section 4.4; the bets are
    `mean_bets`). A day's term is its difference of rates less d, weighted by n1 n0 / (n1 + n0).

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024, Annals of Statistics
    52:2613-2640, theorem 2.2) is shorter, but a rollout has tens of days, not thousands: on days that share their
    shocks it covered 79 to 94 % where 95 % were meant. `make bench-feedback` measures this one's coverage.

    Raises:
        ValueError: lengths differ, or a sum is negative or not finite.
    """
    y1, n1, y0, n0 = (
        np.asarray(part, dtype=np.float64) for part in (treated, treated_of, control, control_of)
    )
    if len({part.shape for part in (y1, n1, y0, n0)}) != 1 or y1.ndim != 1:
        raise ValueError("the arms' sums are not of the same days: align them first")
    if any(not np.isfinite(part).all() or (part < 0).any() for part in (y1, n1, y0, n0)):
        raise ValueError("a day's sum is negative or no number")
    used = (n1 > 0) & (n0 > 0)
    y1, n1, y0, n0 = y1[used], n1[used], y0[used], n0[used]
    days = int(used.sum())
    if days == 0:
        return Interval(None, None, None, 0)
    gaps = y1 / n1 - y0 / n0
    low, high = sequence(gaps, n1 * n0 / (n1 + n0), error)
    return Interval(plain(arm_difference(y1, n1, y0, n0).value), plain(low), plain(high), days)


def sequence(gaps: Array, weights: Array, error: float = ERROR) -> tuple[float, float]:
    """The confidence sequence of the days' mean gap at the last day; infinite where nothing is refuted yet.

    Raises:
        ValueError: error is no probability.
    """
    if not 0 < error < 1:
        raise ValueError(f"error is {error}; expected a probability in (0, 1)")
    reach = max(float(np.ptp(gaps)), 1e-9)
    centre = float(np.average(gaps, weights=weights))
    limits = []
    for side in (-1.0, 1.0):
        inside, outside = centre, centre + side * _ROOM * reach
        if not _refuted(gaps, weights, np.array([outside]), side, error)[0]:
            limits.append(side * math.inf)
            continue
        for _ in range(_ROUNDS):
            points = np.linspace(inside, outside, _GRID)
            kept = np.flatnonzero(~_refuted(gaps, weights, points, side, error))
            # The last point that stands: whatever is between two that fall is kept as well.
            last = int(kept[-1]) if len(kept) else 0
            inside, outside = float(points[last]), float(points[min(last + 1, _GRID - 1)])
        limits.append(outside)
    return limits[0], limits[1]


def _refuted(gaps: Array, weights: Array, points: Array, side: float, error: float) -> NDArray[np.bool_]:
    """Which differences, on one side of the mean, a bet has refuted on some day."""
    harms = -side * weights * (gaps - points[:, np.newaxis])
    return np.asarray(mean_bets(harms).max(axis=-1) >= math.log(2 / error))


def judge_effects(taxonomy: Taxonomy, sums: pd.DataFrame, closed: date, k: int) -> list[Effect]:
    """One effect a category, in the taxonomy's order, of one experiment's `sums` (rows with `COLUMNS`).

    Only departure days until `closed`, whose answers can come no more, count. The error is divided by the number of
    categories (Bonferroni), which is declared before anybody looks.

    Raises:
        KeyError: a column is missing.
    """
    rows = sums[list(COLUMNS)]
    rows = rows[(rows["cohort_dimension"] == "all") & rows["arm"].isin([TREATED, CONTROL])]
    when = list(pd.to_datetime(rows["departure_date"]).dt.date)
    rows = rows.assign(day=when)[np.array([day <= closed for day in when], dtype=bool)]
    whole = rows[rows["answer_category"] == "all"]
    days = sorted(set(whole["day"]))
    asked = {arm: _by_day(whole[whole["arm"] == arm], "n_asked", days) for arm in (TREATED, CONTROL)}
    error = ERROR / len(taxonomy.categories)
    found = []
    for name, category in taxonomy.categories.items():
        own = rows[rows["answer_category"] == name]
        counts = {arm: _by_day(own[own["arm"] == arm], "sum_weight", days) for arm in (TREATED, CONTROL)}
        answers = int(own["n_answers"].sum())
        told = difference(counts[TREATED], asked[TREATED], counts[CONTROL], asked[CONTROL], error)
        found.append(_effect(name, category.expected, told, answers, k))
    return found


def _by_day(rows: pd.DataFrame, column: str, days: Sequence[date]) -> Array:
    sums = rows.groupby("day")[column].sum()
    return np.array([float(sums.get(day, 0.0)) for day in days])


def _effect(name: str, expected: Expected, told: Interval, answers: int, k: int) -> Effect:
    if answers < k:
        return Effect(name, expected, "fewer than k", "not shown", None, None, None, told.days, None)
    state: State = "not enough evidence"
    if told.high is not None and told.high < 0:
        state = "fell"
    elif told.low is not None and told.low > 0:
        state = "rose"
    verdict = VERDICTS[expected, state]
    return Effect(name, expected, state, verdict, told.value, told.low, told.high, told.days, answers)


VERDICTS: Mapping[tuple[Expected, State], str] = {
    ("down", "fell"): "as expected",
    ("down", "rose"): "against what was expected",
    ("down", "not enough evidence"): "not shown",
    ("none", "fell"): "not expected",
    ("none", "rose"): "not expected",
    ("none", "not enough evidence"): "no change shown",
}
