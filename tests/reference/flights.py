"""The flights loop computed the slow and obvious way: loops over rows, no windows, no joins, no dbt.

Here: which version of a row stands, and the features of a flight as of two hours before its departure; facts.py has
the facts. Both are written from the descriptions beside the models and from docs/data-model.md; where a model and
the reference differ, one of the two misreads the description.

Rows are dicts with the columns of the raw tables. Times are naive UTC, a missing value is None.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Any

Row = dict[str, Any]
Key = tuple[Any, ...]
Table = dict[Key, Row]

LEAD = timedelta(hours=2)
WEATHER_AGE = timedelta(hours=12)
#: A row about a unit counts when it is received from this long before its departure to this long after it.
EARLIEST, LATEST = timedelta(days=4), timedelta(days=28)
#: Sources that say how far the world is known; what the loop logs itself says nothing about that.
FEEDS = ("schedule", "weather", "outcomes")
LATE_MINUTES = 15
WEATHER = (
    "temperature_f", "dew_point_f", "humidity_pct", "wind_speed_mph", "wind_gust_mph", "precipitation_in",
    "pressure_mb", "visibility_miles",
)  # fmt: skip
#: feature share: columns that an outcome's flight must have in common with the flight, and how far back.
#: What an answer must be about to be a complaint; how many whole days (UTC) before the prediction's day count.
COMPLAINT, ANSWER_DAYS = "false_reassurance", 28
WINDOWS: dict[str, tuple[tuple[str, ...], timedelta]] = {
    "origin_late_share_6h": (("origin",), timedelta(hours=6)),
    "carrier_late_share_24h": (("carrier",), timedelta(hours=24)),
    "carrier_origin_late_share_28d": (("carrier", "origin"), timedelta(days=28)),
    "dest_late_share_28d": (("dest",), timedelta(days=28)),
}


def latest(versions: Iterable[Row]) -> Row | None:
    """The version received last; of several received at one moment the one with the greater hash."""
    found: Row | None = None
    for row in versions:
        if found is None or (row["received_at"], row["row_hash"]) > (found["received_at"], found["row_hash"]):
            found = row
    return found


def predict_at(schedule: Row) -> datetime:
    """When the prediction of a scheduled flight is due."""
    moment: datetime = schedule["scheduled_departure_at"] - LEAD
    return moment


def scheduled(versions: list[Row]) -> Row | None:
    """What stands of a flight's schedule: the latest version received before its own prediction was due; of
    a flight that was never known in time the latest version."""
    in_time = [v for v in versions if v["received_at"] < predict_at(v)]
    return latest(in_time) or latest(versions)


def within_reach(row: Row, schedule: Row) -> bool:
    """Whether a row about the scheduled flight is received near enough to its departure to count."""
    departs = schedule["scheduled_departure_at"]
    return bool(departs - EARLIEST <= row["received_at"] <= departs + LATEST)


def is_known_in_time(schedule: Row) -> bool:
    return bool(schedule["received_at"] < predict_at(schedule))


def by(rows: Iterable[Row], *columns: str) -> dict[Any, list[Row]]:
    grouped: dict[Any, list[Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in columns)
        grouped.setdefault(key if len(columns) > 1 else key[0], []).append(row)
    return grouped


class Features:
    """What was known of flights before their predictions were due.

    Args:
        raw: source -> landed rows.
        landed_until: the end of the last received day of which a feed has landed.
    """

    def __init__(self, raw: dict[str, list[Row]], landed_until: datetime) -> None:
        self._landed_until = landed_until
        self._schedule = by(raw["schedule"], "flight_id")
        self._outcomes = by(raw["outcomes"], "unit_id")
        self._weather = by(raw["weather"], "origin")
        self._planes = by(raw["planes"], "tail_number")
        self._answers = by(raw["feedback"], "feedback_id", "prediction_id", "unit_id")

    def rows(self) -> Table:
        """ftr_flights__pre_departure, by unit."""
        table: Table = {}
        for unit, versions in self._schedule.items():
            flight = scheduled(versions)
            assert flight is not None
            if is_known_in_time(flight) and predict_at(flight) < self._landed_until:
                table[(unit,)] = self._features_of(unit, flight)
        return table

    def _features_of(self, unit: str, flight: Row) -> Row:
        moment = predict_at(flight)
        row: Row = {
            "unit_id": unit,
            "departure_date": flight["departure_date"],
            "scheduled_departure_at": flight["scheduled_departure_at"],
            "predict_at": moment,
            "departure_hour": flight["departure_hour"],
            "departure_weekday": flight["departure_weekday"],
            "distance_miles": flight["distance_miles"],
            "origin": flight["origin"],
            "carrier": flight["carrier"],
        }
        plane = self._plane_known(flight["tail_number"], moment)
        year = plane["manufacture_year"] if plane else None
        seats = plane["seats"] if plane else None
        row["plane_age_years"] = None if year is None else float(flight["departure_date"].year - year)
        row["plane_seats"] = None if seats is None else float(seats)
        observation = self._weather_known(flight["origin"], moment)
        for name in WEATHER:
            row[name] = observation[name] if observation else None
        known = self._outcomes_known(moment)
        for name, (shared, window) in WINDOWS.items():
            counted, late = 0, 0
            for other, outcome, known_at in known:
                if known_at >= moment - window and all(other[c] == flight[c] for c in shared):
                    counted += 1
                    late += outcome["outcome_value"] >= LATE_MINUTES
            row[name] = late / counted if counted else None
            if name == "origin_late_share_6h":
                row["origin_flights_6h"] = counted
        answers, complaints = self._answers_about(flight, moment)
        row["route_complaint_share_28d"] = complaints / answers if answers else None
        return row

    def _answers_about(self, flight: Row, moment: datetime) -> tuple[int, int]:
        """How many answers about flights of the route had come before the day of `moment`, and how many complained."""
        day = datetime.combine(moment.date(), time.min)
        counted, complaints = 0, 0
        for (_, _, unit), versions in self._answers.items():
            answer = latest(v for v in versions if v["received_at"] < day)
            if answer is None or answer["received_at"] < day - timedelta(days=ANSWER_DAYS):
                continue
            about = latest(
                v for v in self._schedule.get(unit, []) if v["received_at"] <= answer["received_at"]
            )
            if about is None or not within_reach(answer, about):
                continue
            if (about["origin"], about["dest"]) == (flight["origin"], flight["dest"]):
                counted += 1
                complaints += answer["category"] == COMPLAINT
        return counted, complaints

    def _plane_known(self, tail_number: str | None, moment: datetime) -> Row | None:
        if tail_number is None:
            return None
        return latest(v for v in self._planes.get(tail_number, []) if v["received_at"] < moment)

    def _weather_known(self, origin: str, moment: datetime) -> Row | None:
        """The latest hour of which anything was received, in its latest version; none if it is too old."""
        seen = [v for v in self._weather.get(origin, []) if v["received_at"] < moment]
        if not seen:
            return None
        hour = max(v["event_at"] for v in seen)
        if moment > hour + WEATHER_AGE:
            return None
        return latest(v for v in seen if v["event_at"] == hour)

    def _outcomes_known(self, moment: datetime) -> list[tuple[Row, Row, datetime]]:
        """Each outcome known before `moment`: its flight as scheduled by what was known then, the version known
        then, and since when both were known."""
        known = []
        for unit, versions in self._outcomes.items():
            flight = scheduled([v for v in self._schedule.get(unit, []) if v["received_at"] < moment])
            if flight is None or flight["received_at"] > flight["scheduled_departure_at"] + LATEST:
                continue
            outcome = latest(v for v in versions if v["received_at"] < moment and within_reach(v, flight))
            if outcome is not None:
                known.append((flight, outcome, max(outcome["received_at"], flight["received_at"])))
        return known
