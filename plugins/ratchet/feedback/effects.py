"""Whether complaints of a category fell where the new model served, against the control arm. Pure.

The sums are of days and arms (`monitoring.mon_feedback_daily`). Units of one day share their weather, so a day is one
observation: the difference of the two arms' complaint rates, which leaves out whatever happened to both. Intervals
may be read on every day. The same is judged by cohort.
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

#: Of all categories together, and once more of all categories of all cohorts: one interval of them is wrong on some day
#: with this probability at most.
ERROR = 0.05
#: The first days of an experiment say which cohorts are judged: those of whom k people or more were asked in each arm.
COHORT_DAYS = 7
TREATED, CONTROL = "challenger", "control"
_GRID, _ROUNDS, _ROOM = 201, 3, 4.0  # points, refinements, and how far beyond the days' own range is searched
COLUMNS = (
    "departure_date",
    "arm",
    "cohort_dimension",
    "cohort_value",
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


@dataclass(frozen=True)
class CohortEffect:
    """What became of one category in one cohort; no count, because a small one could be had by subtraction."""

    dimension: str
    cohort: str
    effect: Effect

    def to_json(self) -> dict[str, Any]:
        """Plain types for a summary."""
        return {
            "dimension": self.dimension,
            "cohort": self.cohort,
            **self.effect.to_json(),
            "n_answers": None,
        }


@dataclass(frozen=True)
class CohortEffects:
    """`judged` cohorts, and those `left_out`, which were smaller or came later; `days` that are closed.

    Before `COHORT_DAYS` of them nothing is judged. `error` is that of one interval.
    """

    judged: int
    left_out: int
    days: int
    error: float | None
    effects: tuple[CohortEffect, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain types for a summary."""
        return {
            "judged": self.judged, "left_out": self.left_out, "days": self.days, "days_needed": COHORT_DAYS,
            "error": self.error, "effects": [one.to_json() for one in self.effects],
        }  # fmt: skip


def judge_effects(taxonomy: Taxonomy, sums: pd.DataFrame, closed: date, k: int) -> list[Effect]:
    """One effect a category, in the taxonomy's order, of one experiment's `sums` (rows with `COLUMNS`).

    Only departure days until `closed`, whose answers can come no more, count. The error is divided by the number of
    categories (Bonferroni), which is declared before anybody looks.

    Raises:
        KeyError: a column is missing.
    """
    rows = _closed(sums, closed)
    return _judged(taxonomy, rows[rows["cohort_dimension"] == "all"], ERROR / len(taxonomy.categories), k)


def judge_cohorts(taxonomy: Taxonomy, sums: pd.DataFrame, closed: date, k: int) -> CohortEffects:
    """The same by cohort, of the rows of `sums` whose dimension is not `all`, cohorts in order.

    The error is divided by categories times cohorts. Bonferroni, and not Benjamini and Hochberg: each interval is read
    alone, on any day, and cohorts share days, planes and people. It costs little, because a bet's limit grows with the
    logarithm of their number. Which cohorts there are is settled by how many were asked in the experiment's first days,
    never by what was answered, and stays: a cohort that appears later would change what was said before.

    Raises:
        KeyError: a column is missing.
    """
    rows = _closed(sums, closed)
    rows = rows[rows["cohort_dimension"] != "all"]
    whole = rows[(rows["answer_category"] == "all") & (rows["n_asked"] > 0)]
    both = sorted(
        set.intersection(*(set(whole.loc[whole["arm"] == arm, "day"]) for arm in (TREATED, CONTROL)))
    )
    if len(both) < COHORT_DAYS:
        return CohortEffects(0, 0, len(both), None, ())
    first = whole[whole["day"] <= both[COHORT_DAYS - 1]]
    key = ["cohort_dimension", "cohort_value"]
    asked = first.pivot_table(index=key, columns="arm", values="n_asked", aggfunc="sum", fill_value=0)
    large = sorted(asked.index[asked.min(axis=1) >= k])
    every = set(zip(whole["cohort_dimension"], whole["cohort_value"], strict=True))
    if not large:
        return CohortEffects(0, len(every), len(both), None, ())
    error = ERROR / (len(taxonomy.categories) * len(large))
    found = []
    for dimension, cohort in large:
        own = rows[(rows["cohort_dimension"] == dimension) & (rows["cohort_value"] == cohort)]
        found += [
            CohortEffect(str(dimension), str(cohort), effect) for effect in _judged(taxonomy, own, error, k)
        ]
    return CohortEffects(len(large), len(every - set(large)), len(both), error, tuple(found))


def _closed(sums: pd.DataFrame, closed: date) -> pd.DataFrame:
    rows = sums[list(COLUMNS)]
    rows = rows[rows["arm"].isin([TREATED, CONTROL])]
    when = list(pd.to_datetime(rows["departure_date"]).dt.date)
    return rows.assign(day=when)[np.array([day <= closed for day in when], dtype=bool)]


def _judged(taxonomy: Taxonomy, rows: pd.DataFrame, error: float, k: int) -> list[Effect]:
    """One effect a category from the closed rows of one cohort, each interval with `error`."""
    whole = rows[rows["answer_category"] == "all"]
    days = sorted(set(whole["day"]))
    asked = {arm: _by_day(whole[whole["arm"] == arm], "n_asked", days) for arm in (TREATED, CONTROL)}
    found = []
    for name, category in taxonomy.categories.items():
        own = rows[rows["answer_category"] == name]
        answers = int(own["n_answers"].sum())
        counts = {arm: _by_day(own[own["arm"] == arm], "sum_weight", days) for arm in (TREATED, CONTROL)}
        told = (
            difference(counts[TREATED], asked[TREATED], counts[CONTROL], asked[CONTROL], error)
            if answers >= k
            else Interval(None, None, None, int(((asked[TREATED] > 0) & (asked[CONTROL] > 0)).sum()))
        )
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
