"""What training costs beside a bare script, and judging beside scoring, on a million rows."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.clock import timed
from benchmarks.judge_tables import Rows, demo, generator
from benchmarks.report import Figure
from ratchet.evaluation.intervals import losses
from ratchet.evaluation.sums import Window, summarise
from ratchet.loop import Loop
from ratchet.monitoring.profile import feature_profiles, gains, reference_bins
from ratchet.registry.models import Registry
from ratchet.settings import Settings, load_settings
from ratchet.stages.snapshots import read_snapshot, training_query, write_snapshot
from ratchet.training.cost import measured
from ratchet.training.encode import feature_matrix, label_vector, tree_matrix
from ratchet.training.fit import fit_model, predict_scores
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse

ROWS, NUMBERS = 1_000_000, 28
TURNS = 3
FIRST = date(2013, 1, 1)
PARAMETERS: dict[str, float | int] = {"max_depth": 6, "eta": 0.1, "num_boost_round": 100}


def million() -> tuple[Loop, pd.DataFrame]:
    """A loop of 28 numbers and two categories, and a million labelled rows of a year for it."""
    loop = demo()
    numbers = tuple(f"number_{k}" for k in range(NUMBERS))
    categories = {"origin": tuple(f"o{k}" for k in range(10)), "carrier": tuple(f"c{k}" for k in range(10))}
    features = loop.features.model_copy(update={"numeric": numbers, "categorical": categories})
    rng = generator("million")
    values = rng.normal(size=(ROWS, NUMBERS)).astype(np.float32).astype(np.float64)
    risk = values[:, 0] + 0.5 * values[:, 1] * values[:, 2] + 0.3 * np.abs(values[:, 3]) - 1.5
    days = np.arange(ROWS) * 365 // ROWS
    departure = np.array([FIRST + timedelta(days=k) for k in range(365)])[days]
    at = pd.Timestamp(FIRST) + pd.to_timedelta(days, unit="D")
    frame = pd.DataFrame(values, columns=list(numbers))
    frame = frame.assign(
        loop=loop.loop,
        unit_id=[f"u{k:07d}" for k in range(ROWS)],
        departure_date=departure,
        predict_at=at,
        label=(rng.random(ROWS) < 1 / (1 + np.exp(-risk))).astype(np.int64),
        label_received_at=at + pd.Timedelta(days=1),
        **{name: np.array(values)[rng.integers(0, 10, ROWS)] for name, values in categories.items()},
    )
    return loop.model_copy(update={"features": features}), frame


AS_OF, WINDOW = datetime(2014, 6, 1), (FIRST, FIRST + timedelta(days=364))


@dataclass(frozen=True)
class Run:
    """A training or a bare script in a process of its own: what it cost, the fit's share of it, and the model."""

    seconds: float
    megabytes: float
    fit_seconds: float
    sha256: str


def bare(settings: Settings, loop: Loop, threads: int) -> Run:
    """XGBoost alone: a script that reads the rows from the warehouse as a matrix and fits."""
    import xgboost  # noqa: F401 - loaded, as it is in a task, before anything is measured

    fit: dict[str, float] = {}
    with measured() as cost:
        with open_warehouse(settings, purpose="bare", read_only=True) as wh:
            rows = wh.frame(*training_query(loop, WINDOW, AS_OF))
        matrix, labels = tree_matrix(rows, loop), label_vector(rows)
        with timed(fit, "fit"):
            model = fit_model(
                matrix, labels, PARAMETERS, seed=1, feature_names=loop.features.columns, nthread=threads
            )
    return Run(cost.seconds, cost.megabytes, fit["fit"], hashlib.sha256(model).hexdigest())


def whole(settings: Settings, loop: Loop, name: str) -> Run:
    """From the warehouse to the registry: what a training does around one fit."""
    import xgboost  # noqa: F401 - as above

    settings = replace(settings, home=settings.home / name)
    registry = Registry(settings)
    registry.aliases(loop.loop)  # the registry's own tables are made once
    fit: dict[str, float] = {}
    with measured() as cost:
        with open_warehouse(settings, purpose="snapshot", read_only=True) as wh:
            manifest = write_snapshot(settings, loop, wh, as_of=AS_OF, window=WINDOW)
        rows = read_snapshot(settings, loop, manifest)
        matrix, labels = tree_matrix(rows, loop), label_vector(rows)
        with timed(fit, "fit"):
            model = fit_model(
                matrix, labels, PARAMETERS, seed=1, feature_names=loop.features.columns, nthread=2
            )
        bins = reference_bins(rows, loop, 1)
        profiles = feature_profiles(rows, loop, 1, bins, gains(model))
        registry.register(
            loop=loop.loop, request="bench", model_json=model, inputs=loop.features.columns,
            documents={"profile": {"bins": _records(bins), "profiles": _records(profiles)}},
            params=PARAMETERS, metrics={"rows": len(rows)},
        )  # fmt: skip
    assert len(rows) == ROWS
    return Run(cost.seconds, cost.megabytes, fit["fit"], hashlib.sha256(model).hexdigest())


