"""Simulated experiments: what the units of both arms do, day by day. Everything is seeded; effects are planted.

The set-ups are those of the decision tables (docs/decision-rules.md): independent users where a table is about
independent users, days that share a fate where it is about clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.experiment.assignment import WEIGHT_TOTAL, arm_weights
from ratchet.loop import Loop

Floats = NDArray[np.float64]
FIRST_DAY = date(2013, 5, 14)


@dataclass(frozen=True)
class Sums:
    """Daily sums of the two arms, each experiments x days: units, outcomes, and squares where they are needed.

    `yy` are the squares of outcomes, `x` a covariate from before the experiment.
    """

    n1: Floats
    y1: Floats
    n0: Floats
    y0: Floats
    yy1: Floats | None = None
    yy0: Floats | None = None
    x1: Floats | None = None
    x0: Floats | None = None


def binary(rng: np.random.Generator, runs: int, days: int, per_arm: int, p1: float, p0: float) -> Sums:
    """Independent users, each with success probability p1 (treated) or p0 (control)."""
    n = np.full((runs, days), float(per_arm))
    return Sums(
        n,
        rng.binomial(per_arm, p1, (runs, days)).astype(float),
        n,
        rng.binomial(per_arm, p0, (runs, days)).astype(float),
    )


def ramp(
    rng: np.random.Generator,
    runs: int,
    shares: tuple[float, ...],
    users_a_day: int,
    p1: float,
    p0: float,
) -> Sums:
    """Independent users in a ramp: on day k both arms have `shares[k]` of the day's users."""
    n = np.tile(np.array([round(users_a_day * share) for share in shares], dtype=float), (runs, 1))
    sizes = n.astype(np.int64)
    return Sums(n, rng.binomial(sizes, p1).astype(float), n, rng.binomial(sizes, p0).astype(float))


def spending(rng: np.random.Generator, runs: int, days: int, per_arm: int) -> Sums:
    """Equal arms of zero-inflated lognormal amounts: one user in five spends, with a heavy tail."""
    arms = []
    for _ in range(2):
        buyers = rng.binomial(per_arm, 0.2, (runs, days))
        flat = buyers.ravel()
        amounts = rng.lognormal(2.0, 1.5, int(flat.sum()))
        owner = np.repeat(np.arange(flat.size), flat)
        total = np.bincount(owner, amounts, flat.size).reshape(runs, days).astype(float)
        square = np.bincount(owner, amounts**2, flat.size).reshape(runs, days).astype(float)
        arms.append((total, square))
    n = np.full((runs, days), float(per_arm))
    return Sums(n, arms[0][0], n, arms[1][0], yy1=arms[0][1], yy0=arms[1][1])


def clicks(rng: np.random.Generator, runs: int, days: int, per_arm: int) -> Sums:
    """Equal arms of a ratio: clicks over impressions, both uneven over users. `n` counts impressions."""
    arms = []
    for _ in range(2):
        seen = 1 + rng.negative_binomial(0.6, 0.06, (runs, days, per_arm))
        habit = rng.beta(0.8, 3.2, (runs, days, per_arm))
        clicked = rng.binomial(seen, habit)
        arms.append((seen.sum(axis=2).astype(float), clicked.sum(axis=2).astype(float)))
    return Sums(arms[0][0], arms[0][1], arms[1][0], arms[1][1])


def correlated(
    rng: np.random.Generator, runs: int, days: int, per_arm: int, effect: float, correlation: float
) -> Sums:
    """A continuous outcome with unit variance and a pre-period covariate that is correlated with it."""
    arms = []
    for shift in (effect, 0.0):
        # A day's sums of bivariate normal users are bivariate normal themselves.
        x = rng.normal(0.0, np.sqrt(per_arm), (runs, days))
        noise = rng.normal(0.0, np.sqrt(per_arm * (1 - correlation**2)), (runs, days))
        arms.append((per_arm * shift + correlation * x + noise, x))
    n = np.full((runs, days), float(per_arm))
    return Sums(n, arms[0][0], n, arms[1][0], x1=arms[0][1], x0=arms[1][1])


