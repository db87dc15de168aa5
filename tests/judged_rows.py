"""Evaluation rows, scores and probe answers made for the purpose: each test spoils one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.evaluation.facts import CandidateFacts, Evaluation
from ratchet.evaluation.gates import judge
from ratchet.evaluation.intervals import losses
from ratchet.evaluation.leak import leak_evidence
from ratchet.evaluation.probes import probe_evidence, probes_of
from ratchet.evaluation.sums import Window, day_sums, summarise
from ratchet.ledger.chain import canonical, plain
from ratchet.loop import Loop, load_loop
from ratchet.training.candidate import WHOLE


@lru_cache(maxsize=1)
def flights_loop() -> Loop:
    loop = load_loop(Path(__file__).parents[1] / "loops" / "flights.yml")
    training = loop.training.model_copy(
        update={
            "min_rows": 9000,
            "windows": 2,
            "min_windows": 1,
            "params": {**loop.training.params, "num_boost_round": 40, "eta": 0.2},
            "search": loop.training.search.model_copy(update={"trials": 0}),
        }
    )
    ablation = loop.gates.evaluation.ablation.model_copy(update={"max_rows": 6000})
    gates = loop.gates.model_copy(
        update={"evaluation": loop.gates.evaluation.model_copy(update={"ablation": ablation})}
    )
    return loop.model_copy(update={"training": training, "gates": gates})


def dated(frame: pd.DataFrame) -> pd.DataFrame:
    days = pd.to_datetime(frame["departure_date"])
    return frame.assign(
        predict_at=days + pd.Timedelta(hours=10), label_received_at=days + pd.Timedelta(hours=30)
    )


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
    champion_rows_end=date(2013, 2, 20),
    training_seconds=3.0,
    training_megabytes=400.0,
    champion_bytes=400_000,
    champion_latency_ms_per_1000=3.0,
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
    return dated(frame), truth


@lru_cache(maxsize=1)
def tried() -> dict[str, Any]:
    """Probe answers of a model that does as it should: the score rises with the rain alone."""
    frame, _ = rows()
    probes = probes_of(flights_loop(), frame)
    rain = probes.matrix[:, flights_loop().features.columns.index("precipitation_in")]
    scores = 1 / (1 + np.exp(-np.nan_to_num(rain) / 4))
    return probe_evidence(flights_loop(), probes, scores)


def evidence(frame: pd.DataFrame, truth: np.ndarray) -> dict[str, Any]:
    loop, ablation = flights_loop(), {}
    if {"label", "departure_date"} <= set(frame.columns) and len(frame) == len(truth):
        loss = losses("log_loss", frame["label"].to_numpy(float), truth)
        groups = loop.gates.evaluation.ablation.groups
        ablation = {
            "rows": 100,
            "seconds": dict.fromkeys((WHOLE, *groups), 0.1),
            "losses": {WHOLE: day_sums(frame, loss)} | {g: day_sums(frame, loss + 0.01) for g in groups},
        }
    return {
        "leak": leak_evidence(frame, loop.features.columns),
        "mutations": tried(),
        "ablation": ablation,
    }


def scores_of(**changes: np.ndarray | None) -> dict[str, np.ndarray | None]:
    """Scores with which every gate passes, and what is to be different."""
    own, truth = rows()
    return {
        "candidate": truth,
        "champion": np.clip(truth * 0.9 + 0.03, 0, 1),
        "constant": np.full(len(own), 0.25),
        "logistic": truth * 0.5 + 0.125,
        "without_new_rows": np.clip(truth * 0.9 + 0.03, 0, 1),
        **changes,
    }


def answers(
    frame: pd.DataFrame | None = None,
    facts: CandidateFacts = FACTS,
    loop: Loop | None = None,
    **scores: np.ndarray | None,
) -> Evaluation:
    """The gates' answers for one window of `frame`, with these scores in place of the good ones."""
    frame = rows()[0] if frame is None else frame
    return judge(loop or flights_loop(), sums_of(frame, facts, scores_of(**scores)), facts)


def sums_of(
    frame: pd.DataFrame, facts: CandidateFacts, scores: Mapping[str, np.ndarray | None]
) -> dict[str, Any]:
    window = Window(
        train_start=facts.train_start,
        train_end=facts.train_end,
        start=facts.eval_start,
        end=facts.eval_end,
        train_rows=facts.train_rows,
        overlapping_units=facts.overlapping_units,
        frame=frame,
        scores=scores,
    )
    found = summarise(flights_loop(), [window], evidence(frame, rows()[1]))
    return json.loads(canonical(plain(found)))


def refusals(evaluation: Evaluation) -> set[str]:
    assert (evaluation.verdict == "refuse") == bool(evaluation.refusals)
    json.dumps(evaluation.to_json(), allow_nan=False)
    return {gate.name for gate in evaluation.refusals}
