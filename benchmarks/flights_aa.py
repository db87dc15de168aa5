"""Two models of one recipe on the real year: what their days look like when neither is better.

The year lands, is built into features by the product's own models, and two fits that differ in nothing but the
seed and the rows they saw score the days after. Flipping the sign of whole days (or of runs of days, which keep
the weather's persistence) makes experiments without an effect out of real days.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.history import fill
from benchmarks.pieces import build
from ratchet.evaluation.intervals import losses
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.fit import fit_model, predict_scores
from ratchet.warehouse.connect import open_warehouse

TRAINED_UNTIL = date(2013, 4, 30)
JUDGED_FROM = date(2013, 5, 8)


def year_of_features(settings: Settings, loop: Loop, cache: Path) -> pd.DataFrame:
    """The labelled feature rows of the real year, one a flight; kept in `cache` for a second run."""
    known = set(pq.read_schema(cache).names) if cache.exists() else set()
    if not known >= set(loop.features.columns):
        fill(settings, loop, 1, lambda _: None)
        build(settings, loop, gate=False, tests=False)
        with open_warehouse(settings, purpose="the year's features", read_only=True) as wh:
            frame = wh.frame(f"select * from features.trn_{loop.loop} order by departure_date, unit_id")
        cache.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(cache, index=False)
    return pd.read_parquet(cache)


def paired_days(loop: Loop, frame: pd.DataFrame, threads: int) -> pd.DataFrame:
    """One row a departure day: n, sum of the loss difference of the two fits and its square over flights."""
    dates = pd.to_datetime(frame["departure_date"]).dt.date
    train = frame[dates <= TRAINED_UNTIL].reset_index(drop=True)
    judged = frame[dates >= JUDGED_FROM].reset_index(drop=True)
    scores = []
    matrix = feature_matrix(judged, loop)
    half = np.random.default_rng(7).random(len(train)) < 0.5
    for part in (half, ~half):
        rows = train[part].reset_index(drop=True)
        model = fit_model(
            feature_matrix(rows, loop),
            label_vector(rows),
            loop.training.params,
            seed=loop.training.seed,
            feature_names=loop.features.columns,
            nthread=threads,
        )
        scores.append(predict_scores(model, matrix))
    labels = label_vector(judged)
    difference = losses("log_loss", labels, scores[0]) - losses("log_loss", labels, scores[1])
    table = pd.DataFrame(
        {
            "day": pd.to_datetime(judged["departure_date"]).dt.date,
            "n": 1.0,
            "gain": difference,
            "square": difference**2,
        }
    )
    return table.groupby("day", as_index=False).sum().sort_values("day", ignore_index=True)


def flipped(
    rng: np.random.Generator, days: pd.DataFrame, horizon: int, block: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """One experiment without an effect: `horizon` days in a row, the sign of each run of `block` days by a coin."""
    first = int(rng.integers(0, len(days) - horizon + 1))
    part = days.iloc[first : first + horizon]
    signs = np.repeat(rng.choice([-1.0, 1.0], size=-(-horizon // block)), block)[:horizon]
    return (
        part["gain"].to_numpy() * signs,
        part["square"].to_numpy(),
        part["n"].to_numpy(),
    )