def delayed(
    rng: np.random.Generator,
    runs: int,
    days: int,
    per_arm: int,
    p: tuple[float, float],
    mean_delay: tuple[float, float],
    window: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Successes by entry day and age: two arrays runs x days x window, of the treated and the control arm.

    A unit that succeeds does so within `window` days, after a delay that is geometric with the arm's mean, cut
    at the window.
    """
    found = []
    for rate, mean in zip(p, mean_delay, strict=True):
        weights = (1 - 1 / mean) ** np.arange(window)
        found.append(rng.multinomial(rng.binomial(per_arm, rate, (runs, days)), weights / weights.sum()))
    return found[0], found[1]


def clustered_losses(
    rng: np.random.Generator, runs: int, days: int, gain: float, day_sd: float, unit_sd: float, units: int
) -> tuple[Floats, Floats, Floats]:
    """Paired loss differences of days that share a fate: sums, squares of units and sizes, runs x days.

    The day's part is heavy-tailed (t with five degrees of freedom) and the days are of unequal size.
    """
    sizes = np.maximum(20, rng.normal(units, units / 5, (runs, days))).round()
    shock = rng.standard_t(5, (runs, days)) / np.sqrt(5 / 3) * day_sd
    mean = gain + shock + rng.normal(0, unit_sd, (runs, days)) / np.sqrt(sizes)
    squares = sizes * (mean**2 + unit_sd**2)
    return mean * sizes, squares, sizes


def skewed_days(
    rng: np.random.Generator, runs: int, days: int, mean: float, against: float
) -> tuple[Floats, Floats]:
    """Gains of days with deviation 1 and skewness 1.4 (a gamma's, shape 2), and their sizes, runs x days.

    `against` 1: a few very bad days, many mildly good ones; -1: the other way round.
    """
    shape = 2.0
    tail = (rng.gamma(shape, 1.0, (runs, days)) - shape) / np.sqrt(shape)
    return mean - against * tail, np.ones((runs, days))


def rollout(
    loop: Loop,
    rng: np.random.Generator,
    *,
    days: int,
    gain: float = 0.0,
    day_sd: float = 0.012,
    units: int = 900,
    rating_effect: float = 0.0,
    cohorts: int = 10,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What exp_paired_daily, exp_arm_daily and exp_exposure_daily hold of one rollout, in the loop's terms.

    Per unit the challenger's log loss is lower by `gain`, give or take `day_sd` a day; its travellers rate
    `rating_effect` higher. Each cohort dimension has `cohorts` values of equal size. The latter two have the rows of
    each day as each stage would make them, told apart by `stage`: `as_run` picks those of the stages that were run.
    """
    paired: list[dict[str, object]] = []
    arms: list[dict[str, object]] = []
    for offset in range(days):
        day = FIRST_DAY + timedelta(days=offset)
        size = max(200, int(rng.normal(units, units / 10)))
        rate, shock = rng.uniform(0.1, 0.4), rng.standard_t(5) / np.sqrt(5 / 3) * day_sd
        cells = [("all", "all", size)]
        for dimension in loop.cohorts.dimensions:
            cells += [(dimension, f"c{k}", size // cohorts) for k in range(cohorts)]
        for dimension, value, count in cells:
            labelled = round(count * 0.97)
            champion = labelled * (0.42 + 0.25 * rate)
            won = labelled * (gain + shock) + rng.normal(0, 0.1) * np.sqrt(labelled)
            paired.append(
                {
                    "experiment_id": "bench",
                    "departure_date": day,
                    "cohort_dimension": dimension,
                    "cohort_value": value,
                    "n_units": count,
                    "n_labelled": labelled,
                    "sum_log_loss_champion": champion,
                    "sum_log_loss_challenger": champion - won,
                    "sum_brier_champion": champion * 0.3,
                    "sum_brier_challenger": champion * 0.3 - won * 0.3,
                    "sum_label": round(labelled * rate),
                    "sum_score_champion": count * rate,
                    "sum_score_challenger": count * (rate + 0.01 + rng.normal(0, 0.001)),
                }
            )
        for index, stage in enumerate(loop.rollout.stages):
            arms += _arm_rows(rng, day, index, stage.share, size, rate, gain + shock, rating_effect)
    found = pd.DataFrame(arms)
    return pd.DataFrame(paired), found, _exposure(loop, rng, found, cohorts)


def _arm_rows(
    rng: np.random.Generator,
    day: date,
    stage: int,
    share: float,
    size: int,
    rate: float,
    gain: float,
    rating: float,
) -> list[dict[str, object]]:
    """The rows of one day's arms in one stage."""
    rows: list[dict[str, object]] = []
    weights = {arm: weight / WEIGHT_TOTAL for arm, weight in arm_weights(share)}
    counts = rng.multinomial(size, list(weights.values()))
    for arm, count in zip(weights, counts, strict=True):
        if not count:
            continue
        better = arm == "challenger"
        labelled, ratings = int(rng.binomial(count, 0.97)), int(rng.binomial(count * 100, 0.03))
        stars = 3.8 + rating * better + rng.normal(0, 0.9) / np.sqrt(max(ratings, 1))
        loss = 0.42 + 0.25 * rate - gain * better + rng.normal(0, 0.4) / np.sqrt(count)
        tilt = rng.normal(0, 0.15) / np.sqrt(count)
        late = int(rng.binomial(labelled, rate))
        rows.append(
            {
                "experiment_id": "bench",
                "departure_date": day,
                "stage": stage,
                "arm": arm,
                "n_units": int(count),
                "n_labelled": labelled,
                "sum_label": late,
                "sum_score": count * (rate + 0.01 * better + tilt),
                "sum_log_loss": labelled * loss,
                "sum_brier": labelled * loss * 0.3,
                "n_asked": int(count) * 100,
                "n_ratings": ratings,
                "sum_rating": ratings * stars,
                "sum_rating_squared": ratings * (stars**2 + 0.8),
                "n_tickets": int(rng.binomial(ratings, 0.05)),
                "sum_latency_ms": count * rng.uniform(4, 6),
                "max_latency_ms": 9.0,
                "n_wrong_version": 0,
                "n_null_score": 0,
                "n_champion_labelled": labelled,
                "sum_champion_gap": labelled * rate - late,
                "sum_champion_score_rated": ratings * rate,
            }
        )
    return rows


def as_run(frame: pd.DataFrame, stage_of_day: dict[date, int]) -> pd.DataFrame:
    """The rows of each day as the stage that it was run in made them."""
    run = frame["departure_date"].map(stage_of_day)
    return frame[frame["stage"] == run].drop(columns="stage")


def _exposure(loop: Loop, rng: np.random.Generator, arms: pd.DataFrame, cohorts: int) -> pd.DataFrame:
    """Each arm's units over cohorts of equal size."""
    base = arms[
        [
            "experiment_id",
            "departure_date",
            "stage",
            "arm",
            "n_units",
            "n_labelled",
            "sum_label",
            "sum_log_loss",
            "sum_brier",
        ]
    ]
    base = base.assign(n_in_other_arm=0)
    parts = [base.assign(cohort_dimension="all", cohort_value="all")]
    sizes = base["n_units"].to_numpy(dtype=np.int64)
    for dimension in loop.cohorts.dimensions:
        counts = rng.multinomial(sizes, np.full(cohorts, 1 / cohorts))
        for value in range(cohorts):
            parts.append(
                base.assign(
                    cohort_dimension=dimension,
                    cohort_value=f"c{value}",
                    n_units=counts[:, value],
                    n_labelled=np.minimum(counts[:, value], base["n_labelled"] // cohorts),
                    sum_label=0,
                    sum_log_loss=0.0,
                    sum_brier=0.0,
                )
            )
    return pd.concat(parts, ignore_index=True)


def day_of(offset: int) -> date:
    """The departure day `offset` days after the first."""
    return FIRST_DAY + timedelta(days=offset)
