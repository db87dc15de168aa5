"""Small random worlds: flights over a few days, with rows that come late, twice, corrected, or out of nowhere.

Times are put on the edges that the loop's rules are about: the moment of a prediction, a microsecond before it,
the end of a window. A world follows from its shape and its seed alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.reference.facts import ANSWER_WINDOW, LABEL_WINDOW
from tests.reference.flights import LEAD, WEATHER, Row

ZONE = ZoneInfo("America/New_York")
ORIGINS, CARRIERS, DESTS = ("EWR", "JFK", "LGA"), ("AA", "UA", "B6"), ("LAX", "BOS", "ORD", "MIA")
#: First days whose week holds a change of clocks (23 and 25 hours), a leap day, the turn of a year, or nothing.
STARTS = (date(2013, 3, 8), date(2013, 11, 1), date(2012, 2, 27), date(2012, 12, 29), date(2013, 6, 10))
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Shape:
    """How big a world is and how much goes wrong in it; shares lie in [0, 1]."""

    start: date = STARTS[0]
    days: int = 4
    flights: int = 12
    late_share: float = 0.2
    corrected_share: float = 0.2
    longest_delay_days: int = 40
    seed: int = 0


def utc(local_day: date, minutes: int) -> datetime:
    """The UTC moment `minutes` after local midnight, by the clock on the wall."""
    wall = datetime(local_day.year, local_day.month, local_day.day) + timedelta(minutes=minutes)
    return wall.replace(tzinfo=ZONE).astimezone(UTC).replace(tzinfo=None)


def local_date(moment: datetime) -> date:
    return moment.replace(tzinfo=UTC).astimezone(ZONE).date()


class Maker:
    """Makes the rows of one world. `rows[source]` are distinct rows in no particular order."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._random = random.Random(shape.seed)
        self.rows: dict[str, list[Row]] = {
            name: []
            for name in ("schedule", "weather", "planes", "outcomes", "predictions", "feedback", "telemetry")
        }
        self._edges: list[datetime] = []
        self._make()

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _received(self, event_at: datetime, usual: timedelta) -> datetime:
        """When a row is received: as usual, days late, or on an edge of some flight's time."""
        if not self._chance(self.shape.late_share):
            return event_at + usual * self._random.choice((1, 1, 2))
        edges = [edge for edge in self._edges if edge >= event_at]
        if edges and self._chance(0.5):
            return max(
                event_at, self._random.choice(edges) + self._random.choice((-TICK, timedelta(0), TICK))
            )
        return event_at + timedelta(minutes=self._random.randint(1, self.shape.longest_delay_days * 1440))

    def _versions(self, source: str, row: Row, change: dict[str, Any], usual: timedelta) -> list[Row]:
        """Add the row and perhaps corrections of it, some received at the very same moment."""
        versions = [row]
        while self._chance(self.shape.corrected_share) and len(versions) < 4:
            last = versions[-1]
            received = (
                last["received_at"] if self._chance(0.3) else self._received(last["received_at"], usual)
            )
            changed = {name: make() for name, make in change.items() if self._chance(0.7)}
            versions.append({**last, **changed, "received_at": received})
        distinct = [v for i, v in enumerate(versions) if v not in versions[:i]]
        self.rows[source] += distinct
        return distinct

    def _make(self) -> None:
        tails = [f"N{n}" for n in range(3)]
        flights = [self._flight(n, tails) for n in range(self.shape.flights)]
        for versions in flights:
            self._outcome(versions[-1])
            self._predictions(versions[-1])
        for hour in range(-6, self.shape.days * 24 + 6, 3):
            for origin in ORIGINS:
                if self._chance(0.7):
                    self._observation(origin, utc(self.shape.start, 0) + timedelta(hours=hour))
        for tail in tails[:2]:
            self._plane(tail)
        nowhere = {"flight_id": "NOWHERE", "scheduled_departure_at": utc(self.shape.start, 720)}
        self._outcome(nowhere)
        self._predictions(nowhere)

    def _flight(self, number: int, tails: list[str]) -> list[Row]:
        pick = self._random.choice
        day = self.shape.start + timedelta(days=self._random.randrange(self.shape.days))
        departs = utc(day, self._random.randrange(5, 1435, 5))
        published = utc(day, 0) - timedelta(days=3)
        row = {
            "flight_id": f"F{number}",
            "carrier": pick(CARRIERS),
            "flight_number": number + 1,
            "tail_number": pick([*tails, None]),
            "origin": pick(ORIGINS),
            "dest": pick(DESTS),
            "scheduled_departure_at": departs,
            "scheduled_arrival_at": departs + timedelta(hours=3) if self._chance(0.8) else None,
            "departure_date": local_date(departs),
            "departure_hour": self._random.randrange(0, 96) / 4,
            "departure_weekday": local_date(departs).isoweekday(),
            "distance_miles": float(self._random.randrange(80, 3000)),
            "event_at": published,
            "received_at": published,
        }
        self._edges += [departs - LEAD, departs + LABEL_WINDOW, departs + ANSWER_WINDOW]
        row["received_at"] = self._received(published, timedelta(minutes=5))
        minutes = self._random.choice((-90, -30, 45, 200))
        moved = departs + timedelta(minutes=minutes)
        if local_date(moved) != local_date(departs):
            moved = departs
        changes = {
            "tail_number": lambda: pick([*tails, None]),
            "dest": lambda: pick(DESTS),
            "origin": lambda: pick(ORIGINS),
            "scheduled_departure_at": lambda: pick((departs, moved)),
        }
        return self._versions("schedule", row, changes, timedelta(hours=20))

    def _outcome(self, flight: Row) -> None:
        if self._chance(0.1):
            return
        value = lambda: float(self._random.choice((-20, 0, 14, 15, 16, 60)))  # noqa: E731
        arrived = flight["scheduled_departure_at"] + timedelta(minutes=self._random.randrange(60, 400))
        row = {
            "outcome_id": f"arrival-{flight['flight_id']}",
            "unit_id": flight["flight_id"],
            "outcome_value": value(),
            "event_at": arrived,
            "received_at": self._received(arrived, timedelta(minutes=11)),
        }
        self._versions("outcomes", row, {"outcome_value": value}, timedelta(hours=3))

    def _observation(self, origin: str, hour: datetime) -> None:
        value = lambda: self._random.choice((None, round(self._random.uniform(0, 90), 2)))  # noqa: E731
        row: Row = {"origin": origin, "event_at": hour, "wind_direction_deg": None}
        row |= {name: 1000.0 if name == "pressure_mb" else value() for name in WEATHER}
        row["precipitation_in"] = self._random.choice((0.0, 0.1, None))
        row["received_at"] = self._received(hour, timedelta(minutes=20))
        self._versions(
            "weather", row, {"temperature_f": value, "wind_gust_mph": value}, timedelta(minutes=40)
        )

    def _plane(self, tail: str) -> None:
        year = lambda: self._random.choice((None, 1990, 2001, 2012))  # noqa: E731
        known = utc(self.shape.start, 0) - timedelta(days=5)
        row = {
            "tail_number": tail,
            "manufacture_year": year(),
            "seats": 150,
            "engine": None,
            "manufacturer": "A maker",
            "event_at": known,
            "received_at": self._received(known, timedelta(hours=1)),
        }
        self._versions("planes", row, {"manufacture_year": year}, timedelta(days=2))

    def _predictions(self, flight: Row) -> None:
        score = lambda: self._random.choice((None, 0.0, 1.0, self._random.random()))  # noqa: E731
        for version in (1, 2):
            if not self._chance(0.8 if version == 1 else 0.4):
                continue
            made = flight["scheduled_departure_at"] - LEAD
            row = {
                "prediction_id": f"{flight['flight_id']}-v{version}",
                "unit_id": flight["flight_id"],
                "experiment_id": self._random.choice((None, "trial")),
                "arm": "champion",
                "model_version": version,
                "is_served": version == 1,
                "score": score(),
                "latency_ms": 1.5,
                "event_at": made,
                "received_at": self._received(made, timedelta(seconds=1)),
            }
            made_again = {
                **row,
                "prediction_id": f"{row['prediction_id']}-again",
                "score": score(),
                "received_at": row["received_at"]
                if self._chance(0.3)
                else self._received(made, timedelta(seconds=1)),
            }
            for each in (row, made_again) if self._chance(0.2) else (row,):
                for stands in self._versions("predictions", each, {"score": score}, timedelta(hours=1))[-1:]:
                    for n in range(self._random.randrange(3)):
                        self._answer(stands, n)
                        self._count(stands, n)

    def _answer(self, prediction: Row, number: int) -> None:
        rating = lambda: self._random.choice((None, 1, 3, 5))  # noqa: E731
        topic = lambda: self._random.choice((None, "false_reassurance", "praise"))  # noqa: E731
        said = prediction["event_at"] + timedelta(minutes=self._random.randrange(1, 9000))
        row = {
            "feedback_id": f"{prediction['prediction_id']}-a{number}",
            "prediction_id": prediction["prediction_id"] if self._chance(0.9) else "NOWHERE",
            "unit_id": prediction["unit_id"],
            "channel": self._random.choice(("rating", "rating", "ticket")),
            "rating": rating(),
            "comment": self._random.choice((None, "", "late again")),
            "category": topic(),
            "is_simulated": True,
            "event_at": said,
            "received_at": self._received(said, timedelta(minutes=2)),
        }
        self._versions("feedback", row, {"rating": rating, "category": topic}, timedelta(hours=5))

    def _count(self, prediction: Row, number: int) -> None:
        count = lambda: self._random.randrange(200)  # noqa: E731
        happened = prediction["event_at"] + timedelta(minutes=self._random.randrange(1, 9000))
        row = {
            "telemetry_id": f"{prediction['prediction_id']}-t{number}",
            "prediction_id": prediction["prediction_id"],
            "unit_id": prediction["unit_id"],
            "event_type": self._random.choice(
                ("rating_asked", "alert_dismissed", "screen_reopened", "app_error")
            ),
            "event_count": count(),
            "is_simulated": True,
            "event_at": happened,
            "received_at": self._received(happened, timedelta(minutes=2)),
        }
        self._versions("telemetry", row, {"event_count": count}, timedelta(hours=5))


