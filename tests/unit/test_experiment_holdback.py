"""The days after a promotion: harm rolls back, a lasting gain is told from one that fades."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from tests.unit.test_experiment_verdict import EXPERIMENT, START, exposure_of, flights_loop, world

from ratchet.experiment.assignment import WEIGHT_TOTAL
from ratchet.experiment.holdback import judge_holdback_day
from ratchet.experiment.state import RolloutState, Verdict
from ratchet.loop import Loop

SHARE, DAYS = 0.05, 28


def loop() -> Loop:
    found = flights_loop()
    held = type(found.rollout).model_fields["holdback"].annotation.__args__[0](share=SHARE, days=DAYS)  # type: ignore[union-attr]
    return found.model_copy(update={"rollout": found.rollout.model_copy(update={"holdback": held})})


def held_back(paired: pd.DataFrame, arms: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The arms with the holdback's shares on every day."""
    rng = np.random.default_rng(seed)
    weights = {"challenger": SHARE, "control": SHARE, "rest": 1 - 2 * SHARE}
    assert all(round(w * WEIGHT_TOTAL) for w in weights.values())
    totals = arms.groupby("departure_date")["n_units"].sum()
    model = arms[arms["arm"] == "rest"].iloc[0]
    rows = []
    for departure, total in totals.items():
        everyone = paired[(paired["departure_date"] == departure) & (paired["cohort_dimension"] == "all")]
        gain = float(
            (everyone["sum_log_loss_champion"] - everyone["sum_log_loss_challenger"]).iloc[0]
            / everyone["n_labelled"].iloc[0]
        )
        counts = rng.multinomial(total, list(weights.values()))
        for arm, count in zip(weights, counts, strict=True):
            labelled = round(count * 0.97)
            loss = 0.5 - (gain if arm == "challenger" else 0.0) + rng.normal(0, 0.3 / np.sqrt(max(count, 1)))
            late = rng.binomial(labelled, 0.2)
            score = 0.2 + 0.01 * (arm != "control")
            row = model.to_dict() | {
                "departure_date": departure, "arm": arm, "n_units": count, "n_labelled": labelled,
                "sum_label": late, "sum_score": count * score, "sum_log_loss": labelled * loss,
                "sum_brier": labelled * loss * 0.3, "n_asked": count * 100, "n_ratings": count * 3,
                "sum_rating": count * 3 * (3.8 + rng.normal(0, 0.1)),
                "sum_rating_squared": count * 3 * 16.0,
                "sum_latency_ms": count * 5.0, "n_champion_labelled": labelled,
                "sum_champion_gap": labelled * 0.2 - late, "sum_champion_score_rated": count * 0.6,
            }  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows)


def run(paired: pd.DataFrame, arms: pd.DataFrame, *, has_pairs: bool = True) -> list[tuple[int, Verdict]]:
    state = RolloutState.begin(EXPERIMENT, START, "holdback")
    exposure = exposure_of(arms)
    answers = []
    for offset in range(40):
        day = START + timedelta(days=offset)
        pairs = paired if has_pairs else paired.iloc[:0]
        verdict = judge_holdback_day(loop(), state, pairs, arms, day, exposure=exposure)
        json.dumps(verdict.evidence, allow_nan=False)
        state = RolloutState.from_json(state.after(verdict).to_json())
        answers.append((offset, verdict))
        if verdict.action != "hold":
            break
    return answers


def test_a_lasting_gain_ends_the_holdback_and_is_called_durable() -> None:
    paired, arms = world(1, gain=0.02, days=40)
    offset, verdict = run(paired, held_back(paired, arms, 1))[-1]
    assert verdict.action == "inconclusive"
    assert offset == DAYS - 1 + 3
    assert "over without harm" in verdict.reasons[0]
    assert verdict.evidence["gain"]["is_durable"] is True
    assert verdict.evidence["gain"]["whole"]["low"] > 0
    assert verdict.evidence["primary"]["kind"] == "paired"


def test_a_gain_that_fades_is_not_called_durable() -> None:
    paired, arms = world(2, gain=0.03, days=40, day_sd=0.005)
    late = paired["departure_date"] >= START + timedelta(days=14)
    lost = np.where(late, paired["n_labelled"] * 0.031, 0.0)
    paired = paired.assign(
        sum_log_loss_challenger=paired["sum_log_loss_challenger"] + lost,
        sum_brier_challenger=paired["sum_brier_challenger"] + 0.3 * lost,
    )
    verdict = run(paired, held_back(paired, arms, 2))[-1][1]
    gain = verdict.evidence["gain"]
    assert gain["is_durable"] is False
    assert gain["change"]["high"] < 0


@pytest.mark.parametrize("has_pairs", [True, False])
def test_a_promoted_version_that_turns_bad_is_rolled_back(has_pairs: bool) -> None:
    paired, arms = world(3, gain=-0.08, days=40)
    answers = run(paired, held_back(paired, arms, 3), has_pairs=has_pairs)
    offset, verdict = answers[-1]
    assert verdict.action == "roll_back"
    assert offset < DAYS
    assert "worse" in verdict.reasons[0]
    assert (verdict.evidence["primary"]["kind"] == "paired") == has_pairs


def test_equal_versions_are_seldom_rolled_back() -> None:
    actions = []
    for seed in range(3):
        paired, arms = world(seed, days=40)
        actions.append(run(paired, held_back(paired, arms, seed))[-1][1].action)
    assert actions.count("roll_back") <= 1
    assert "inconclusive" in actions


def test_what_can_not_be_trusted_holds() -> None:
    paired, arms = world(1, gain=0.02, days=40)
    arms = held_back(paired, arms, 1)
    state = RolloutState.begin(EXPERIMENT, START, "holdback")
    day = START + timedelta(days=20)
    exposure = exposure_of(arms)
    bare = flights_loop()
    bare = bare.model_copy(update={"rollout": bare.rollout.model_copy(update={"holdback": None})})
    assert judge_holdback_day(bare, state, paired, arms, day, exposure=exposure).action == "hold"
    assert judge_holdback_day(loop(), state, paired, arms, day).action == "hold"
    wrong = arms.assign(n_wrong_version=np.where(arms["arm"] == "rest", 3, 0))
    assert judge_holdback_day(loop(), state, paired, wrong, day, exposure=exposure).action == "hold"
    once = state.after(judge_holdback_day(loop(), state, paired, arms, day, exposure=exposure))
    again = judge_holdback_day(loop(), once, paired, arms, day, exposure=exposure)
    assert "already recorded" in again.reasons[0]
