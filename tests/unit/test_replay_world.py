"""The demo's world: what its files hold, and what they must never hold."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest

from ratchet.loop import Loop, load_loop
from ratchet.replay import flights as real
from ratchet.replay.world import REACTION_DAYS, World
from ratchet.settings import Settings, load_settings

START, END = date(2013, 3, 4), date(2013, 3, 17)
WEEK = (date(2013, 3, 11), date(2013, 3, 17))
MODEL_SEED = 5


def _settings(home: Path) -> Settings:
    return load_settings({"RATCHET_HOME": str(home)})


@pytest.fixture(scope="module")
def loop() -> Loop:
    settings = load_settings({})
    return load_loop(settings.loops_dir / "flights.yml")


def another(played: tuple[World, Settings], home: Path, seed: int) -> tuple[World, Settings]:
    """A world in a home of its own, on the flights that are already loaded."""
    settings = _settings(home)
    world = World(settings, played[0]._loop, seed)
    vars(world)["flights"] = played[0].flights
    return world, settings


def serve(world: World, settings: Settings, first: date, last: date, shift: float = 0.0) -> int:
    """Land predictions of a made-up model for the departures from first to last; how many were served."""
    flights = world.flights
    inside = (flights["departure_date"] >= pd.Timestamp(first)) & (
        flights["departure_date"] <= pd.Timestamp(last)
    )
    rows = flights[inside]
    noise = np.random.default_rng(MODEL_SEED).normal(size=len(rows))
    logit = -1.6 + noise + 0.9 * (rows["delay_minutes"] >= 15) + shift
    predicted = rows["scheduled_departure_at"] - pd.Timedelta(hours=2)
    table = pd.DataFrame(
        {
            "prediction_id": "v1-" + rows["flight_id"],
            "unit_id": rows["flight_id"],
            "experiment_id": None,
            "arm": "champion",
            "model_version": 1,
            "is_served": True,
            "score": 1 / (1 + np.exp(-logit)),
            "latency_ms": 0.5,
            "event_at": predicted,
            "received_at": predicted,
        }
    )
    silent = table.assign(
        prediction_id="v2-" + rows["flight_id"], is_served=False, model_version=2, score=0.999
    )
    both = pd.concat([table, silent])
    for day, part in both.groupby(both["received_at"].dt.date):
        path = settings.landing_dir / "flights" / "predictions" / f"received_date={day}" / "step.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.to_parquet(path, index=False)
    return len(table)


@pytest.fixture(scope="module")
def played(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Settings]:
    """Two weeks of inputs, and a week of reactions to five weeks of predictions."""
    settings = _settings(tmp_path_factory.mktemp("home"))
    world = World(settings, loop, seed=1)
    world.write_inputs(START, END, lambda _: None)
    assert serve(world, settings, WEEK[0] - timedelta(days=REACTION_DAYS), WEEK[1]) > 25_000
    world.write_reactions(*WEEK, lambda _: None)
    return world, settings


def _digests(settings: Settings, *sources: str) -> dict[str, str]:
    root = settings.landing_dir / "flights"
    found = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for source in sources
        for path in sorted((root / source).rglob("*"))
        if path.is_file()
    }
    assert found, f"no files of {sources} to compare"
    return found


def _json_rows(settings: Settings, source: str) -> list[dict[str, object]]:
    rows = []
    for path in sorted((settings.landing_dir / "flights" / source).rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows


def test_every_flight_of_the_year_has_its_own_id_and_a_later_arrival_than_departure(played) -> None:
    flights = played[0].flights
    assert len(flights) == 336_776
    assert flights["flight_id"].is_unique
    assert (flights["scheduled_arrival_at"] > flights["scheduled_departure_at"]).all()
    assert flights["scheduled_arrival_at"].notna().all()


def test_cancelled_and_diverted_flights_have_no_outcome(played) -> None:
    flights = played[0].flights
    without = flights[flights["delay_minutes"].isna()]
    assert len(without) == 9_430
    assert without[["arrived_at", "outcome_received_at"]].isna().all(axis=None)
    assert not set(real.outcome_rows(flights)["unit_id"]) & set(without["flight_id"])


def test_scheduled_arrival_is_the_local_clock_at_the_destination(played) -> None:
    flights = played[0].flights.set_index("flight_id")
    # UA 1545 to Houston: 08:19 Central (UTC-6); B6 725 to San Juan: 10:22 Atlantic (UTC-4), not listed.
    assert flights.loc["UA1545-EWR-20130101-0515", "scheduled_arrival_at"] == pd.Timestamp("2013-01-01 14:19")
    b6 = flights[(flights["dest"] == "BQN") & (flights["departure_date"] == "2013-01-01")].iloc[0]
    assert b6["scheduled_arrival_at"].tz_localize("UTC").tz_convert("America/Puerto_Rico").date() == date(
        2013, 1, 1
    )


def test_the_outcome_lag_has_the_stated_median_and_late_share(played) -> None:
    flights = played[0].flights.dropna(subset=["arrived_at"])
    lag = (flights["outcome_received_at"] - flights["arrived_at"]).dt.total_seconds() / 60
    assert lag.min() > 0
    assert lag.median() == pytest.approx(real.OUTCOME_LAG_MEDIAN_MINUTES, rel=0.02)
    late = lag >= 1_440
    assert late.mean() == pytest.approx(real.OUTCOME_LATE_SHARE, abs=0.001)
    assert lag.max() <= real.OUTCOME_LATE_DAYS[1] * 1_440


def test_the_outcome_lag_is_the_same_for_every_seed_of_travellers(loop: Loop, played) -> None:
    other = World(_settings(Path("unused")), loop, seed=99)
    pd.testing.assert_frame_equal(other.flights, played[0].flights)


def test_the_schedule_is_received_three_days_ahead_with_its_columns_only(played) -> None:
    _, settings = played
    files = sorted((settings.landing_dir / "flights" / "schedule").rglob("*.csv"))
    assert len(files) == 14
    for path in files:
        day = date.fromisoformat(path.parent.name.removeprefix("received_date="))
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert tuple(rows[0]) == real.SCHEDULE_COLUMNS
        assert {row["departure_date"] for row in rows} == {str(day + timedelta(days=3))}
        assert {row["received_at"] for row in rows} == {f"{day}T12:00:00Z"}


def test_weather_is_received_twenty_minutes_after_its_hour(played) -> None:
    weather = real.load_weather()
    assert len(weather) == 26_115
    assert ((weather["received_at"] - weather["event_at"]) == pd.Timedelta(minutes=20)).all()
    assert weather["event_at"].dt.minute.eq(0).all()


def test_no_file_names_what_is_known_only_after_departure(played) -> None:
    """Column names and JSON keys, in every file of every source; an outcome says only how late it was."""
    _, settings = played
    never = {"dep_time", "dep_delay", "departure_delay_minutes", "air_time", "arr_time", "arr_delay"}
    looked_at: Counter[str] = Counter()
    for path in sorted((settings.landing_dir / "flights").rglob("*.*")):
        if not path.is_file():
            continue
        if path.suffix == ".parquet":
            names = set(parquet.read_schema(path).names)
        elif path.suffix == ".csv":
            names = set(path.read_text(encoding="utf-8").split("\n", 1)[0].split(","))
        else:
            names = set(json.loads(path.read_text(encoding="utf-8").split("\n", 2)[1]))
        assert names and not names & never, path
        assert "outcome_value" not in names or path.parent.parent.name == "outcomes"
        looked_at[path.parent.parent.name] += 1
    # The world plays the predictions too; the log of their features is the scoring's own.
    written = set(load_loop(settings.loops_dir / "flights.yml").sources) - {"served_features"}
    assert set(looked_at) == written
    assert min(looked_at.values()) >= 1


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_else(played) -> None:
    world, settings = played
    sources = ("schedule", "weather", "outcomes", "planes", "airports", "feedback", "telemetry")
    before = _digests(settings, *sources)
    again = World(settings, world._loop, seed=1)
    again.write_inputs(START, END, lambda _: None)
    again.write_reactions(*WEEK, lambda _: None)
    assert _digests(settings, *sources) == before


def test_inputs_written_day_by_day_equal_inputs_written_at_once(played, tmp_path: Path) -> None:
    _, settings = played
    apart, other = another(played, tmp_path, seed=2)
    day = START
    while day <= END:
        apart.write_inputs(day, day, lambda _: None)
        day += timedelta(days=1)
    sources = ("schedule", "weather", "outcomes", "planes", "airports")
    assert _digests(other, *sources) == _digests(settings, *sources)


def test_reactions_do_not_depend_on_where_the_weeks_are_cut(played, tmp_path: Path) -> None:
    _, settings = played
    world, other = another(played, tmp_path, seed=1)
    serve(world, other, WEEK[0] - timedelta(days=REACTION_DAYS), WEEK[1])
    world.write_reactions(date(2013, 3, 13), WEEK[1], lambda _: None)
    world.write_reactions(WEEK[0], date(2013, 3, 12), lambda _: None)
    assert _digests(other, "feedback", "telemetry") == _digests(settings, "feedback", "telemetry")


def test_other_travellers_answer_otherwise(played, tmp_path: Path) -> None:
    _, settings = played
    world, other = another(played, tmp_path, seed=2)
    serve(world, other, WEEK[0] - timedelta(days=REACTION_DAYS), WEEK[1])
    world.write_reactions(*WEEK, lambda _: None)
    assert _digests(other, "feedback") != _digests(settings, "feedback")


def test_every_answer_is_about_a_served_prediction_and_called_simulated(played) -> None:
    _, settings = played
    for source in ("feedback", "telemetry"):
        rows = _json_rows(settings, source)
        assert len(rows) > 10_000
        assert {str(row["prediction_id"])[:3] for row in rows} == {"v1-"}
        assert all(row["is_simulated"] is True for row in rows)


def test_a_week_without_predictions_gets_no_reactions(played, tmp_path: Path) -> None:
    world, _ = another(played, tmp_path, seed=1)
    written = world.write_reactions(*WEEK, lambda _: None)
    assert written.rows == {"feedback": 0, "telemetry": 0}
    assert written.files == ()


def test_a_prediction_about_no_flight_is_an_error(played, tmp_path: Path) -> None:
    world, settings = another(played, tmp_path, seed=1)
    serve(world, settings, WEEK[0], WEEK[0])
    path = next((settings.landing_dir / "flights" / "predictions").rglob("*.parquet"))
    rows = pd.read_parquet(path)
    rows["unit_id"] = "XX1-" + rows["unit_id"]
    rows.to_parquet(path, index=False)
    with pytest.raises(ValueError, match="name flights that do not exist"):
        world.write_reactions(*WEEK, lambda _: None)


def test_a_range_that_ends_before_it_starts_is_an_error(loop: Loop, tmp_path: Path) -> None:
    world = World(_settings(tmp_path), loop, seed=1)
    with pytest.raises(ValueError, match="before it starts"):
        world.write_inputs(END, START, lambda _: None)
    with pytest.raises(ValueError, match="before it starts"):
        world.write_reactions(END, START, lambda _: None)


def test_missing_data_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(real.FlightDataError, match=r"requirements\.lock"):
        real.data_file("flights.csv.zip")
