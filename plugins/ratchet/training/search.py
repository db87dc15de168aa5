"""A bounded, seeded search of parameters, on rows before the first evaluation window only.

Tree-structured Parzen estimators (Bergstra et al. 2011, NIPS) as Optuna has them. The first trial is always what
the loop file declares, so the search can only find something that did better on the folds. Folds are ordered by
time: each is judged on later days than it learnt from, with the embargo between. The same rows and seed give the
same trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ratchet.training.encode import Floats, Matrix
from ratchet.training.fit import fit_booster, predict_booster

if TYPE_CHECKING:
    from ratchet.loop import Loop

DIGITS = 4  # of a parameter: more would be noise
STARTUP = 3  # random trials before the estimators have something to go by
CLIP = 1e-6
Days = NDArray[np.datetime64]
Params = dict[str, float | int]


@dataclass(frozen=True)
class Searched:
    """The chosen parameters and every trial: its parameters, its loss in each fold, their mean."""

    params: Params
    trials: tuple[dict[str, Any], ...]
    rows: int

    @property
    def best(self) -> int:
        """Number of the chosen trial."""
        return min(range(len(self.trials)), key=lambda i: (self.trials[i]["loss"], i))

    def to_json(self) -> dict[str, Any]:
        """Plain types for a record."""
        return {
            "trials": [dict(trial) for trial in self.trials],
            "best": self.best,
            "loss": self.trials[self.best]["loss"],
            "declared_loss": self.trials[0]["loss"],
            "rows": self.rows,
        }


def search_params(
    matrix: Matrix,
    labels: Floats,
    days: Days,
    loop: Loop,
    *,
    nthread: int = 1,
    weights: Floats | None = None,
) -> Searched | None:
    """The parameters with the least mean loss over the folds; None when the loop file wants no search.

    `days` are the rows' departure dates, ascending; `weights` what they count in the fits (the folds' losses are
    plain means). The newest `max_rows` rows are used.

    Raises:
        ValueError: the rows cover too few days for the folds.
    """
    rules = loop.training.search
    if not rules.trials:
        return None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    start = max(0, len(labels) - rules.max_rows)
    matrix, labels, days = matrix[start:], labels[start:], days[start:]
    weights = None if weights is None else weights[start:]
    folds = folds_of(days, rules.folds, loop.training.embargo_days)
    declared: Params = dict(loop.training.params)
    sampler = optuna.samplers.TPESampler(seed=loop.training.seed % 2**32, n_startup_trials=STARTUP)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    is_inside = all(low <= declared.get(name, -1) <= high for name, (low, high) in rules.space.items())
    if is_inside:
        study.enqueue_trial({name: declared[name] for name in rules.space})
    table: list[dict[str, Any]] = []
    for number in range(rules.trials):
        # What is declared outside the space is tried first all the same, and teaches the search nothing.
        trial = study.ask() if number or is_inside else None
        params = declared
        if trial is not None and number:
            suggested = {name: _suggest(trial, name, low, high) for name, (low, high) in rules.space.items()}
            params = declared | suggested
        elif trial is not None:
            for name, (low, high) in rules.space.items():
                _suggest(trial, name, low, high)
        losses = [_fold_loss(matrix, labels, weights, fold, params, loop, nthread) for fold in folds]
        mean = round(float(np.mean(losses)), 9)
        if trial is not None:
            study.tell(trial, mean)
        table.append(
            {"number": number, "params": dict(sorted(params.items())), "folds": losses, "loss": mean}
        )
    found = Searched(declared, tuple(table), len(labels))
    return Searched(dict(table[found.best]["params"]), found.trials, found.rows)


def folds_of(days: Days, folds: int, embargo_days: int) -> list[tuple[slice, slice]]:
    """Rows to learn from and rows to judge, a pair a fold: the days are cut in folds + 1 equal spans.

    Each span after the first is judged once, by what was learnt from all days before it but the embargo's.

    Raises:
        ValueError: a span would have nothing to learn from or to judge.
    """
    first, last = days[0], days[-1]
    total = int((last - first).astype(int)) + 1
    cuts = [first + np.timedelta64(total * i // (folds + 1), "D") for i in range(folds + 2)]
    pairs = []
    for start, stop in pairwise(cuts[1:]):
        learnt = slice(0, int(np.searchsorted(days, start - np.timedelta64(embargo_days, "D"))))
        judged = slice(int(np.searchsorted(days, start)), int(np.searchsorted(days, stop)))
        if learnt.stop <= 0 or judged.stop <= judged.start:
            raise ValueError(
                f"{total} days are too few for {folds} folds with {embargo_days} days between; "
                "raise training.search.max_rows or lower folds"
            )
        pairs.append((learnt, judged))
    return pairs


def _suggest(trial: Any, name: str, low: float, high: float) -> float | int:
    if isinstance(low, int) and isinstance(high, int):
        return int(trial.suggest_int(name, low, high))
    return round(float(trial.suggest_float(name, low, high, log=True)), DIGITS)


def _fold_loss(
    matrix: Matrix,
    labels: Floats,
    weights: Floats | None,
    fold: tuple[slice, slice],
    params: Params,
    loop: Loop,
    nthread: int,
) -> float:
    learnt, judged = fold
    booster = fit_booster(
        matrix[learnt],
        labels[learnt],
        params,
        seed=loop.training.seed,
        feature_names=loop.features.columns,
        nthread=nthread,
        monotone=loop.gates.evaluation.mutations.monotone,
        weights=None if weights is None else weights[learnt],
    )
    scores = np.clip(predict_booster(booster, matrix[judged]), CLIP, 1 - CLIP)
    known = labels[judged]
    if loop.metrics.primary == "brier":
        return round(float(np.mean((known - scores) ** 2)), 9)
    return round(float(-np.mean(known * np.log(scores) + (1 - known) * np.log1p(-scores))), 9)
