"""The gates of a candidate: an honest one passes, each planted fault is refused by its own gate."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.evaluation.facts import CandidateFacts, Evaluation
from ratchet.evaluation.gates import judge_candidate
from ratchet.evaluation.intervals import auc, losses
from ratchet.evaluation.leak import single_feature_aucs
from ratchet.loop import Loop, load_loop
from ratchet.training.baselines import constant_rate, fit_logistic
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.fit import fit_model, predict_scores
from ratchet.training.plants import KINDS, plant
from ratchet.training.recipe import time_split

START = date(2013, 1, 1)
CARRIERS = {"AA": 0.24, "B6": 0.24, "DL": 0.24, "EV": 0.22, "WN": 0.045, "HA": 0.015}


@lru_cache(maxsize=1)
def flights_loop() -> Loop:
    loop = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")
    return loop.model_copy(
        update={
            "training": loop.training.model_copy(
                update={
                    "min_rows": 9000,
                    "params": {**loop.training.params, "num_boost_round": 40, "eta": 0.2},
                }
            )
        }
    )


@lru_cache(maxsize=1)
def snapshot() -> pd.DataFrame:
    """60 days of 600 flights whose lateness hangs on two features not linearly, and on the day."""
    loop, rng = flights_loop(), np.random.default_rng(8)
    days, per_day = 60, 600
    n = days * per_day
    frame = pd.DataFrame({name: rng.normal(size=n) for name in loop.features.numeric})
    frame["origin"] = rng.choice(["EWR", "JFK", "LGA"], n)
    frame["carrier"] = rng.choice(list(CARRIERS), n, p=list(CARRIERS.values()))
    frame["departure_date"] = [START + timedelta(days=i // per_day) for i in range(n)]
    frame["unit_id"] = [f"u{i:06d}" for i in range(n)]
    day = np.repeat(rng.normal(0, 0.4, days), per_day)
    logit = -1.2 + 2.0 * np.abs(frame["departure_hour"]) * np.sign(frame["precipitation_in"]) + day
    frame["label"] = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return frame


def judged(
    frame: pd.DataFrame, champion: bytes | None, champion_end: date | None
) -> tuple[bytes, Evaluation]:
    loop = flights_loop()
    split = time_split(frame, loop)
    matrix, labels = feature_matrix(split.train, loop), label_vector(split.train)
    holdout = feature_matrix(split.holdout, loop)
    model = fit_model(matrix, labels, loop.training.params, seed=1, feature_names=loop.features.columns)
    scores = {
        "candidate": predict_scores(model, holdout),
        "champion": predict_scores(champion, holdout) if champion else None,
        "constant": np.full(len(holdout), constant_rate(labels)),
        "logistic": fit_logistic(matrix, labels, loop).predict(holdout),
    }
    facts = CandidateFacts(
        train_start=split.train_start,
        train_end=split.train_end,
        eval_start=split.holdout_start,
        eval_end=split.holdout_end,
        champion_train_end=champion_end,
        feature_columns=loop.features.columns,
        train_rows=len(split.train),
        overlapping_units=len(set(split.train["unit_id"]) & set(split.holdout["unit_id"])),
        model_bytes=len(model),
        latency_ms_per_1000=3.0,
    )
    return model, judge_candidate(loop, split.holdout, scores, split.holdout[["origin", "carrier"]], facts)


@lru_cache(maxsize=1)
def champion() -> tuple[bytes, date]:
    frame = snapshot()
    old = frame[frame["departure_date"] < START + timedelta(days=50)]
    model, evaluation = judged(old, None, None)
    assert evaluation.verdict == "pass", [gate.reason for gate in evaluation.refusals]
    return model, time_split(old, flights_loop()).train_end


def test_an_honest_candidate_passes_every_gate() -> None:
    _, evaluation = judged(snapshot(), *champion())
    assert evaluation.verdict == "pass", [gate.reason for gate in evaluation.refusals]
    names = {gate.name for gate in evaluation.gates}
    assert {
        "gates_configured", "training_window_stale", "window_overlap", "feature_contract", "latency", "size",
        "finite_scores", "beats_constant", "no_simpler_model_is_better", "not_worse_than_champion",
        "calibration", "leak_single_feature", "cohort:origin=EWR", "cohort:carrier=WN", "cohort:carrier=other",
    } <= names  # fmt: skip
    json.dumps(evaluation.to_json(), allow_nan=False)
    pool = next(gate for gate in evaluation.gates if gate.name == "cohort:carrier=other")
    assert pool.reason.startswith("not enough evidence")
    assert pool.evidence["pooled"] == ["HA"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_planted_candidate_is_refused_by_its_gate(kind) -> None:
    planted = plant(kind, snapshot(), flights_loop(), seed=3)
    _, evaluation = judged(planted.frame, *champion())
    assert evaluation.verdict == "refuse"
    refused = {gate.name for gate in evaluation.refusals}
    assert planted.expected_gate in refused
    if kind == "cohort_harm":
        assert planted.expected_gate == "cohort:carrier=WN"
        assert not refused & {"beats_constant", "no_simpler_model_is_better", "calibration"}
        assert {name for name in refused if name.startswith("cohort:carrier")} == {planted.expected_gate}


def test_a_plant_repeats_and_leaves_its_source_alone() -> None:
    before = snapshot().copy()
    one, two = (plant("shuffled", snapshot(), flights_loop(), seed=3) for _ in range(2))
    assert one.frame.equals(two.frame)
    assert snapshot().equals(before)
    with pytest.raises(ValueError, match="unknown plant"):
        plant("sleepy", snapshot(), flights_loop(), seed=3)  # type: ignore[arg-type]


# The gates one by one, on scores made for the purpose.

FACTS = CandidateFacts(
    train_start=date(2013, 1, 1),
    train_end=date(2013, 2, 28),
    eval_start=date(2013, 3, 4),
    eval_end=date(2013, 3, 17),
    champion_train_end=date(2013, 2, 7),
    feature_columns=flights_loop().features.columns,
    train_rows=50_000,
    overlapping_units=0,
    model_bytes=400_000,
    latency_ms_per_1000=3.0,
)


@lru_cache(maxsize=1)
def rows() -> tuple[pd.DataFrame, np.ndarray]:
    loop, rng = flights_loop(), np.random.default_rng(4)
    n = 14 * 400
    frame = pd.DataFrame({name: rng.normal(size=n) for name in loop.features.numeric})
    frame["origin"] = rng.choice(["EWR", "JFK", "LGA"], n)
    frame["carrier"] = rng.choice(["AA", "B6", "DL"], n)
    frame["departure_date"] = [FACTS.eval_start + timedelta(days=i // 400) for i in range(n)]
    truth = rng.beta(1, 3, n)
    frame["label"] = (rng.random(n) < truth).astype(int)
    return frame, truth


def answers(frame: pd.DataFrame | None = None, facts: CandidateFacts = FACTS, loop: Loop | None = None,
            **scores: np.ndarray | None) -> Evaluation:  # fmt: skip
    own, truth = rows()
    frame = own if frame is None else frame
    given: dict[str, np.ndarray | None] = {
        "candidate": truth,
        "champion": np.clip(truth * 0.9 + 0.03, 0, 1),
        "constant": np.full(len(own), 0.25),
        "logistic": truth * 0.5 + 0.125,
    }
    return judge_candidate(
        loop or flights_loop(),
        frame,
        {**given, **scores},
        frame.reindex(columns=["origin", "carrier"]),
        facts,
    )


def refusals(evaluation: Evaluation) -> set[str]:
    assert (evaluation.verdict == "refuse") == bool(evaluation.refusals)
    json.dumps(evaluation.to_json(), allow_nan=False)
    return {gate.name for gate in evaluation.refusals}


def test_the_base_case_passes() -> None:
    assert refusals(answers()) == set()


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"train_end": date(2013, 2, 6)}, "training_window_stale"),
        ({"train_end": date(2013, 3, 1)}, "window_overlap"),
        ({"train_end": date(2013, 3, 10)}, "window_overlap"),
        ({"eval_start": date(2013, 3, 6)}, "window_overlap"),
        ({"eval_end": date(2013, 3, 10)}, "window_overlap"),
        ({"overlapping_units": 1}, "window_overlap"),
        ({"train_rows": 0}, "window_overlap"),
        ({"feature_columns": (*FACTS.feature_columns, "dep_delay")}, "feature_contract"),
        ({"feature_columns": (*FACTS.feature_columns, "horoscope")}, "feature_contract"),
        ({"feature_columns": FACTS.feature_columns[1:]}, "feature_contract"),
        ({"feature_columns": FACTS.feature_columns[::-1]}, "feature_contract"),
        ({"latency_ms_per_1000": 900.0}, "latency"),
        ({"latency_ms_per_1000": math.nan}, "latency"),
        ({"latency_ms_per_1000": 0.0}, "latency"),
        ({"model_bytes": 30_000_000}, "size"),
        ({"model_bytes": 0}, "size"),
    ],
)
def test_facts_that_refuse(change, gate: str) -> None:
    assert gate in refusals(answers(facts=replace(FACTS, **change)))


def test_scores_that_refuse() -> None:
    frame, truth = rows()
    assert "not_worse_than_champion" in refusals(
        answers(champion=truth, candidate=np.clip(truth + 0.1, 0, 1))
    )
    assert "beats_constant" in refusals(answers(candidate=np.clip(0.9 - truth, 0.01, 0.99)))
    assert "no_simpler_model_is_better" in refusals(answers(logistic=np.where(frame["label"] == 1, 0.8, 0.1)))
    assert "calibration" in refusals(answers(candidate=np.clip(truth * 0.7 + 0.28, 0, 1)))


@pytest.mark.parametrize("name", ["candidate", "champion", "constant", "logistic"])
@pytest.mark.parametrize("damage", ["absent", "nan", "short", "above one", "below zero"])
def test_unusable_scores_close_every_gate_that_needs_them(name: str, damage: str) -> None:
    value = rows()[1].copy()
    if damage == "short":
        value = value[:-1]
    elif damage != "absent":
        value[3] = {"nan": math.nan, "above one": 1.2, "below zero": -0.1}[damage]
    refused = refusals(answers(**{name: None if damage == "absent" else value}))
    assert {
        "finite_scores",
        "beats_constant",
        "not_worse_than_champion",
        "cohorts",
        "leak_single_feature",
    } <= refused


def test_a_constant_candidate_is_refused() -> None:
    assert "finite_scores" in refusals(answers(candidate=np.full(len(rows()[0]), 0.25)))


def test_unusable_rows_are_refused() -> None:
    frame, truth = rows()
    for damaged in (
        frame.iloc[:0],
        frame.assign(label=np.nan),
        frame.assign(label=0),
        frame.drop(columns="label"),
        frame.assign(departure_date=FACTS.eval_start),
    ):
        assert "finite_scores" in refusals(answers(damaged)), damaged.shape
    assert "leak_single_feature" in refusals(answers(frame.drop(columns="departure_hour")))
    assert "cohorts" in refusals(
        judge_candidate(
            flights_loop(), frame,
            {"candidate": truth, "champion": truth, "constant": truth, "logistic": truth},
            frame[["origin"]], FACTS,
        )
    )  # fmt: skip


def test_a_harmed_cohort_is_refused_by_name_and_chance_is_not() -> None:
    frame, truth = rows()
    harmed = np.where(frame["carrier"] == "DL", np.clip(truth + 0.25, 0, 0.99), truth)
    assert "cohort:carrier=DL" in refusals(answers(candidate=harmed))
    noisy = np.clip(truth + np.random.default_rng(1).normal(0, 0.01, len(truth)), 0.001, 0.999)
    assert not {name for name in refusals(answers(candidate=noisy)) if name.startswith("cohort")}


def test_a_dimension_without_evidence_is_refused() -> None:
    frame, _ = rows()
    tiny = flights_loop().model_copy(
        update={"cohorts": flights_loop().cohorts.model_copy(update={"min_units": 10**6})}
    )
    evaluation = answers(loop=tiny)
    assert {"cohort:origin", "cohort:carrier"} <= refusals(evaluation)
    assert len(frame) < 10**6


def test_without_limits_nothing_passes() -> None:
    limits = flights_loop().gates.evaluation.model_copy(update={"champion_margin": math.nan})
    loop = flights_loop().model_copy(
        update={"gates": flights_loop().gates.model_copy(update={"evaluation": limits})}
    )
    assert "gates_configured" in refusals(answers(loop=loop))


def test_the_first_model_is_judged_without_a_champion_but_not_with_half_of_one() -> None:
    assert refusals(answers(champion=None, facts=replace(FACTS, champion_train_end=None))) == set()
    assert "finite_scores" in refusals(answers(champion=None))
    assert "finite_scores" in refusals(answers(facts=replace(FACTS, champion_train_end=None)))


def test_losses_and_auc() -> None:
    labels, scores = np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.5])
    assert losses("log_loss", labels, scores) == pytest.approx([1e-6, -math.log(1e-6), math.log(2)], rel=1e-4)
    assert losses("brier", labels, scores).tolist() == [0.0, 1.0, 0.25]
    with pytest.raises(ValueError, match="unknown metric"):
        losses("accuracy", labels, scores)
    assert auc(np.array([0.0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert math.isnan(auc(np.ones(3), scores))


def test_a_leak_shows_in_values_in_reverse_in_gaps_and_in_categories() -> None:
    labels = np.random.default_rng(1).integers(0, 2, 500).astype(float)
    frame = pd.DataFrame(
        {
            "told": labels + 0.001,
            "reversed": -labels,
            "gaps": np.where(labels == 1, np.nan, 3.0),
            "category": np.where(labels == 1, "a", "b"),
            "honest": np.random.default_rng(2).normal(size=500),
            "empty": np.nan,
        }
    )
    found = single_feature_aucs(frame, labels, list(frame.columns))
    assert [found[name] for name in ("told", "reversed", "gaps", "category")] == [1.0] * 4
    assert found["honest"] < 0.6
    assert found["empty"] == 0.5