@dataclass(frozen=True)
class File:
    """One file of a source's received day."""

    source: str
    received_date: date
    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Step:
    """Files that arrive together, and what is built afterwards: build, half (a build that dies before it is
    judged), collected (one that dies before it starts), rebuild, or nothing."""

    files: tuple[File, ...]
    then: str


def steps_of(shape: Shape, rows: dict[str, list[Row]], steps: int) -> list[Step]:
    """The world's rows as files in a random order, some delivered twice, in `steps` deliveries."""
    dice = random.Random(shape.seed + 1)
    files: list[File] = []
    for source, landed in rows.items():
        days: dict[date, list[Row]] = {}
        for row in landed:
            days.setdefault(row["received_at"].date(), []).append(row)
        for day, part in days.items():
            dice.shuffle(part)
            cut = dice.randrange(len(part) + 1)
            first, second = part[:cut], part[cut:] + [row for row in part[:cut] if dice.random() < 0.2]
            pieces = [tuple(piece) for piece in (first, second) if piece]
            files += [File(source, day, f"part-{n}", piece) for n, piece in enumerate(pieces)]
            if dice.random() < 0.1:
                files.append(replace(files[-1], name="again"))
    dice.shuffle(files)
    cuts = sorted(dice.randrange(len(files) + 1) for _ in range(steps - 1))
    groups = [files[a:b] for a, b in zip([0, *cuts], [*cuts, len(files)], strict=True)]
    thens = ("build", "build", "half", "collected", "rebuild", "nothing")
    return [Step(tuple(group), dice.choice(thens)) for group in groups if group]
