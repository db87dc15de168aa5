"""The demo's world writes what producers would have left in the landing folder, received day by received day.

`World.write_inputs` writes the real part (schedule, weather, outcomes, planes, airports),
`World.write_reactions` what simulated travellers answered to the predictions that were served. Writing a
range again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from ratchet.loop import Loop
from ratchet.published import write_atomically
from ratchet.replay import flights as real
from ratchet.replay import travellers
from ratchet.replay.faults import PlantedFaults, plant
from ratchet.replay.files import csv_line, json_line, parquet_file, partition_path, plain_rows, text_file
from ratchet.settings import Settings

#: Reactions to a prediction can arrive for this many days; older predictions are not read again.
REACTION_DAYS = 30
PREDICTION_COLUMNS = ["prediction_id", "unit_id", "is_served", "score", "event_at", "received_at"]
Log = Callable[[str], None]


@dataclass(frozen=True)
class Written:
    """What one call left in the landing folder. `rows` counts true rows by source; faults come on top."""

    files: tuple[Path, ...]
    rows: dict[str, int]
    faults: tuple[PlantedFaults, ...]

    @property
    def refused(self) -> dict[str, int]:
        """Planted rows that landing must put in quarantine, by source."""
        return self._sum(lambda fault: fault.refused)

    @property
    def duplicates(self) -> dict[str, int]:
        """Planted second copies of a row, by source."""
        return self._sum(lambda fault: fault.duplicates)

    def _sum(self, count: Callable[[PlantedFaults], int]) -> dict[str, int]:
        total = {fault.source: 0 for fault in self.faults}
        for fault in self.faults:
            total[fault.source] += count(fault)
        return total


def _until(end: date) -> pd.Timestamp:
    return pd.Timestamp(end + timedelta(days=1))


def _received(rows: pd.DataFrame, start: date, end: date) -> pd.DataFrame:
    """The rows with received_at on the UTC days from start to end, both included."""
    return rows[(rows["received_at"] >= pd.Timestamp(start)) & (rows["received_at"] < _until(end))]


class World:
    """The demo's producers of data, for one loop and one seed of travellers."""

    def __init__(self, settings: Settings, loop: Loop, seed: int) -> None:
        self._settings = settings
        self._loop = loop
        self._seed = seed

    @cached_property
    def flights(self) -> pd.DataFrame:
        """Every scheduled flight of 2013 with what came of it; see `flights.load_flights`."""
        return real.load_flights()

    @cached_property
    def _sources(self) -> dict[str, pd.DataFrame]:
        return {
            "schedule": real.schedule_rows(self.flights),
            "weather": real.load_weather(),
            "outcomes": real.outcome_rows(self.flights),
        }

    def first_received_date(self) -> date:
        """The received date of the first schedule: a history has to start here to hold every flight."""
        first: pd.Timestamp = self.flights["received_at"].min()
        return first.date()

    def write_inputs(self, start: date, end: date, log: Log) -> Written:
        """Write schedule, weather, outcomes and the references received from start to end, both included.

        The references (planes, airports) have one partition, written whatever the range. A day on which a
        source sent nothing gets no file.

        Raises:
            FlightDataError: the demo's flights are not installed.
            ValueError: end before start.
        """
        _check_range(start, end)
        files: list[Path] = []
        counts: dict[str, int] = {}
        faults: list[PlantedFaults] = []
        for source, rows in (("planes", real.load_planes), ("airports", real.load_airports)):
            frame = rows()
            path = self._path(source, real.REFERENCE_DATE)
            write_atomically(path, parquet_file(frame))
            files.append(path)
            counts[source] = len(frame)
        for source, frame in self._sources.items():
            written = self._write(source, _received(frame, start, end))
            files += written.files
            faults += written.faults
            counts |= written.rows
        log(f"world: {start} to {end}: " + ", ".join(f"{n:,} {source}" for source, n in counts.items()))
        return Written(tuple(files), counts, tuple(faults))

    def write_reactions(self, start: date, end: date, log: Log) -> Written:
        """Write feedback and telemetry received from start to end about predictions that were served.

        Predictions are read from the landing folder, of received dates from REACTION_DAYS before start to
        end.

        Raises:
            ValueError: end before start, or a prediction names a flight that does not exist.
        """
        _check_range(start, end)
        served = self.read_served(start - timedelta(days=REACTION_DAYS), end)
        feedback, telemetry = [], []
        for day, predictions in served.groupby("departure_date"):
            answers, events = travellers.react(
                self._flights_of(pd.Timestamp(str(day))),
                predictions,
                pd.Timestamp(str(day)).date(),
                self._seed,
                self._loop.label.threshold,
            )
            feedback.append(_received(answers, start, end))
            telemetry.append(_received(events, start, end))
        parts = [
            self._write("feedback", _in_order(feedback, "feedback_id")),
            self._write("telemetry", _in_order(telemetry, "telemetry_id")),
        ]
        rows = {source: n for part in parts for source, n in part.rows.items()}
        log(f"travellers: {start} to {end}: " + ", ".join(f"{n:,} {source}" for source, n in rows.items()))
        return Written(
            tuple(path for part in parts for path in part.files),
            rows,
            tuple(fault for part in parts for fault in part.faults),
        )

    def read_served(self, start: date, end: date) -> pd.DataFrame:
        """Served predictions received from start to end: PREDICTION_COLUMNS and departure_date.

        One row per unit; where a unit was served twice, the traveller saw the first.
        """
        parts = []
        day = start
        while day <= end:
            folder = self._path("predictions", day).parent
            for path in sorted(folder.glob("[!.]*.parquet")):
                parts.append(parquet.ParquetFile(path).read(columns=PREDICTION_COLUMNS).to_pandas())
            day += timedelta(days=1)
        if not parts:
            return pd.DataFrame(columns=[*PREDICTION_COLUMNS, "departure_date"])
        rows = pd.concat(parts, ignore_index=True)
        rows = rows[rows["is_served"].astype(bool)].sort_values(["received_at", "prediction_id"])
        rows = rows.drop_duplicates("unit_id", ignore_index=True)
        position = self._position.get_indexer(pd.Index(rows["unit_id"]))
        if (position < 0).any():
            unknown = rows["unit_id"].to_numpy()[position < 0][:3]
            raise ValueError(f"landed predictions name flights that do not exist: {list(unknown)}")
        return rows.assign(departure_date=self.flights["departure_date"].to_numpy()[position])

    @cached_property
    def _position(self) -> pd.Index:
        return pd.Index(self.flights["flight_id"])

    def _flights_of(self, day: pd.Timestamp) -> pd.DataFrame:
        bounds = np.array([day, day + pd.Timedelta(days=1)], dtype="datetime64[us]")
        first, last = np.searchsorted(self.flights["departure_date"].to_numpy(), bounds)
        return self.flights.iloc[first:last]

    def _path(self, source: str, day: date) -> Path:
        form = self._loop.sources[source].format
        return partition_path(self._settings, self._loop.loop, source, day, f"{source}.{form}")

    def _write(self, source: str, rows: pd.DataFrame) -> Written:
        """One text file per received date of `rows`, with faults planted between them."""
        form = self._loop.sources[source].format or "jsonl"
        write = csv_line if form == "csv" else json_line
        columns = list(rows.columns)
        days = rows["received_at"].dt.normalize() if len(rows) else pd.Series(dtype="datetime64[us]")
        files, faults = [], []
        for stamp, part in rows.groupby(days, sort=True) if len(rows) else ():
            day = pd.Timestamp(str(stamp)).date()
            lines, planted = plant(source, day, columns, plain_rows(part), write, form)
            path = self._path(source, day)
            write_atomically(path, text_file(columns, lines, form))
            files.append(path)
            if planted.kinds:
                faults.append(planted)
        return Written(tuple(files), {source: len(rows)}, tuple(faults))


def _check_range(start: date, end: date) -> None:
    if end < start:
        raise ValueError(f"the range ends on {end}, before it starts on {start}")


def _in_order(parts: list[pd.DataFrame], key: str) -> pd.DataFrame:
    if not parts:
        return pd.DataFrame()
    return pd.concat(parts, ignore_index=True).sort_values(["received_at", key], ignore_index=True)
