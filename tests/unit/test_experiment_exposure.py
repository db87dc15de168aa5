"""Exposure: arm sizes by cohort, returning units, and the champion's calibration by arm."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from tests.unit.test_experiment_verdict import START, exposure_of, flights_loop, state_on, world

from ratchet.experiment.exposure import check_exposure
from ratchet.experiment.sums import ARM_COLUMNS, EXPOSURE_COLUMNS, Cells, Sums
from ratchet.experiment.verdict import judge_day

ARMS = ("challenger", "control")
COHORTS = tuple(f"C{index}" for index in range(10))


def exposed(
    share: float, seed: int, *, days: int = 60, cohort: str | None = None, gap: float = 0.0
) -> tuple[Sums, tuple[float, ...]]:
    """400 units a day in two arms of half the traffic; `share` goes to the challenger, everywhere or in a cohort.

    `gap` is added to the champion's mean score minus label on units that the challenger served.
    """
    rng = np.random.default_rng(seed)
    shares = np.array([share if cohort in (None, name) else 0.5 for name in COHORTS])
    sizes = np.full((days, 10), 40)
    challenger = rng.binomial(sizes, shares).T
    control = sizes.T - challenger
    by_arm = np.stack([challenger, control], axis=1).astype(float)  # cohort, arm, day
    total = by_arm.sum(axis=0)
    keys = [("all", "all", arm) for arm in ARMS]
    keys += [("carrier", name, arm) for name in COHORTS for arm in ARMS]
    n_units = np.concatenate([total, by_arm.reshape(20, days)])
    nothing = np.zeros_like(n_units)
    exposure = Cells(
        tuple(keys),
        {name: n_units if name == "n_units" else nothing for name in EXPOSURE_COLUMNS[4:]},
        np.ones(n_units.shape, dtype=bool),
    )
    columns = {name: np.zeros_like(total) for name in ARM_COLUMNS[2:]}
    day = rng.normal(0, 0.05, days)
    noise = rng.normal(0, 0.4, total.shape) * np.sqrt(total)
    gaps = total * day + noise + total * np.array([[gap], [0.0]])
    columns |= {"n_units": total, "n_labelled": total, "n_champion_labelled": total, "sum_champion_gap": gaps}
    arms = Cells(tuple((arm,) for arm in ARMS), columns, np.ones(total.shape, dtype=bool))
    none = Cells((), {}, np.zeros((0, days), dtype=bool))
    last = START + timedelta(days=days - 1)
    return Sums(START, last, none, arms, exposure), (0.5,) * days


def alarms(runs: int, of: str, **world_of: object) -> float:
    loop, count = flights_loop(), 0
    for seed in range(runs):
        sums, shares = exposed(seed=seed, **world_of)  # type: ignore[arg-type]
        findings = check_exposure(loop, state_on(21), sums, shares, {})
        count += any(of in finding for finding in findings)
    return count / runs


def test_sample_ratio_of_all_and_cohorts_together() -> None:
    assert alarms(300, "sample ratio", share=0.5) <= 0.01 + 2.5 * math.sqrt(0.01 * 0.99 / 300)
    assert alarms(150, "sample ratio", share=0.52) >= 0.98


def test_a_mismatch_in_one_cohort_is_found_and_named() -> None:
    sums, shares = exposed(0.62, 1, cohort="C3")
    evidence: dict[str, object] = {}
    findings = check_exposure(flights_loop(), state_on(21), sums, shares, evidence)
    assert [finding for finding in findings if "cohort carrier=C3" in finding]
    assert not [finding for finding in findings if "C4" in finding]
    json.dumps(evidence, allow_nan=False)


def test_the_champion_is_calibrated_alike_in_both_arms() -> None:
    assert alarms(300, "champion's scores", share=0.5) <= 0.01 + 2.5 * math.sqrt(0.01 * 0.99 / 300)
    assert alarms(50, "champion's scores", share=0.5, gap=0.06) >= 0.95
    assert alarms(50, "champion's scores", share=0.5, gap=-0.06) >= 0.95


Damage = Callable[[pd.DataFrame], pd.DataFrame | None]
DAMAGES: dict[str, Damage] = {
    "not given": lambda e: None,
    "no row": lambda e: e.iloc[:0],
    "column missing": lambda e: e.drop(columns="n_in_other_arm"),
    "row twice": lambda e: pd.concat([e, e.iloc[:1]]),
    "a unit in both arms": lambda e: e.assign(
        n_in_other_arm=np.where(
            (e["cohort_dimension"] == "all")
            & (e["arm"] == "control")
            & (e["departure_date"] == START + timedelta(days=25)),
            1,
            0,
        )
    ),
    "unknown count": lambda e: e.assign(n_in_other_arm=math.nan),
    "other units than the arms": lambda e: e.assign(n_units=e["n_units"] + (e["arm"] == "rest")),
    "a stranger's arm": lambda e: pd.concat(
        [e, e[e["arm"] == "rest"].assign(arm="other", cohort_dimension="carrier", cohort_value="XX")]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_exposure_that_can_not_be_trusted_holds(damage: str) -> None:
    paired, arms = world(1, gain=0.03)
    exposure = exposure_of(arms)
    day = START + timedelta(days=30)
    sound = judge_day(flights_loop(), state_on(30), paired, arms, day, exposure=exposure)
    assert sound.action == "promote"
    verdict = judge_day(flights_loop(), state_on(30), paired, arms, day, exposure=DAMAGES[damage](exposure))
    assert verdict.action == "hold"
    assert verdict.reasons
