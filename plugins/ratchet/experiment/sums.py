"""The sums of one experiment as arrays: cohort or arm by departure day, read once from the tables' rows.

A look needs the same numbers in many cuts; frames are left behind here so that a look costs milliseconds. A cell
without a row holds 0 and is marked as absent; what a row says is kept as it is, nan and all, to be judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.experiment.state import RolloutState

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

PAIRED_COLUMNS = (
    "departure_date",
    "cohort_dimension",
    "cohort_value",
    "n_units",
    "n_labelled",
    "sum_log_loss_champion",
    "sum_log_loss_challenger",
    "sum_brier_champion",
    "sum_brier_challenger",
    "sum_label",
    "sum_score_champion",
    "sum_score_challenger",
)
ARM_COLUMNS = (
    "departure_date",
    "arm",
    "n_units",
    "n_labelled",
    "sum_label",
    "sum_score",
    "sum_log_loss",
    "sum_brier",
    "n_asked",
    "n_ratings",
    "sum_rating",
    "sum_rating_squared",
    "n_tickets",
    "sum_latency_ms",
    "max_latency_ms",
    "n_wrong_version",
    "n_null_score",
    "n_champion_labelled",
    "sum_champion_gap",
    "sum_champion_score_rated",
)
EXPOSURE_COLUMNS = (
    "departure_date",
    "cohort_dimension",
    "cohort_value",
    "arm",
    "n_units",
    "n_in_other_arm",
    "n_labelled",
    "sum_label",
    "sum_log_loss",
    "sum_brier",
)
#: Columns that a record made before them does not have; what needs them is then left out.
LATER_COLUMNS = {"exp_arm_daily": ("sum_champion_score_squared_rated", "sum_rating_by_champion_score")}
#: Table, its columns, and how many of them are its key.
TABLES = {
    "exp_paired_daily": (PAIRED_COLUMNS, 3),
    "exp_arm_daily": (ARM_COLUMNS, 2),
    "exp_exposure_daily": (EXPOSURE_COLUMNS, 4),
}
EVERYONE = ("all", "all")


@dataclass(frozen=True, eq=False)
class Cells:
    """One table: each column is an array of keys by days; `has_row` says which cells had a row."""

    keys: tuple[tuple[str, ...], ...]
    columns: Mapping[str, Array]
    has_row: Mask

    def of(self, column: str, *key: str) -> Array:
        """A column's days of one key; zeros when the table has no such key."""
        if key in self.keys:
            return self.columns[column][self.keys.index(key)]
        return np.zeros(self.has_row.shape[1])

    def has(self, *key: str) -> Mask:
        """On which days the key has a row."""
        if key in self.keys:
            return self.has_row[self.keys.index(key)]
        return np.zeros(self.has_row.shape[1], dtype=bool)


@dataclass(frozen=True, eq=False)
class Sums:
    """One experiment's tables from its first departure day through the look's day, by day since the first."""

    started_on: date
    day: date
    paired: Cells
    arms: Cells
    exposure: Cells

    @property
    def days(self) -> int:
        """Departure days from the first to the look's, with or without a row."""
        return (self.day - self.started_on).days + 1

    def mature(self, maturity_hours: float) -> int:
        """How many of the first days have their window closed at the end of the look's day, in local time."""
        return max(0, self.days - ceil(maturity_hours / 24))

    def index_of(self, departure: date) -> int:
        """The position of a departure date; negative before the first."""
        return (departure - self.started_on).days

    def date_at(self, index: int) -> date:
        """The departure date at a position."""
        return self.started_on + timedelta(days=index)


def read_sums(
    state: RolloutState,
    paired: pd.DataFrame,
    arms: pd.DataFrame,
    exposure: pd.DataFrame | None,
    day: date,
    *,
    needs_pairs: bool = True,
) -> tuple[Sums | None, list[str]]:
    """The experiment's rows from its first day through `day`, or None and why they can't be used.

    Without `needs_pairs` the paired sums may have no row of the experiment.
    """
    if exposure is None:
        return None, ["exp_exposure_daily was not given: who was exposed to what can't be checked"]
    faults: list[str] = []
    cells = []
    frames = zip(TABLES.items(), (paired, arms, exposure), strict=True)
    for (table, (columns, keys)), frame in frames:
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            faults += [f"{table} lacks the column {column}: nothing can be judged" for column in missing]
            continue
        later = tuple(column for column in LATER_COLUMNS.get(table, ()) if column in frame.columns)
        read, fault = _cells(frame, state, day, columns[1:keys], columns[keys:] + later)
        if (
            read is None
            and table == "exp_paired_daily"
            and not needs_pairs
            and fault.startswith("has no row")
        ):
            cells.append(_nothing(_days(state, day), columns[keys:]))
        elif read is None:
            faults.append(f"{table} {fault}")
        else:
            cells.append(read)
    return (None, faults) if faults else (Sums(state.started_on, day, *cells), [])


def _days(state: RolloutState, day: date) -> int:
    """Departure days from the experiment's first to `day`."""
    return (day - state.started_on).days + 1


def _nothing(days: int, numbers: Sequence[str]) -> Cells:
    return Cells((), dict.fromkeys(numbers, np.zeros((0, days))), np.zeros((0, days), dtype=bool))


def _cells(
    frame: pd.DataFrame, state: RolloutState, day: date, keys: Sequence[str], numbers: Sequence[str]
) -> tuple[Cells | None, str]:
    days = _days(state, day)
    offsets = _ordinals(frame["departure_date"]) - state.started_on.toordinal()
    inside = (offsets >= 0) & (offsets < days)
    if "experiment_id" in frame.columns:
        inside &= (frame["experiment_id"] == state.experiment_id).to_numpy(dtype=bool, na_value=False)
    rows = np.flatnonzero(inside)
    if not len(rows):
        return None, f"has no row of {state.experiment_id} from {state.started_on} to {day}"
    names = [frame[column].to_numpy(dtype=object)[rows].tolist() for column in keys]
    labels = list(zip(*names, strict=True))
    found = sorted({tuple(map(str, label)) for label in set(labels)})
    codes = {label: found.index(tuple(map(str, label))) for label in set(labels)}
    places = np.array([codes[label] for label in labels]) * days + offsets[rows]
    has_row = np.zeros(len(found) * days, dtype=bool)
    has_row[places] = True
    twice = len(places) - int(has_row.sum())
    if twice:
        return None, f"has {twice} rows twice (same departure_date, {', '.join(keys)})"
    columns: dict[str, Array] = {}
    for number in numbers:
        values = np.zeros(len(found) * days)
        values[places] = frame[number].to_numpy(dtype=np.float64, na_value=np.nan)[rows]
        columns[number] = values.reshape(len(found), days)
    return Cells(tuple(found), columns, has_row.reshape(len(found), days)), ""


def _ordinals(dates: pd.Series) -> NDArray[np.int64]:
    """Proleptic day numbers of a column of dates, timestamps or ISO text."""
    if dates.dtype == object:
        values = dates.to_numpy().tolist()
        if all(isinstance(value, date) for value in set(values)):
            return np.array([value.toordinal() for value in values], dtype=np.int64)
    stamps = pd.to_datetime(dates).to_numpy()
    return stamps.astype("datetime64[D]").astype(np.int64) + date(1970, 1, 1).toordinal()
