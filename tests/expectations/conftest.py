"""Frames that keep every rule of their suite, to be broken one rule at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.loop import Loop, load_loop
from ratchet.settings import Settings, load_settings

DAY = date(2013, 5, 14)
ORIGINS = ["EWR", "JFK", "LGA"]
CARRIERS = ["9E", "AA", "B6", "DL", "EV", "MQ", "UA", "US", "WN"]


def _cycle(values: list[str], n: int) -> list[str]:
    return [values[i % len(values)] for i in range(n)]


def schedule(n: int = 900, day: date = DAY) -> pd.DataFrame:
    at = pd.Timestamp(day) + timedelta(hours=12)
    departs = at + pd.to_timedelta(72 + np.arange(n) % 16, unit="h")
    return pd.DataFrame(
        {
            "flight_id": [f"F{day}-{i}" for i in range(n)],
            "carrier": _cycle(CARRIERS, n),
            "flight_number": np.arange(n) % 9000 + 1,
            "tail_number": [f"N{i % 700}" for i in range(n)],
            "origin": _cycle(ORIGINS, n),
            "dest": "ORD",
            "scheduled_departure_at": departs,
            "scheduled_arrival_at": departs + timedelta(hours=3),
            "departure_date": pd.Timestamp(day) + timedelta(days=3),
            "departure_hour": 6.0 + np.arange(n) % 16,
            "departure_weekday": 5,
            "distance_miles": 500.0 + np.arange(n) % 1000,
            "event_at": at,
            "received_at": at,
            "received_date": pd.Timestamp(day),
        }
    )


def weather(n: int = 72, day: date = DAY) -> pd.DataFrame:
    at = pd.Timestamp(day) + pd.to_timedelta(np.arange(n) // 3, unit="h")
    return pd.DataFrame(
        {
            "origin": _cycle(ORIGINS, n),
            "event_at": at,
            "received_at": at + timedelta(minutes=20),
            "temperature_f": 50.0 + np.arange(n) % 20,
            "dew_point_f": 40.0,
            "humidity_pct": 60.0,
            "wind_direction_deg": 200.0,
            "wind_speed_mph": 10.0 + np.arange(n) % 5,
            "wind_gust_mph": np.nan,
            "precipitation_in": 0.0,
            "pressure_mb": 1015.0,
            "visibility_miles": 10.0,
            "received_date": pd.Timestamp(day),
        }
    )


def outcomes(n: int = 900, day: date = DAY) -> pd.DataFrame:
    at = pd.Timestamp(day) + pd.to_timedelta(np.arange(n), unit="min")
    return pd.DataFrame(
        {
            "outcome_id": [f"o{day}-{i}" for i in range(n)],
            "unit_id": [f"F{day}-{i}" for i in range(n)],
            "outcome_value": np.arange(n) % 120 - 40.0,
            "event_at": at,
            "received_at": at + timedelta(minutes=30),
            "received_date": pd.Timestamp(day),
        }
    )


def predictions(n: int = 900, day: date = DAY) -> pd.DataFrame:
    at = pd.Timestamp(day) + pd.to_timedelta(np.arange(n), unit="min")
    return pd.DataFrame(
        {
            "prediction_id": [f"p{day}-{i}" for i in range(n)],
            "unit_id": [f"F{day}-{i}" for i in range(n)],
            "experiment_id": None,
            "arm": "champion",
            "model_version": 1,
            "is_served": True,
            "score": 0.1 + np.arange(n) % 50 / 100,
            "latency_ms": 4.0,
            "event_at": at,
            "received_at": at,
            "received_date": pd.Timestamp(day),
        }
    )


def served_features(n: int = 900, day: date = DAY) -> pd.DataFrame:
    scored = features(n, day).drop(columns=["loop", "departure_date", "scheduled_departure_at"])
    at = scored.pop("predict_at")
    return scored.assign(event_at=at, received_at=at, received_date=pd.Timestamp(day))


def feedback(n: int = 600, day: date = DAY) -> pd.DataFrame:
    at = pd.Timestamp(day) + pd.to_timedelta(np.arange(n), unit="min")
    return pd.DataFrame(
        {
            "feedback_id": [f"f{day}-{i}" for i in range(n)],
            "prediction_id": [f"p{i}" for i in range(n)],
            "unit_id": [f"F{i}" for i in range(n)],
            "channel": "rating",
            "rating": pd.array(np.arange(n) % 5 + 1, dtype="Int64"),
            "comment": ["the alert came late, call [PHONE]" if i % 2 else None for i in range(n)],
            "category": None,
            "is_simulated": True,
            "event_at": at,
            "received_at": at,
            "received_date": pd.Timestamp(day),
        }
    )


def telemetry(n: int = 900, day: date = DAY) -> pd.DataFrame:
    at = pd.Timestamp(day) + pd.to_timedelta(np.arange(n), unit="min")
    return pd.DataFrame(
        {
            "telemetry_id": [f"t{day}-{i}" for i in range(n)],
            "prediction_id": [f"p{i}" for i in range(n)],
            "unit_id": [f"F{i}" for i in range(n)],
            "event_type": "rating_asked",
            "event_count": 100,
            "is_simulated": True,
            "event_at": at,
            "received_at": at,
            "received_date": pd.Timestamp(day),
        }
    )


def planes(n: int = 1200, day: date = DAY) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "tail_number": [f"N{i}" for i in range(n)],
            "manufacture_year": pd.array(1990 + np.arange(n) % 23, dtype="Int64"),
            "seats": pd.array(100 + np.arange(n) % 100, dtype="Int64"),
            "engine": "Turbo-fan",
            "manufacturer": "BOEING",
            "event_at": pd.Timestamp(day),
            "received_at": pd.Timestamp(day),
            "received_date": pd.Timestamp(day),
        }
    )


def airports(n: int = 600, day: date = DAY) -> pd.DataFrame:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return pd.DataFrame(
        {
            "airport_code": [letters[i // 26 % 26] + letters[i % 26] + str(i // 676) for i in range(n)],
            "name": "Somewhere",
            "latitude": 40.0,
            "longitude": -73.0,
            "timezone": "America/New_York",
            "event_at": pd.Timestamp(day),
            "received_at": pd.Timestamp(day),
            "received_date": pd.Timestamp(day),
        }
    )


def features(n: int = 900, day: date = DAY) -> pd.DataFrame:
    departs = pd.Timestamp(day) + timedelta(hours=10) + pd.to_timedelta(np.arange(n), unit="min")
    share = np.arange(n) % 10 / 10
    return pd.DataFrame(
        {
            "loop": "flights",
            "unit_id": [f"F{day}-{i}" for i in range(n)],
            "departure_date": pd.Timestamp(day),
            "scheduled_departure_at": departs,
            "predict_at": departs - timedelta(hours=2),
            "departure_hour": 6.0 + np.arange(n) % 16,
            "departure_weekday": day.isoweekday(),
            "distance_miles": 500.0 + np.arange(n) % 1000,
            "plane_age_years": np.where(np.arange(n) % 6, 10.0, np.nan),
            "plane_seats": np.where(np.arange(n) % 6, 150.0, np.nan),
            "origin_late_share_6h": share,
            "origin_flights_6h": np.arange(n) % 90,
            "carrier_late_share_24h": share,
            "carrier_origin_late_share_28d": share,
            "dest_late_share_28d": share,
            "route_complaint_share_28d": share,
            "temperature_f": 60.0,
            "dew_point_f": 50.0,
            "humidity_pct": 55.0,
            "wind_speed_mph": 9.0,
            "wind_gust_mph": np.nan,
            "precipitation_in": 0.0,
            "pressure_mb": 1014.0,
            "visibility_miles": 10.0,
            "origin": _cycle(ORIGINS, n),
            "carrier": _cycle(CARRIERS, n),
        }
    )


def training(days: int = 28, rows: int = 800) -> pd.DataFrame:
    parts = [features(rows, DAY - timedelta(days=days - i)) for i in range(days)]
    frame = pd.concat(parts, ignore_index=True).drop(columns=["loop", "scheduled_departure_at"])
    frame["label"] = (np.arange(len(frame)) % 4 == 0).astype(int)
    frame["label_received_at"] = frame["predict_at"] + timedelta(hours=6)
    frame["label_source"] = "outcome"
    return frame


FRAMES: dict[str, Callable[..., pd.DataFrame]] = {
    "schedule": schedule,
    "weather": weather,
    "outcomes": outcomes,
    "predictions": predictions,
    "served_features": served_features,
    "feedback": feedback,
    "telemetry": telemetry,
    "planes": planes,
    "airports": airports,
    "ftr_flights__pre_departure": features,
    "trn_flights": training,
}


@pytest.fixture(scope="session")
def loop() -> Loop:
    return load_loop(load_settings({}).loops_dir / "flights.yml")


@pytest.fixture
def settings(settings_of: Callable[..., Settings], tmp_path: Path) -> Settings:
    return settings_of(tmp_path)


@pytest.fixture(scope="session")
def builders() -> dict[str, Callable[..., pd.DataFrame]]:
    """By suite: a function that makes a frame which keeps the suite's every rule."""
    return dict(FRAMES)
