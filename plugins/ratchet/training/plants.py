"""Bad candidates for the gate drill, each with the gate that must refuse it.

A plant changes a copy of an honest snapshot; training and evaluation then run on it as on any other.
- shuffled: the training labels are permuted, so nothing was learned;
- stale: only the earliest training days are left, so it is older than what it would replace;
- leaking: an agreed feature carries the outcome (its name is innocent, so only its strength betrays it);
- overlapping: units that it is judged on are among its training rows, under earlier dates;
- backwards: a feature with a declared direction is mirrored in the training rows, and the direction is not built in;
- gappy: whatever has no numbers is late in training, so a row with missing values is scored as certain;
- cohort_harm: most labels of the smallest judged cohort are inverted in training: the average still
  beats both baselines, that cohort pays for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from ratchet.training.recipe import Split, time_split

if TYPE_CHECKING:
    from ratchet.loop import Loop

Kind = Literal["shuffled", "stale", "leaking", "cohort_harm", "overlapping", "backwards", "gappy"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LEAK_NOISE = 0.05
INVERTED_SHARE = 0.7
OVERLAPPING = 50  # units
EMPTIED_SHARE = 0.05


@dataclass(frozen=True)
class Planted:
    """A snapshot with a fault in it: to be split, fitted and judged like an honest one."""

    kind: Kind
    frame: pd.DataFrame
    feature_columns: tuple[str, ...]
    expected_gate: str
    is_constrained: bool = True
    """Whether the directions that the loop file declares are built into the fit."""


def plant(kind: Kind, frame: pd.DataFrame, loop: Loop, seed: int) -> Planted:
    """The snapshot `frame` (unit_id, departure_date, label, features) with the fault `kind`.

    Raises:
        ValueError: an unknown kind, or no cohort is large enough to be judged.
        TooLittleData: the snapshot can't be split.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown plant {kind!r}; known are {', '.join(KINDS)}")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    split = time_split(frame, loop)
    rows = frame.assign(departure_date=pd.to_datetime(frame["departure_date"]).dt.date).reset_index(drop=True)
    in_training = (rows["departure_date"] <= split.train_end).to_numpy()
    columns = tuple(loop.features.columns)
    if kind == "shuffled":
        labels = rows["label"].to_numpy(copy=True)
        labels[in_training] = rng.permutation(labels[in_training])
        return Planted(kind, rows.assign(label=labels), columns, "beats_constant")
    if kind == "stale":
        cut = _earliest_end(split, loop)
        kept = rows[~in_training | (rows["departure_date"] <= cut).to_numpy()].reset_index(drop=True)
        return Planted(kind, kept, columns, "training_window_stale")
    if kind == "leaking":
        told = rows["label"].to_numpy(dtype=np.float64) + rng.normal(0, LEAK_NOISE, len(rows))
        return Planted(kind, rows.assign(**{_leaking_feature(loop): told}), columns, "leak_single_feature")
    if kind == "overlapping":
        known = rows["unit_id"].to_numpy(dtype=object, copy=True)
        held = np.flatnonzero((rows["departure_date"] >= split.holdout_start).to_numpy())[:OVERLAPPING]
        known[np.flatnonzero(in_training)[: len(held)]] = known[held]
        return Planted(kind, rows.assign(unit_id=known), columns, "window_overlap")
    if kind == "backwards":
        mirrored = {}
        for name in loop.gates.evaluation.mutations.monotone:
            values = rows[name].to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
            values[in_training] = np.nanmin(values) + np.nanmax(values) - values[in_training]
            mirrored[name] = values
        return Planted(kind, rows.assign(**mirrored), columns, "mutation_monotone", is_constrained=False)
    if kind == "gappy":
        emptied = in_training & (rng.random(len(rows)) < EMPTIED_SHARE)
        gaps = {name: rows[name].astype("float64").mask(emptied) for name in loop.features.numeric}
        labels = np.where(emptied, 1, rows["label"].to_numpy())
        return Planted(kind, rows.assign(**gaps, label=labels), columns, "mutation_missing")
    dimension, value = smallest_judged_cohort(split, loop)
    inverted = in_training & (rows[dimension] == value).to_numpy() & (rng.random(len(rows)) < INVERTED_SHARE)
    labels = rows["label"].to_numpy(copy=True)
    labels[inverted] = 1 - labels[inverted]
    return Planted(kind, rows.assign(label=labels), columns, f"cohort:{dimension}={value}")


def kinds_for(loop: Loop) -> tuple[Kind, ...]:
    """The plants that this loop can show: without a declared direction nothing can go backwards."""
    declared = loop.gates.evaluation.mutations.monotone
    return tuple(kind for kind in KINDS if kind != "backwards" or declared)


def smallest_judged_cohort(split: Split, loop: Loop) -> tuple[str, str]:
    """(dimension, value) of the cohort with fewest holdout rows among those that are judged on their own.

    Raises:
        ValueError: no cohort reaches the loop's min_units and min_clusters.
    """
    sizes: list[tuple[int, str, str]] = []
    for dimension in loop.cohorts.dimensions:
        for value, part in split.holdout.groupby(dimension, observed=True):
            if len(part) >= loop.cohorts.min_units and (
                part["departure_date"].nunique() >= loop.cohorts.min_clusters
            ):
                sizes.append((len(part), dimension, str(value)))
    if not sizes:
        raise ValueError(
            f"no cohort has {loop.cohorts.min_units} holdout rows on {loop.cohorts.min_clusters} days"
        )
    _, dimension, value = min(sizes)
    return dimension, value


def _earliest_end(split: Split, loop: Loop) -> date:
    """The first day by which the training rows reach the loop's min_rows."""
    last: date = split.train["departure_date"].iloc[loop.training.min_rows - 1]
    return last


def _leaking_feature(loop: Loop) -> str:
    """The last numeric feature whose name speaks of lateness, else the last numeric one."""
    named = [name for name in loop.features.numeric if "late" in name]
    return (named or list(loop.features.numeric))[-1]
