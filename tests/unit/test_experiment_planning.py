"""The plan of a rollout: power and days against simulation, and what the running rollout says of itself."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from tests.unit.test_experiment_verdict import flights_loop

from ratchet.experiment.boundaries import critical_values, power_spending
from ratchet.experiment.paired import Estimate
from ratchet.experiment.planning import outlook, plan, plan_from
from ratchet.loop import Loop


def planned(effect: float | None = 0.004, **changed: object) -> Loop:
    loop = flights_loop()
    return loop.model_copy(
        update={"rollout": loop.rollout.model_copy(update={"minimum_effect": effect, **changed})}
    )


def test_power_and_days_are_those_of_a_simulation() -> None:
    found = plan(planned(), 0.008)
    assert found is not None
    looks = np.arange(found.first_look, 43)
    bounds = np.array(critical_values((looks / 42).tolist(), power_spending(0.025, 2)))
    rng = np.random.default_rng(1)
    z = (rng.normal(0.5, 1, (20_000, 42)).cumsum(axis=1) / np.sqrt(np.arange(1, 43)))[:, looks - 1]
    hit = z >= bounds
    day = np.where(hit.any(axis=1), looks[hit.argmax(axis=1)], 42)
    assert found.power == pytest.approx(hit.any(axis=1).mean(), abs=0.01)
    assert found.expected_clusters == pytest.approx(day.mean(), abs=0.3)
    assert found.median_clusters == pytest.approx(np.median(day), abs=1)
    assert found.expected_days == pytest.approx(found.expected_clusters + 3)
    json.dumps(found.evidence(), allow_nan=False)


def test_a_noisier_metric_needs_more_days_and_finds_less() -> None:
    quiet, noisy = plan(planned(), 0.006), plan(planned(), 0.024)
    assert quiet is not None and noisy is not None
    assert quiet.power > 0.95 > noisy.power
    assert noisy.clusters_for_power == pytest.approx(16 * quiet.clusters_for_power, rel=0.05)
    assert noisy.can_find == pytest.approx(4 * quiet.can_find)
    assert noisy.median_clusters is None
    at_limit = plan(planned(quiet.can_find), 0.006)
    assert at_limit is not None and at_limit.power == pytest.approx(0.9, abs=0.005)


def test_independent_units_come_by_the_day() -> None:
    units = planned(0.02, horizon_clusters=24_000, min_clusters=400)
    found = plan(units, 0.57, clusters_per_day=400)
    assert found is not None
    assert found.power > 0.95
    assert found.expected_days < 60


def test_the_evaluations_spread_makes_the_plan() -> None:
    judged = Estimate(0.003, 0.002, 16, 12_000)
    assert plan_from(planned(), judged) == plan(planned(), 0.008)
    assert plan_from(planned(), Estimate(math.nan, math.nan, 1, 800)) is None
    assert plan_from(planned(), Estimate(0.0, 0.0, 16, 12_000)) is None


def test_no_minimum_effect_is_no_plan_and_nonsense_is_refused() -> None:
    assert plan(planned(None), 0.01) is None
    for bad in (0.0, math.nan, -1.0, math.inf):
        with pytest.raises(ValueError, match="standard deviation"):
            plan(planned(), bad)
    with pytest.raises(ValueError, match="number a day"):
        plan(planned(), 0.01, clusters_per_day=0)


def test_the_outlook_of_a_running_rollout() -> None:
    running = outlook(planned(), Estimate(0.001, 0.002, 16, 12_000))
    assert running["cluster_sd"] == pytest.approx(0.008)
    whole = plan(planned(), 0.008)
    assert whole is not None
    assert running["can_find"] == pytest.approx(whole.can_find)
    assert running["clusters_for_power"] == whole.clusters_for_power
    early = outlook(planned(), Estimate(math.nan, math.nan, 1, 800))
    assert early["can_find"] is None
