"""The gates before anybody sees a candidate: whom they refuse that is no worse, and whom they let pass that is.

Simulated flights of simulated days: a day's shock moves all its labels, and each model errs by unit and by day. Gates
that look at a fit, at inputs or at probes are not asked: nothing is fitted here.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from functools import lru_cache, partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.judge_tables import Rows, demo, generator, simulation_error
from benchmarks.report import Figure
from ratchet.evaluation.facts import CandidateFacts
from ratchet.evaluation.gates import judge
from ratchet.evaluation.intervals import losses
from ratchet.evaluation.sums import Window, summarise

Floats = NDArray[np.float64]
FIRST, A_DAY, BASE = date(2013, 6, 1), 900, -1.4
SPREAD, DAY_SHOCK, DAY_ERROR, UNIT_ERROR = 0.9, 0.5, 0.1, 0.75
#: Names of the gates that follow from scores and labels alone; cohorts and dimensions have one each.
ASKED = (
    "beats_constant", "durable_gain", "no_simpler_model_is_better", "not_worse_than_champion",
    "gain_comes_from_new_data", "calibration", "cohort", "calibration_by_cohort", "errors_by_cohort", "fairness_gap",
    "objective",
)  # fmt: skip


def offline(runs: int) -> Rows:
    """Candidates that are equal, better by what is worth having, and worse by the champion's margin exactly."""
    loop, rows = demo(), []
    margin, worth = loop.gates.evaluation.champion_margin, loop.rollout.minimum_effect or 0.0
    some = max(60, runs // 25)
    for name, gap in (("equal", 0.0), (f"better by {worth:g}", -worth), (f"worse by {margin:g}", margin)):
        with ProcessPoolExecutor() as pool:
            refused = list(pool.map(partial(_refused, unit_error(gap), name), range(some), chunksize=4))
        share = 100 * sum(not gates for gates in refused) / some
        by_gate = {gate: 100 * sum(gate in gates for gates in refused) / some for gate in ASKED}
        note = ", ".join(f"{gate} {part:.0f} %" for gate, part in by_gate.items() if part) or "none refused"
        told = f"{some} evaluations; refused by: {note}"
        if gap > 0:
            error = loop.gates.evaluation.alpha
            limit = 100 * (error + simulation_error(error, some))
            missed = 100 - by_gate["not_worse_than_champion"]
            rows.append(Figure(f"offline gates, {name}: refused by one", 100 - share, "%", note=told))
            rows.append(
                Figure(
                    f"offline gates, {name}: may not be worse", missed, "%", limit, note=f"limit {error:.0%}"
                )
            )
        else:
            rows.append(Figure(f"offline gates, {name}: passed all", share, "%", note=told))
    return rows


@lru_cache
def unit_error(gap: float) -> float:
    """The error of a candidate by unit that makes its log loss larger by `gap` than the champion's, by halving."""
    labels, known, rng = _world(generator("calibrating"), 400)
    day, unit = _errors(rng, known.shape)
    champion = losses("log_loss", labels, _scores(known, day, unit, UNIT_ERROR)).mean()
    low, high = 0.0, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        loss = losses("log_loss", labels, _scores(known, day, unit, middle)).mean()
        low, high = (middle, high) if loss - champion < gap else (low, middle)
    return low


def _world(rng: np.random.Generator, days: int) -> tuple[Floats, Floats, np.random.Generator]:
    """Labels, what can be known of each flight (its log odds but for the day's shock): days x flights."""
    known = BASE + SPREAD * rng.normal(size=(days, A_DAY))
    odds = known + DAY_SHOCK * rng.normal(size=(days, 1))
    return (rng.random((days, A_DAY)) < 1 / (1 + np.exp(-odds))).astype(np.float64), known, rng


def _errors(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    return rng.normal(size=(shape[0], 1)), rng.normal(size=shape)


def _scores(known: Floats, day: Floats, unit: Floats, error: float) -> Floats:
    """A model that knows what can be known, but for its errors; shrunk as its fit would shrink it."""
    noisy = known + DAY_ERROR * day + error * unit
    # Of log odds seen with noise, the best guess lies nearer to the base: a fit knows that.
    trust = SPREAD**2 / (SPREAD**2 + error**2)
    guess = BASE + trust * (noisy - BASE)
    spread = DAY_SHOCK**2 + SPREAD**2 * (1 - trust)
    return 1 / (1 + np.exp(-guess / np.sqrt(1 + np.pi * spread / 8)))


def _refused(error: float, name: str, seed: int) -> list[str]:
    """The gates that refuse one candidate."""
    loop = demo()
    training, rng = loop.training, np.random.default_rng([20130101, seed, *name.encode()])
    carriers = loop.features.categorical["carrier"]
    weights = 1 / np.arange(1, len(carriers) + 1)
    windows = []
    for number in range(training.windows):
        start = FIRST + timedelta(days=training.holdout_days * number)
        labels, known, _ = _world(rng, training.holdout_days)
        by_model = {
            model: _scores(known, *_errors(rng, known.shape), own)
            for model, own in (("candidate", error), ("champion", UNIT_ERROR), ("without_new_rows", UNIT_ERROR),
                               ("logistic", 1.0))
        }  # fmt: skip
        days = [start + timedelta(days=k) for k in range(training.holdout_days)]
        frame = pd.DataFrame({"departure_date": np.repeat(days, A_DAY), "label": labels.ravel()})
        frame["origin"] = rng.choice(loop.features.categorical["origin"], len(frame))
        frame["carrier"] = rng.choice(carriers, len(frame), p=weights / weights.sum())
        scores = {model: own.ravel() for model, own in by_model.items()} | {
            "constant": np.full(len(frame), 0.25)
        }
        before = start - timedelta(days=training.embargo_days + 1)
        windows.append(
            Window(FIRST - timedelta(days=200), before, start, days[-1], training.min_rows, 0, frame, scores)
        )
    facts = CandidateFacts(
        train_start=FIRST - timedelta(days=200), train_end=windows[-1].train_end, eval_start=windows[-1].start,
        eval_end=windows[-1].end, champion_train_end=FIRST - timedelta(days=30), feature_columns=loop.features.columns,
        train_rows=training.min_rows, overlapping_units=0, model_bytes=400_000, latency_ms_per_1000=3.0,
        champion_rows_end=FIRST - timedelta(days=30), training_seconds=3.0, training_megabytes=400.0,
        champion_bytes=400_000, champion_latency_ms_per_1000=3.0,
    )  # fmt: skip
    answers = judge(loop, summarise(loop, windows), facts)
    asked = [answer for answer in answers.gates if answer.name.partition(":")[0] in ASKED]
    assert len(asked) > len(ASKED), "the gates were not asked"
    return sorted({answer.name.partition(":")[0] for answer in asked if answer.verdict != "pass"})
