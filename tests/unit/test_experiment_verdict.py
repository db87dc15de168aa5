"""A rollout judged day by day on synthetic sums, from a seeded day-level model.

`world` makes what exp_paired_daily and exp_arm_daily hold; `run` looks at it each day as the stages do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.experiment.assignment import WEIGHT_TOTAL, arm_weights
from ratchet.experiment.boundaries import critical_values, power_spending
from ratchet.experiment.paired import ratio_estimate
from ratchet.experiment.state import RolloutState, Verdict
from ratchet.experiment.verdict import judge_day
from ratchet.loop import Loop, load_loop

START = date(2013, 5, 14)
EXPERIMENT = "flights-exp-001"
COHORTS = {"origin": ("EWR", "JFK", "LGA"), "carrier": ("AA", "B6", "DL", "EV", "UA", "HA", "F9")}
SHARES = {"origin": (0.36, 0.33, 0.31), "carrier": (0.2, 0.2, 0.2, 0.181, 0.2, 0.0095, 0.0095)}


@lru_cache
def flights_loop() -> Loop:
    return load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")


def world(
    seed: int,
    *,
    days: int = 50,
    gain: float = 0.0,
    day_sd: float = 0.02,
    units: int = 900,
    rating_effect: float = 0.0,
    cohort_loss: dict[str, float] | None = None,
    skew: float = 0.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(paired, arms): per unit the challenger's log loss is lower by `gain`, give or take `day_sd` a day.

    Stages follow each other every seven days. `cohort_loss` adds log loss to the challenger in a cohort
    ("carrier=DL"); `skew` moves that share of units from control to challenger.
    """
    rng = np.random.default_rng(seed)
    loop = flights_loop()
    paired, arms = [], []
    for offset in range(days):
        departure = START + timedelta(days=offset)
        stage = loop.rollout.stages[min(offset // 7, 3)]
        day_gain = gain + rng.normal(0, day_sd)
        rate = rng.uniform(0.1, 0.4)
        n = int(rng.normal(units, units / 10))
        cells: dict[tuple[str, str], np.ndarray] = {}
        for dimension, values in COHORTS.items():
            for value, share in zip(values, SHARES[dimension], strict=True):
                size = max(1, round(n * share))
                noise = rng.normal(0, 0.15 / np.sqrt(size))
                lost = (cohort_loss or {}).get(f"{dimension}={value}", 0.0)
                cells[dimension, value] = np.array([size, day_gain + noise - lost])
        total = sum(size for (d, _), (size, _) in cells.items() if d == "origin")
        mean = sum(size * g for (d, _), (size, g) in cells.items() if d == "origin") / total
        cells["all", "all"] = np.array([total, mean])
        for (dimension, value), (size, cell_gain) in cells.items():
            labelled = round(size * 0.97)
            champion = labelled * (0.45 + 0.2 * rate)
            paired.append(
                {
                    "experiment_id": EXPERIMENT,
                    "departure_date": departure,
                    "cohort_dimension": dimension,
                    "cohort_value": value,
                    "n_units": size,
                    "n_labelled": labelled,
                    "sum_log_loss_champion": champion,
                    "sum_log_loss_challenger": champion - labelled * cell_gain,
                    "sum_brier_champion": champion * 0.3,
                    "sum_brier_challenger": champion * 0.3 - labelled * cell_gain * 0.3,
                    "sum_label": round(labelled * rate),
                    "sum_score_champion": size * rate,
                    "sum_score_challenger": size * (rate + 0.01),
                }
            )
        weights = {arm: weight / WEIGHT_TOTAL for arm, weight in arm_weights(stage.share)}
        if stage.share:
            weights["challenger"] += skew
            weights["control"] -= skew
        names = list(weights)
        counts = rng.multinomial(int(total), [weights[name] for name in names])
        for arm, count in zip(names, counts, strict=True):
            if not count:
                continue
            labelled = rng.binomial(count, 0.97)
            late = rng.binomial(labelled, rate)
            better = arm == "challenger"
            ratings = rng.binomial(count * 100, 0.03)
            quality = 3.8 + (rating_effect if better else 0.0) + rng.normal(0, 0.9 / np.sqrt(max(ratings, 1)))
            loss = 0.45 + 0.2 * rate - (day_gain if better else 0.0) + rng.normal(0, 0.5 / np.sqrt(count))
            arms.append(
                {
                    "experiment_id": EXPERIMENT,
                    "departure_date": departure,
                    "arm": arm,
                    "n_units": count,
                    "n_labelled": labelled,
                    "sum_label": late,
                    "sum_score": count * (rate + 0.01 * better + rng.normal(0, 0.15 / np.sqrt(count))),
                    "sum_log_loss": labelled * loss,
                    "sum_brier": labelled * loss * 0.3,
                    "n_asked": count * 100,
                    "n_ratings": ratings,
                    "sum_rating": ratings * quality,
                    "sum_rating_squared": ratings * (quality**2 + 0.8),
                    "n_tickets": rng.binomial(ratings, 0.05),
                    "sum_latency_ms": count * rng.uniform(4, 6),
                    "max_latency_ms": 20.0,
                    "n_wrong_version": 0,
                    "n_null_score": 0,
                    "n_champion_labelled": labelled,
                    "sum_champion_gap": labelled * rate - late,
                    "sum_champion_score_rated": ratings * rate,
                }
            )
    return pd.DataFrame(paired), pd.DataFrame(arms)


def exposure_of(arms: pd.DataFrame) -> pd.DataFrame:
    """What exp_exposure_daily holds when each arm has the cohorts in equal shares."""
    rng = np.random.default_rng(5)
    base = arms[["experiment_id", "departure_date", "arm", "n_units", "n_labelled"]].assign(
        n_in_other_arm=0, sum_label=0, sum_log_loss=0.0, sum_brier=0.0
    )
    parts = [base.assign(cohort_dimension="all", cohort_value="all")]
    for dimension, values in COHORTS.items():
        counts = rng.multinomial(base["n_units"].fillna(0).to_numpy().astype(int), SHARES[dimension])
        for value, count in zip(values, counts.T, strict=True):
            parts.append(
                base.assign(
                    cohort_dimension=dimension, cohort_value=value, n_units=count, n_labelled=count // 2
                )
            )
    return pd.concat(parts)


def state_on(offset: int) -> RolloutState:
    """The state of day `offset` when each stage took a week, with no look recorded."""
    loop = flights_loop()
    index = min(offset // 7, 3)
    starts = tuple(START + timedelta(days=7 * i) for i in range(index + 1))
    return RolloutState(EXPERIMENT, START, index, loop.rollout.stages[index].name, starts)


def run(loop: Loop, paired: pd.DataFrame, arms: pd.DataFrame, last: int = 46) -> list[tuple[int, Verdict]]:
    """Each day's verdict until a final one; an advance takes effect seven days after the stage began."""
    state = RolloutState.begin(EXPERIMENT, START, loop.rollout.stages[0].name)
    exposure = exposure_of(arms)
    answers: list[tuple[int, Verdict]] = []
    advanced = False
    for offset in range(last):
        day = START + timedelta(days=offset)
        if advanced and offset % 7 == 0:
            index = state.stage_index + 1
            state = state.in_stage(index, loop.rollout.stages[index].name, day)
            advanced = False
        verdict = judge_day(loop, state, paired, arms, day, exposure=exposure)
        json.dumps(verdict.evidence, allow_nan=False)
        assert verdict.reasons
        state = RolloutState.from_json(state.after(verdict).to_json())
        answers.append((offset, verdict))
        if verdict.action in ("promote", "roll_back", "inconclusive"):
            break
        advanced = advanced or verdict.action == "advance"
    return answers


def at(offset: int, paired: pd.DataFrame, arms: pd.DataFrame, state: RolloutState | None = None) -> Verdict:
    """The first look ever, on day `offset`."""
    return judge_day(
        flights_loop(),
        state or state_on(offset),
        paired,
        arms,
        START + timedelta(days=offset),
        exposure=exposure_of(arms),
    )


def swapped(paired: pd.DataFrame) -> pd.DataFrame:
    """The paired sums with champion and challenger exchanged."""
    names = {
        f"sum_{m}_{a}": f"sum_{m}_{b}"
        for m in ("log_loss", "brier", "score")
        for a, b in (("champion", "challenger"), ("challenger", "champion"))
    }
    return paired.rename(columns=names)


def test_a_better_challenger_goes_through_the_stages_and_is_promoted() -> None:
    answers = run(flights_loop(), *world(1, gain=0.015))
    offset, verdict = answers[-1]
    assert verdict.action == "promote"
    assert offset >= 21 + 3
    assert {o for o, v in answers if v.action == "advance"} >= {5, 12, 19}
    assert len([reason for reason in verdict.reasons if "not worse" in reason]) == 3


def test_equal_models_are_not_promoted_and_the_horizon_ends_it() -> None:
    offset, verdict = run(flights_loop(), *world(1))[-1]
    assert verdict.action == "inconclusive"
    assert offset == 44
    assert "horizon of 42 days" in verdict.reasons[0]


def test_equal_models_promoted_no_more_than_the_error_allows() -> None:
    """The promotion path of judge_day (t over days, spending from the first look in the last stage on)."""
    rng = np.random.default_rng(11)
    loop, runs, promoted = flights_loop(), 1500, 0
    looks = list(range(23, 43))
    bounds = critical_values([n / 42 for n in looks], power_spending(loop.rollout.alpha, 2))
    for _ in range(runs):
        counts = rng.integers(700, 1000, 42).astype(float)
        sums = counts * rng.standard_t(5, 42) * 0.02
        promoted += any(
            ratio_estimate(sums[:n], counts[:n]).z >= bound for n, bound in zip(looks, bounds, strict=True)
        )
    limit = loop.rollout.alpha
    assert promoted / runs <= limit + 3 * math.sqrt(limit * (1 - limit) / runs)
    assert promoted > 0


def test_whole_rollouts_of_equal_models() -> None:
    final = [run(flights_loop(), *world(seed, units=300))[-1][1].action for seed in range(100, 104)]
    assert len(final) == 4
    assert final.count("promote") <= 1
    assert final.count("roll_back") <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_degraded_challenger_is_rolled_back(seed: int) -> None:
    offset, verdict = run(flights_loop(), *world(seed, gain=-0.03))[-1]
    assert verdict.action == "roll_back"
    assert offset <= 25
    assert "worse" in verdict.reasons[0]


def test_direction_exchanging_the_models_turns_the_verdict() -> None:
    paired, arms = world(1, gain=0.03)
    assert run(flights_loop(), paired, arms)[-1][1].action == "promote"
    arms = arms.assign(
        sum_score=arms["sum_score"] - arms["n_units"] * np.where(arms["arm"] == "challenger", 0.02, 0)
    )
    assert run(flights_loop(), swapped(paired), arms)[-1][1].action == "roll_back"


def test_arms_swapped_in_serving_are_found() -> None:
    paired, arms = world(1, gain=0.015, units=3000)
    names = {"challenger": "control", "control": "challenger"}
    answers = run(flights_loop(), paired, arms.assign(arm=arms["arm"].replace(names)))
    assert "promote" not in {verdict.action for _, verdict in answers}
    assert any("arms swapped" in reason for _, verdict in answers for reason in verdict.reasons)


def test_worse_ratings_roll_back_although_the_loss_is_better() -> None:
    verdict = run(flights_loop(), *world(2, gain=0.015, rating_effect=-0.6))[-1][1]
    assert verdict.action == "roll_back"
    assert any("guardrail rating" in reason for reason in verdict.reasons)


def test_a_harmed_cohort_rolls_back() -> None:
    verdict = run(flights_loop(), *world(3, gain=0.012, cohort_loss={"carrier=DL": 0.15}))[-1][1]
    assert verdict.action == "roll_back"
    assert any("carrier=DL" in reason for reason in verdict.reasons)


def test_small_cohorts_are_pooled() -> None:
    evidence = at(26, *world(1)).evidence["cohorts"]
    assert "carrier=HA" not in evidence
    assert evidence["carrier=other"]["pooled"] == ["F9", "HA"]
    assert evidence["carrier=other"]["judged"]


def test_an_unproven_guardrail_holds_a_promotion() -> None:
    paired, arms = world(1, gain=0.03)
    assert at(30, paired, arms).action == "promote"
    silent = at(30, paired, arms.assign(n_ratings=0, sum_rating=0.0, sum_rating_squared=0.0))
    assert silent.action == "hold"
    assert "guardrail rating can't be judged yet" in silent.reasons[0]


def test_only_mature_days_count() -> None:
    paired, arms = world(1, gain=0.01)
    day = START + timedelta(days=26)
    late = paired["departure_date"] > day - timedelta(days=3)
    shouting = paired.assign(
        sum_log_loss_challenger=np.where(late, 1e6, paired["sum_log_loss_challenger"]),
        sum_brier_challenger=np.where(late, 1e6, paired["sum_brier_challenger"]),
    )
    honest, other = at(26, paired, arms), at(26, shouting, arms)
    assert honest.evidence["primary"] == other.evidence["primary"]
    assert honest.evidence["primary"]["clusters"] == 24


def test_the_boundary_remembers_the_looks() -> None:
    loop = flights_loop()
    paired, arms = world(1, gain=0.004)
    answers = run(loop, paired, arms)
    after_looks = [
        v.evidence["tests"]["promotion"] for _, v in answers if "promotion" in v.evidence.get("tests", {})
    ]
    fresh = at(40, paired, arms).evidence["tests"]["promotion"]
    remembered = next(t for t in after_looks if t["information_fraction"] == fresh["information_fraction"])
    assert remembered["bound"] > fresh["bound"]


def test_a_repeated_look_is_refused_and_an_equal_one_spends_nothing() -> None:
    loop = flights_loop()
    paired, arms = world(1)
    state = state_on(30)
    day = START + timedelta(days=30)
    exposure = exposure_of(arms)
    once = state.after(judge_day(loop, state, paired, arms, day, exposure=exposure))
    again = judge_day(loop, once, paired, arms, day, exposure=exposure)
    assert again.action == "hold"
    assert "already recorded" in again.reasons[0]
    stalled = judge_day(
        loop,
        once,
        paired[paired["departure_date"] < day - timedelta(days=2)],
        arms[arms["departure_date"] < day - timedelta(days=2)],
        day + timedelta(days=1),
        exposure=exposure[exposure["departure_date"] < day - timedelta(days=2)],
    )
    assert "promotion" not in stalled.looks
    assert any("no new mature cluster" in reason for reason in stalled.reasons)


Damage = Callable[[pd.DataFrame, pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]]


def _set(frame: pd.DataFrame, column: str, value: float, where: pd.Series | None = None) -> pd.DataFrame:
    rows = frame.copy()
    rows[column] = rows[column].astype("float64")
    rows.loc[rows.index[:1] if where is None else where, column] = value
    return rows


DAMAGES: dict[str, Damage] = {
    "no row": lambda p, a: (p.iloc[:0], a.iloc[:0]),
    "no paired row": lambda p, a: (p.iloc[:0], a),
    "no arm row": lambda p, a: (p, a.iloc[:0]),
    "another experiment": lambda p, a: (p.assign(experiment_id="x"), a.assign(experiment_id="x")),
    "column missing": lambda p, a: (p.drop(columns="sum_brier_challenger"), a),
    "row twice": lambda p, a: (pd.concat([p, p.iloc[:1]]), a),
    "nan loss": lambda p, a: (_set(p, "sum_log_loss_challenger", math.nan), a),
    "infinite loss": lambda p, a: (_set(p, "sum_log_loss_champion", math.inf), a),
    "nan score": lambda p, a: (_set(p, "sum_score_challenger", math.nan), a),
    "nan rating": lambda p, a: (p, _set(a, "sum_rating", math.nan)),
    "nan latency": lambda p, a: (p, _set(a, "sum_latency_ms", math.nan)),
    "nan count": lambda p, a: (p, _set(a, "n_labelled", math.nan)),
    "negative count": lambda p, a: (_set(p, "n_labelled", -1), a),
    "more labels than units": lambda p, a: (_set(p, "n_labelled", 1e6), a),
    "wrong version served": lambda p, a: (p, _set(a, "n_wrong_version", 1)),
    "version unknown": lambda p, a: (p, _set(a, "n_wrong_version", math.nan)),
    "null scores served": lambda p, a: (p, _set(a, "n_null_score", 3)),
    "constant challenger": lambda p, a: (p.assign(sum_score_challenger=p["n_units"] * 0.25), a),
    "silent scores missing": lambda p, a: (
        p.assign(n_units=p["n_units"] * 0.9, n_labelled=p["n_labelled"] * 0.9),
        a,
    ),
    "labels not arriving": lambda p, a: (p.assign(n_labelled=p["n_labelled"] * 0.3), a),
    "no challenger arm": lambda p, a: (p, a[a["arm"] != "challenger"]),
    "a stranger's arm": lambda p, a: (p, a.assign(arm=a["arm"].replace({"rest": "other"}))),
    "labels lost in one arm": lambda p, a: (
        p,
        a.assign(n_labelled=np.where(a["arm"] == "challenger", a["n_labelled"] * 0.8, a["n_labelled"])),
    ),
    "cohort sums missing": lambda p, a: (p[p["cohort_dimension"] != "carrier"], a),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_can_not_be_trusted_holds(damage: str) -> None:
    paired, arms = world(1, gain=0.03)
    assert at(30, paired, arms).action == "promote"
    verdict = at(30, *DAMAGES[damage](paired, arms))
    assert verdict.action == "hold"
    assert verdict.reasons
    json.dumps(verdict.evidence, allow_nan=False)


@pytest.mark.parametrize("skew", [0.01, 0.02])
def test_a_sample_ratio_mismatch_holds(skew: float) -> None:
    paired, arms = world(1, gain=0.03, units=3000, skew=skew)
    verdict = at(30, paired, arms)
    assert verdict.action == "hold"
    assert any("sample ratio" in reason for reason in verdict.reasons)


def test_the_day_before_a_stage_begins_may_have_both_plans() -> None:
    paired, arms = world(1, gain=0.03)
    boundary = (arms["departure_date"] == START + timedelta(days=6)) & (arms["arm"] == "rest")
    row = arms[boundary].assign(arm="challenger", n_units=20, n_labelled=19, n_ratings=0)
    assert at(30, paired, pd.concat([arms, row])).action == "promote"
    inside = row.assign(departure_date=START + timedelta(days=3))
    assert at(30, paired, pd.concat([arms, inside])).action == "hold"


def test_distrust_past_the_horizon_is_inconclusive() -> None:
    paired, arms = world(1, gain=0.03)
    assert at(44, paired.iloc[:0], arms).action == "inconclusive"


def test_no_guardrail_no_verdict() -> None:
    loop = flights_loop().model_copy(update={"guardrails": ()})
    verdict = judge_day(loop, state_on(30), *world(1, gain=0.03), START + timedelta(days=30))
    assert verdict.action == "hold"
    assert "no guardrail" in verdict.reasons[0]


def test_a_state_that_contradicts_the_loop_file_holds() -> None:
    paired, arms = world(1, gain=0.03)
    renamed = RolloutState(EXPERIMENT, START, 1, "shadow", (START, START + timedelta(days=7)))
    assert "the loop file has" in at(30, paired, arms, renamed).reasons[0]
    lost = RolloutState(EXPERIMENT, START, 3, "ab", (START,))
    assert at(30, paired, arms, lost).action == "hold"


def test_stages_are_taken_in_order() -> None:
    state = state_on(0)
    with pytest.raises(ValueError, match="does not follow"):
        state.in_stage(2, "canary_25", START + timedelta(days=7))
    with pytest.raises(ValueError, match="starts on"):
        state.in_stage(1, "canary_5", START)
