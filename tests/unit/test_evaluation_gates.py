"""The gates of a candidate: an honest one passes, each planted fault is refused by its own gate."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.judged_rows import FACTS, answers, dated, flights_loop, refusals, rows

from ratchet.evaluation.gates import judge_recorded
from ratchet.evaluation.intervals import auc, losses
from ratchet.evaluation.leak import single_feature_aucs
from ratchet.ledger.chain import canonical, plain
from ratchet.scoring.child import Pair, Scored
from ratchet.stages import judging
from ratchet.stages.drill import one_window, planted_candidate
from ratchet.stages.judging import Champion, judge_frame
from ratchet.training.candidate import make_candidate
from ratchet.training.fit import predict_scores
from ratchet.training.plants import KINDS, plant

START = date(2013, 1, 1)
CARRIERS = {"AA": 0.24, "B6": 0.24, "DL": 0.24, "EV": 0.22, "WN": 0.045, "HA": 0.015}


@pytest.fixture(autouse=True, scope="module")
def no_child() -> Iterator[None]:
    """The same scores without a process for each candidate."""

    def here(
        models: Mapping[str, bytes], matrices: Mapping[str, Any], pairs: Sequence[Pair], **_: Any
    ) -> dict[Pair, Scored]:
        return {
            (model, name): Scored(predict_scores(models[model], matrices[name]), 0.01)
            for model, name in pairs
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "score_pairs", here)
        yield


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
    return dated(frame)


@lru_cache(maxsize=1)
def champion() -> Champion:
    loop, old = flights_loop(), snapshot()[snapshot()["departure_date"] < START + timedelta(days=46)]
    made = make_candidate(loop, old, champion_rows_end=None)
    found = judge_frame(loop, old, made, None)
    assert found["verdict"] == "pass", found["reasons"]
    train_end = date.fromisoformat(found["facts"]["train_end"])
    return Champion(1, made.serving, train_end, START + timedelta(days=38))


@lru_cache(maxsize=1)
def honest() -> dict[str, Any]:
    loop = flights_loop()
    made = make_candidate(loop, snapshot(), champion_rows_end=champion().rows_end)
    return judge_frame(loop, snapshot(), made, champion())


def refused_by(found: Mapping[str, Any]) -> set[str]:
    return {gate["name"] for gate in found["gates"] if gate["verdict"] == "refuse"}


def test_an_honest_candidate_passes_every_gate() -> None:
    found = honest()
    assert found["verdict"] == "pass", found["reasons"]
    gates = {gate["name"]: gate for gate in found["gates"]}
    assert {
        "gates_configured", "training_window_stale", "window_overlap", "feature_contract", "latency", "size",
        "training_time", "training_memory", "finite_scores", "beats_constant", "durable_gain",
        "no_simpler_model_is_better", "not_worse_than_champion", "gain_comes_from_new_data", "calibration",
        "cohort:origin=EWR", "cohort:carrier=WN", "cohort:carrier=other", "calibration_by_cohort",
        "errors_by_cohort", "fairness_gap:origin", "objective", "leak_single_feature", "leak_target",
        "leak_future_column", "stability", "mutation_invariant", "mutation_monotone", "mutation_missing",
        "mutation_unseen_category", "feature_ablation",
    } <= set(gates)  # fmt: skip
    pool = gates["cohort:carrier=other"]
    assert pool["reason"].startswith("not enough evidence")
    assert pool["evidence"]["pooled"] == ["HA"]
    assert len(gates["durable_gain"]["evidence"]["windows"]) == 2
    assert gates["gain_comes_from_new_data"]["evidence"]["clusters"] == 14
    assert "schedule +" in gates["feature_ablation"]["reason"]


def test_the_record_gives_the_verdict_again_to_the_bit() -> None:
    record = json.loads(canonical(plain(honest())))
    again = json.loads(canonical(plain(judge_recorded(record).to_json())))
    assert len(again["gates"]) > 30
    assert canonical(again) == canonical({name: record[name] for name in again})
    assert len(canonical(record)) < 300_000


@pytest.mark.parametrize("kind", KINDS)
def test_each_planted_candidate_is_refused_by_its_gate(kind) -> None:
    loop = one_window(flights_loop())
    planted = plant(kind, snapshot(), loop, seed=3)
    last = START + timedelta(days=59)
    bad = planted_candidate(loop, planted, _made(), last, 1)
    found = judge_frame(loop, planted.frame, bad, champion(), last)
    assert found["verdict"] == "refuse"
    refused = refused_by(found)
    assert planted.expected_gate in refused
    if kind == "cohort_harm":
        assert planted.expected_gate == "cohort:carrier=WN"
        assert not refused & {"beats_constant", "no_simpler_model_is_better", "calibration"}
        assert {name for name in refused if name.startswith("cohort:carrier")} == {planted.expected_gate}


@lru_cache(maxsize=1)
def _made() -> Any:
    return make_candidate(one_window(flights_loop()), snapshot(), champion_rows_end=champion().rows_end)


def test_a_plant_repeats_and_leaves_its_source_alone() -> None:
    before = snapshot().copy()
    one, two = (plant("shuffled", snapshot(), flights_loop(), seed=3) for _ in range(2))
    assert one.frame.equals(two.frame)
    assert snapshot().equals(before)
    with pytest.raises(ValueError, match="unknown plant"):
        plant("sleepy", snapshot(), flights_loop(), seed=3)  # type: ignore[arg-type]


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
        ({"training_seconds": 900.0}, "training_time"),
        ({"training_seconds": math.nan}, "training_time"),
        ({"training_megabytes": 90_000.0}, "training_memory"),
        ({"training_megabytes": math.nan}, "training_memory"),
        ({"champion_rows_end": date(2013, 3, 4)}, "window_overlap"),
        ({"champion_rows_end": None}, "gain_comes_from_new_data"),
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
    frame, _ = rows()
    for damaged in (
        frame.iloc[:0],
        frame.assign(label=np.nan),
        frame.assign(label=0),
        frame.drop(columns="label"),
        frame.assign(departure_date=FACTS.eval_start),
    ):
        assert "finite_scores" in refusals(answers(damaged)), damaged.shape
    assert "leak_single_feature" in refusals(answers(frame.drop(columns="departure_hour")))
    assert "cohorts" in refusals(answers(frame.drop(columns="carrier")))


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
    first = replace(FACTS, champion_train_end=None, champion_rows_end=None)
    assert refusals(answers(champion=None, facts=first)) == set()
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
