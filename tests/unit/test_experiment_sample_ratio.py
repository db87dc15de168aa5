"""The sample-ratio test: false alarms, detection, changing plans, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ratchet.experiment.sample_ratio import sample_ratio

HALF = {"challenger": 0.5, "rest": 0.0, "control": 0.5}


def _alarms(share: float, runs: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    count = 0
    for _ in range(runs):
        daily = rng.binomial(400, share, 60)
        periods = [(HALF, {"challenger": int(n), "control": int(400 - n)}) for n in daily]
        count += sample_ratio(periods, 0.01).is_alarm
    return count / runs


def test_equal_arms_rarely_alarm_and_52_to_48_does() -> None:
    assert _alarms(0.50, 200, 1) <= 0.02
    assert _alarms(0.52, 200, 2) >= 0.98


def test_a_changing_plan_is_followed() -> None:
    rng = np.random.default_rng(3)
    plans = [{"challenger": s, "rest": 1 - 2 * s, "control": s} for s in (0.0, 0.05, 0.25, 0.5)]
    alarms = 0
    for _ in range(100):
        periods = []
        for plan in plans:
            for _ in range(7):
                counts = rng.multinomial(900, list(plan.values()))
                periods.append((plan, dict(zip(plan, map(int, counts), strict=True))))
        alarms += sample_ratio(periods, 0.01).is_alarm
    assert alarms <= 3


def test_a_unit_in_an_arm_without_share_is_an_alarm_at_once() -> None:
    shadow = {"challenger": 0.0, "rest": 1.0, "control": 0.0}
    assert not sample_ratio([(shadow, {"rest": 900})], 0.01).is_alarm
    result = sample_ratio([(shadow, {"rest": 899, "challenger": 1})], 0.01)
    assert result.is_alarm
    json.dumps(result.evidence(), allow_nan=False)


def test_an_alarm_stays() -> None:
    skewed = [(HALF, {"challenger": 300, "control": 100})] * 3
    mended = [(HALF, {"challenger": 100, "control": 300})] * 3
    assert sample_ratio(skewed + mended, 0.01).is_alarm


def test_nothing_seen_is_no_alarm_and_says_so() -> None:
    result = sample_ratio([], 0.01)
    assert not result.is_alarm
    assert result.units == 0


@pytest.mark.parametrize(
    ("shares", "units"),
    [({"a": 0.4, "b": 0.4}, {"a": 1}), ({}, {}), (HALF, {"control": -1}), (HALF, {"stranger": 3})],
)
def test_impossible_counts_are_refused(shares, units) -> None:
    with pytest.raises(ValueError):
        sample_ratio([(shares, units)], 0.01)