def _records(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")


def training(home: Path) -> Rows:
    """Snapshot, profile and registration beside a bare script, in turn; the same bytes on one thread and on two."""
    shutil.rmtree(home, ignore_errors=True)
    loop, frame = million()
    settings = replace(load_settings(), home=home, warehouse_path=home / "w.duckdb")
    with open_warehouse(settings, purpose="a million rows") as wh:
        ops.ensure(wh)
        wh.execute("create schema features")
        frame.to_parquet(home / "rows.parquet", index=False)
        wh.execute(
            f"create table features.trn_{loop.loop} as select * from read_parquet(?)",
            (str(home / "rows.parquet"),),
        )
    del frame
    alone, around = [], []
    for turn in range(TURNS):
        alone.append(_apart(bare, settings, loop, 2))
        around.append(_apart(whole, settings, loop, f"turn-{turn}"))
    single = _apart(bare, settings, loop, 1)
    shutil.rmtree(home, ignore_errors=True)
    least, most = (min(runs, key=lambda run: run.seconds) for runs in (alone, around))
    return [
        Figure("bare script, 1 million x 30", least.seconds, "s",
               note=f"reads the rows and fits, the fit {least.fit_seconds:.1f} s of it; the quickest of {TURNS}"),
        Figure("training / bare script", most.seconds / least.seconds, "times", 1.2,
               note=f"snapshot, its hash, its rows as the gate reads them, matrix, fit, profile, registration; "
                    f"the quickest of {TURNS}, in turn with the bare script"),
        Figure("training / its fit alone", most.seconds / most.fit_seconds, "times",
               note="beside a fit whose matrix lies in memory already"),
        Figure("memory of training / bare script", _peak(around) / _peak(alone), "times",
               note=f"largest of the process: {_peak(around):,.0f} MB and {_peak(alone):,.0f} MB"),
        Figure("different models of one recipe", len({run.sha256 for run in (*alone, *around, single)}), "", 1,
               note=f"{2 * TURNS} processes on two threads, half of them from a snapshot, and one on one thread"),
    ]  # fmt: skip


def _apart(run: Callable[..., Run], *arguments: Any) -> Run:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def _peak(runs: list[Run]) -> float:
    return max(run.megabytes for run in runs)


def judging() -> Rows:
    """Judging a challenger on a million rows with 20 cohorts, beside predicting and scoring them once."""
    loop, frame = million()
    matrix, labels = feature_matrix(frame, loop), label_vector(frame)
    part = slice(0, 100_000)
    models = [
        fit_model(
            matrix[part], labels[part], PARAMETERS, seed=seed, feature_names=loop.features.columns, nthread=2
        )
        for seed in (1, 2)
    ]
    started = time.perf_counter()
    scores = [predict_scores(model, matrix) for model in models]
    means = [losses(loop.metrics.primary, labels, score).mean() for score in scores]
    once = time.perf_counter() - started
    assert all(np.isfinite(means))
    window = Window(
        FIRST, FIRST, FIRST, FIRST + timedelta(days=364), 1, 0,
        frame[["departure_date", "label", *loop.cohorts.dimensions]],
        {"candidate": scores[0], "champion": scores[1], "constant": np.full(ROWS, labels.mean()),
         "logistic": scores[1]},
    )  # fmt: skip
    started = time.perf_counter()
    sums = summarise(loop, [window])
    more = time.perf_counter() - started
    assert not sums["windows"][0]["faults"], sums["windows"][0]["faults"]
    return [
        Figure("predicting and scoring 1 million rows, two models", once, "s"),
        Figure("with sums by day, cohort and bin / once", (once + more) / once, "times", 2.0,
               note="20 cohorts, four scorers"),
    ]  # fmt: skip
