"""A candidate: the recipe fitted for each evaluation window and on all rows, and what it is compared with.

Everything here is seeded and byte-identical when repeated; only what it cost is measured.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ratchet.training.baselines import LogisticModel, constant_rate, fit_logistic
from ratchet.training.cost import measured
from ratchet.training.encode import Floats, Matrix, feature_matrix, label_vector, tree_matrix
from ratchet.training.fit import fit_model
from ratchet.training.recipe import Split, ordered, rolling_splits
from ratchet.training.search import Params, Searched, search_params
from ratchet.training.weights import LABELS, WEIGHTS, claimed, row_weights, training_weights

if TYPE_CHECKING:
    from ratchet.loop import Loop

WHOLE = "all_features"


@dataclass(frozen=True)
class Ablation:
    """Small models by what they were fitted without (`all_features`: nothing), their seconds, and their rows.

    Without: a group of features, or what feedback adds to rows. `absent`: what could not be left out, and why.
    """

    models: Mapping[str, bytes]
    seconds: Mapping[str, float]
    rows: int
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """Models as JSON bytes. `judged` has one a window, oldest first, `constants` the base rate before each.

    `logistic` was fitted before the newest window, `old_rows` is the recipe on the rows that the champion knew
    (None when there is no champion, or no newer row), `serving` the recipe on all rows. `seconds` is the time
    of that last fit; `cpu_seconds` is what all of it cost, search and ablation too, and `megabytes` the process's
    largest memory in it.
    """

    params: Params
    searched: Searched | None
    judged: tuple[bytes, ...]
    constants: tuple[float, ...]
    logistic: LogisticModel
    serving: bytes
    old_rows: bytes | None
    ablation: Ablation
    seconds: float
    megabytes: float
    cpu_seconds: float


def make_candidate(
    loop: Loop,
    frame: pd.DataFrame,
    last: date | None = None,
    *,
    champion_rows_end: date | None,
    nthread: int = 1,
    monotone: Mapping[str, str] | None = None,
) -> Candidate:
    """Search parameters before the first window, fit for every window, without new rows, and on all rows.

    `last` is the newest window's last day, `champion_rows_end` the last day among the rows that the serving
    champion was fitted on. `monotone` overrides the directions that the loop file declares.

    Raises:
        TooLittleData: the rows can't be split.
        ValueError: a feature or a label is unusable, or the parameters are.
    """
    ways = loop.gates.evaluation.mutations.monotone if monotone is None else monotone
    with measured() as cost:
        rows = ordered(frame, loop)
        splits = rolling_splits(frame, loop, last)
        matrix, labels = tree_matrix(rows, loop), label_vector(rows)
        days = rows["departure_date"].to_numpy().astype("datetime64[D]")
        weights, happened = training_weights(rows, loop), ~claimed(rows)
        first = len(splits[0].train)
        judges = np.flatnonzero(happened[:first])
        searched = search_params(
            matrix[judges],
            labels[judges],
            days[judges],
            loop,
            nthread=nthread,
            weights=None if weights is None else weights[judges],
        )
        params = dict(loop.training.params) if searched is None else searched.params

        def fit(count: int) -> bytes:
            return fit_model(
                matrix[:count],
                labels[:count],
                params,
                seed=loop.training.seed,
                feature_names=loop.features.columns,
                nthread=nthread,
                monotone=ways,
                weights=None if weights is None else weights[:count],
            )

        counts = [len(split.train) for split in splits]
        judged = tuple(fit(count) for count in counts)
        newest = counts[-1]
        old = _rows_known(days, champion_rows_end, splits[-1])
        old_rows = fit(old) if old else None
        ablation = _ablate(loop, rows.iloc[:newest], matrix[:newest], labels[:newest], params, nthread, ways)
        started = time.perf_counter()
        serving = fit(len(rows))
        seconds = time.perf_counter() - started
    return Candidate(
        params=params,
        searched=searched,
        judged=judged,
        constants=tuple(constant_rate(labels[:count][happened[:count]]) for count in counts),
        logistic=_logistic(rows.iloc[:newest], labels[:newest], happened[:newest], loop),
        serving=serving,
        old_rows=old_rows,
        ablation=ablation,
        seconds=seconds,
        megabytes=cost.megabytes,
        cpu_seconds=cost.cpu_seconds,
    )


def _rows_known(days: np.ndarray, champion_rows_end: date | None, newest: Split) -> int:
    """How many rows the champion knew; 0 when it knew as many as the candidate, or there is none."""
    if champion_rows_end is None or newest.train_end <= champion_rows_end:
        return 0
    return int(np.searchsorted(days, np.datetime64(champion_rows_end), side="right"))


def _logistic(rows: pd.DataFrame, labels: Floats, happened: np.ndarray, loop: Loop) -> LogisticModel:
    """The baseline, from outcomes alone: it is what a model without feedback would be."""
    if not happened.all():
        rows, labels = rows[happened], labels[happened]
    return fit_logistic(feature_matrix(rows, loop), labels, loop)


def _ablate(
    loop: Loop,
    rows: pd.DataFrame,
    matrix: Matrix,
    labels: Floats,
    params: Params,
    nthread: int,
    ways: Mapping[str, str],
) -> Ablation:
    """The recipe on the newest rows with all features, with each group's columns empty, and without what feedback
    adds to rows."""
    rules, names = loop.gates.evaluation.ablation, list(loop.features.columns)
    start = max(0, len(labels) - rules.max_rows)
    rows, matrix, labels = rows.iloc[start:], matrix[start:], labels[start:]
    learn, absent = loop.feedback.learn, {}
    added: dict[str, tuple[str, ...]] = {}
    if learn.weights is not None:
        added[WEIGHTS] = ()
        if (row_weights(rows, loop) == 1).all():
            absent[WEIGHTS] = f"{learn.weights.feature} is 0 or missing in each of the {len(rows)} rows"
    if learn.labels is not None:
        added[LABELS] = ()
        if not claimed(rows).any():
            absent[LABELS] = f"none of the {len(rows)} rows has its label from feedback"
    models, seconds = {}, {}
    for group, columns in {WHOLE: (), **rules.groups, **added}.items():
        if group in absent:
            continue
        taken = matrix
        if columns:
            taken = matrix.copy()
            taken[:, [names.index(name) for name in columns]] = np.nan
        started = time.perf_counter()
        models[group] = fit_model(
            taken,
            labels,
            params,
            seed=loop.training.seed,
            feature_names=names,
            nthread=nthread,
            monotone=ways,
            weights=training_weights(rows, loop, without=group),
        )
        seconds[group] = round(time.perf_counter() - started, 4)
    return Ablation(models, seconds, len(labels), absent)
