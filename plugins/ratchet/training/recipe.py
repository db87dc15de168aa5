"""How a model is made: parameters, seed, and the split of its snapshot by time.

The last `holdout_days` departure days judge the candidate, the `embargo_days` before them belong to neither
side (their labels were not all known when the first holdout day was predicted), everything earlier trains.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.training.weights import claimed

if TYPE_CHECKING:
    from ratchet.loop import Loop


class TooLittleData(ValueError):
    """The snapshot does not hold enough to train and judge a model; the message has both numbers."""


@dataclass(frozen=True)
class Recipe:
    """Everything beside the rows that decides the model's bytes."""

    loop: str
    feature_columns: tuple[str, ...]
    params: tuple[tuple[str, float | int], ...]
    monotone: tuple[tuple[str, str], ...]
    seed: int
    holdout_days: int
    embargo_days: int
    min_rows: int
    learn: str

    @classmethod
    def of(cls, loop: Loop, params: Mapping[str, float | int] | None = None) -> Recipe:
        """The recipe that the loop file declares, with the parameters that a search chose if given."""
        return cls(
            loop=loop.loop,
            feature_columns=tuple(loop.features.columns),
            params=tuple(sorted((params or loop.training.params).items())),
            monotone=tuple(sorted(loop.gates.evaluation.mutations.monotone.items())),
            seed=loop.training.seed,
            holdout_days=loop.training.holdout_days,
            embargo_days=loop.training.embargo_days,
            min_rows=loop.training.min_rows,
            learn=loop.feedback.learn.model_dump_json(include={"weights", "labels"}),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            **asdict(self),
            "feature_columns": list(self.feature_columns),
            "params": dict(self.params),
            "monotone": dict(self.monotone),
            "learn": json.loads(self.learn),
        }

    def fingerprint(self) -> str:
        """SHA-256 of the recipe's canonical JSON, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Split:
    """Row sets of one snapshot, both sorted by departure_date then unit_id; dates are inclusive."""

    train: pd.DataFrame
    holdout: pd.DataFrame
    train_start: date
    train_end: date
    holdout_start: date
    holdout_end: date


def time_split(frame: pd.DataFrame, loop: Loop, last: date | None = None) -> Split:
    """`frame` split by departure_date; `last` is the holdout's last day, by default the frame's.

    Raises:
        TooLittleData: fewer than `training.min_rows` rows to train on, or no row in the holdout.
        ValueError: no column departure_date or unit_id.
    """
    return _split(ordered(frame, loop), loop, last)


def rolling_splits(frame: pd.DataFrame, loop: Loop, last: date | None = None) -> tuple[Split, ...]:
    """The newest split and those of the holdouts before it, `training.windows` at most, oldest first.

    An older one that has too few rows before it, or none in it, is left out.

    Raises:
        TooLittleData, ValueError: as `time_split`, for the newest one.
    """
    rows = ordered(frame, loop)
    end = last or rows["departure_date"].iloc[-1]
    splits = [_split(rows, loop, end)]
    for back in range(1, loop.training.windows):
        try:
            splits.append(_split(rows, loop, end - timedelta(days=back * loop.training.holdout_days)))
        except TooLittleData:
            break
    return tuple(reversed(splits))


def ordered(frame: pd.DataFrame, loop: Loop) -> pd.DataFrame:
    """The rows by departure_date, then unit_id, with dates as dates.

    Raises:
        TooLittleData: there is no row.
        ValueError: no column departure_date or unit_id.
    """
    for column in ("departure_date", "unit_id"):
        if column not in frame.columns:
            raise ValueError(f"the snapshot has no column {column}")
    if frame.empty:
        raise TooLittleData(f"the snapshot is empty; training needs {loop.training.min_rows} rows")
    stamps = pd.to_datetime(frame["departure_date"])
    if stamps.isna().any():
        rows = frame.assign(departure_date=stamps.dt.date)
        return rows.sort_values(["departure_date", "unit_id"], kind="stable", ignore_index=True)
    days = stamps.to_numpy().astype("datetime64[D]")
    each, position = np.unique(days, return_inverse=True)
    rows = frame.assign(departure_date=each.astype(object)[position])
    if _in_order(days, frame["unit_id"]):
        return rows.reset_index(drop=True)
    return rows.sort_values(["departure_date", "unit_id"], kind="stable", ignore_index=True)


def _in_order(days: NDArray[np.datetime64], units: pd.Series) -> bool:
    """Whether rows are by day, then unit, as a snapshot's are: sorting a million texts to learn it takes seconds."""
    if (days[1:] < days[:-1]).any():
        return False
    same = days[1:] == days[:-1]
    try:
        after = pd.array(units.array[1:] >= units.array[:-1]).to_numpy(dtype=bool, na_value=False)
    except TypeError:  # texts beside numbers, or none
        return False
    return bool(after[same].all())


def _split(rows: pd.DataFrame, loop: Loop, last: date | None) -> Split:
    dates = rows["departure_date"]
    end = last or dates.iloc[-1]
    holdout_start = end - timedelta(days=loop.training.holdout_days - 1)
    train_until = holdout_start - timedelta(days=loop.training.embargo_days + 1)
    learnt = int(dates.searchsorted(train_until, side="right"))
    first, stop = int(dates.searchsorted(holdout_start)), int(dates.searchsorted(end, side="right"))
    if learnt < loop.training.min_rows:
        raise TooLittleData(f"{learnt} rows up to {train_until}; training needs {loop.training.min_rows}")
    if first == stop:
        raise TooLittleData(f"no row from {holdout_start} to {end} to judge the candidate on")
    train, holdout = rows.iloc[:learnt], rows.iloc[first:stop]
    # What users assert may teach; only what happened judges.
    if (said := claimed(holdout)).any():
        holdout = holdout[~said]
    holdout = holdout.reset_index(drop=True)
    if holdout.empty:
        raise TooLittleData(f"no row with an outcome from {holdout_start} to {end} to judge the candidate on")
    return Split(train, holdout, dates.iloc[0], dates.iloc[learnt - 1], holdout_start, end)
