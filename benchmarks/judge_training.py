"""What training costs beside the bare fit, and judging beside scoring, on a million rows."""

from __future__ import annotations

import hashlib
import shutil
import time
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.judge_tables import Rows, demo, generator
from benchmarks.report import Figure
from ratchet.evaluation.intervals import losses
from ratchet.evaluation.sums import Window, summarise
from ratchet.loop import Loop
from ratchet.monitoring.profile import reference_bins
from ratchet.registry.models import Registry
from ratchet.settings import Settings, load_settings
from ratchet.stages.snapshots import read_snapshot, write_snapshot
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.fit import fit_model, predict_scores
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse

ROWS, NUMBERS = 1_000_000, 28
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


def training(home: Path) -> Rows:
    """Snapshot, profile and registration beside the bare fit; the same bytes on one thread and on two."""
    shutil.rmtree(home, ignore_errors=True)
    loop, frame = million()
    base = load_settings()
    settings = Settings(**{**base.__dict__, "home": home, "warehouse_path": home / "w.duckdb"})
    with open_warehouse(settings, purpose="a million rows") as wh:
        ops.ensure(wh)
        wh.execute("create schema features")
        frame.to_parquet(home / "rows.parquet", index=False)
        wh.execute(
            f"create table features.trn_{loop.loop} as select * from read_parquet(?)",
            (str(home / "rows.parquet"),),
        )
    matrix, labels = feature_matrix(frame, loop), label_vector(frame)

    def bare(threads: int) -> bytes:
        return fit_model(
            matrix, labels, PARAMETERS, seed=1, feature_names=loop.features.columns, nthread=threads
        )

    registry = Registry(settings)
    registry.aliases(loop.loop)  # the registry's own tables are made once
    took = {}
    started = time.perf_counter()
    model = bare(2)
    took["bare"] = time.perf_counter() - started
    started = time.perf_counter()
    with open_warehouse(settings, purpose="snapshot", read_only=True) as wh:
        manifest = write_snapshot(
            settings, loop, wh, as_of=datetime(2014, 6, 1), window=(FIRST, FIRST + timedelta(days=364))
        )
    rows = read_snapshot(settings, loop, manifest)
    read, told = feature_matrix(rows, loop), label_vector(rows)
    fitted = fit_model(read, told, PARAMETERS, seed=1, feature_names=loop.features.columns, nthread=2)
    profile = reference_bins(rows, loop, 1, read)
    registry.register(
        loop=loop.loop, request="bench", model_json=fitted, inputs=loop.features.columns,
        documents={"profile": profile.astype(object).where(profile.notna(), None).to_dict("records")},
        params=PARAMETERS, metrics={},
    )  # fmt: skip
    took["whole"] = time.perf_counter() - started
    hashes = {hashlib.sha256(each).hexdigest() for each in (model, fitted, bare(1))}
    shutil.rmtree(home, ignore_errors=True)
    return [
        Figure("bare fit, 1 million x 30", took["bare"], "s"),
        Figure("training / bare fit", took["whole"] / took["bare"], "times", 1.2,
               note="snapshot, its hash, profile, registration and the fit"),
        Figure("different models of one recipe", len(hashes), "", 1, note="repeated, from the snapshot, on one thread"),
    ]  # fmt: skip


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
