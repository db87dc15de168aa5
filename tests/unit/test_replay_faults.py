"""Planted faults: as many as reported, refused by landing for a reason, and no true row lost."""

from __future__ import annotations

import io
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest

from ratchet.landing.contract import SourceContract, load_contract
from ratchet.landing.readers import read_chunks
from ratchet.landing.validate import validate
from ratchet.loop import load_loop
from ratchet.replay import faults
from ratchet.replay.files import csv_line, json_line
from ratchet.replay.world import World
from ratchet.settings import load_settings

DAY = date(2013, 5, 14)
ROWS = {
    "outcomes": (
        ("outcome_id", "unit_id", "outcome_value", "event_at", "received_at"),
        lambda i: (f"o{i}", f"u{i}", float(i % 90), f"{DAY}T01:00:00Z", f"{DAY}T02:00:00Z"),
    ),
    "weather": (
        ("origin", "event_at", "received_at", "temperature_f", "dew_point_f", "humidity_pct",
         "wind_direction_deg", "wind_speed_mph", "wind_gust_mph", "precipitation_in", "pressure_mb",
         "visibility_miles"),
        lambda i: ("EWR", f"{DAY}T01:00:00Z", f"{DAY}T01:20:00Z", 50.0 + i / 1000, *[None] * 8),
    ),
    "feedback": (
        ("feedback_id", "prediction_id", "unit_id", "channel", "rating", "comment", "category",
         "is_simulated", "event_at", "received_at"),
        lambda i: (f"f{i}", "p", "u", "rating", 4, None, None, True, f"{DAY}T01:00:00Z", f"{DAY}T02:00:00Z"),
    ),
    "telemetry": (
        ("telemetry_id", "prediction_id", "unit_id", "event_type", "event_count", "is_simulated",
         "event_at", "received_at"),
        lambda i: (f"t{i}", "p", "u", "app_error", 1, True, f"{DAY}T01:00:00Z", f"{DAY}T02:00:00Z"),
    ),
}  # fmt: skip
FORMS = {"outcomes": "jsonl", "weather": "csv", "feedback": "jsonl", "telemetry": "jsonl"}


def _plant(source: str, count: int, day: date = DAY) -> tuple[list[str], list[str], faults.PlantedFaults]:
    columns, make = ROWS[source]
    rows = [make(i) for i in range(count)]
    write = csv_line if FORMS[source] == "csv" else json_line
    lines, planted = faults.plant(source, day, columns, rows, write, FORMS[source])
    return [write(columns, row) for row in rows], lines, planted


def _sorted(data: bytes, form: str, contract: SourceContract, day: date) -> tuple[int, int]:
    """How many rows of a file landing would take, and how many it would refuse."""
    good = refused = 0
    for chunk in read_chunks(io.BytesIO(data), f"a.{form}", contract):
        _, is_good, _ = validate(chunk, contract, day)
        good += int(is_good.sum())
        refused += len(chunk.rejected) + int((~is_good).sum())
    return good, refused


@pytest.mark.parametrize("source", sorted(ROWS))
def test_about_one_row_in_two_thousand_is_spoiled_and_every_true_row_is_kept(source: str) -> None:
    true, lines, planted = _plant(source, 40_000)
    total = sum(planted.kinds.values())
    assert 8 <= total <= 40
    assert len(lines) == len(true) + total
    assert Counter(true) - Counter(lines) == Counter()
    true_lines = set(true)
    assert sum(line not in true_lines for line in lines) == planted.refused


def test_every_kind_of_fault_is_planted_sooner_or_later() -> None:
    kinds = {
        kind
        for offset in range(5)
        for kind in _plant("telemetry", 20_000, DAY + timedelta(days=offset))[2].kinds
    }
    assert kinds == set(faults.kinds_for("telemetry"))


@pytest.mark.parametrize("source", sorted(ROWS))
def test_a_file_written_again_has_the_same_faults(source: str) -> None:
    assert _plant(source, 20_000) == _plant(source, 20_000)


def test_faults_differ_from_day_to_day() -> None:
    counts = {sum(_plant("outcomes", 4_000, DAY + timedelta(days=i))[2].kinds.values()) for i in range(8)}
    assert len(counts) > 1


@pytest.mark.parametrize("source", sorted(ROWS))
def test_landing_refuses_each_kind_of_fault(source: str) -> None:
    """One file with many faults, read as landing reads it: refused = planted, the rest is good."""
    contract = load_contract(load_settings({}).dbt_dir, source)
    true, lines, planted = _plant(source, 40_000)
    header = [",".join(ROWS[source][0])] if FORMS[source] == "csv" else []
    good, refused = _sorted("\n".join([*header, *lines]).encode(), FORMS[source], contract, DAY)
    assert planted.refused > 0
    assert refused == planted.refused
    assert good == len(true) + planted.duplicates


@pytest.mark.parametrize("source", ["schedule", "planes", "predictions"])
def test_other_sources_are_left_alone(source: str) -> None:
    lines, planted = faults.plant(source, DAY, ("a",), [(1,)] * 10_000, json_line, "jsonl")
    assert len(lines) == 10_000
    assert planted.kinds == {}


def test_an_empty_day_has_no_faults() -> None:
    assert faults.plant("outcomes", DAY, ("a",), [], json_line, "jsonl")[0] == []


def test_the_world_reports_what_landing_will_refuse(tmp_path: Path) -> None:
    """A month of inputs: rows that the contracts refuse, file by file, are the planted ones."""
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    loop = load_loop(settings.loops_dir / "flights.yml")
    written = World(settings, loop, seed=1).write_inputs(date(2013, 6, 1), date(2013, 6, 30), lambda _: None)
    refused: Counter[str] = Counter()
    good: Counter[str] = Counter()
    for path in written.files:
        source = path.parent.parent.name
        contract = load_contract(settings.dbt_dir, source)
        day = date.fromisoformat(path.parent.name.removeprefix("received_date="))
        kept, lost = _sorted(path.read_bytes(), path.suffix[1:], contract, day)
        refused[source] += lost
        good[source] += kept
    assert written.refused["outcomes"] > 0
    for source, rows in written.rows.items():
        assert refused[source] == written.refused.get(source, 0)
        assert good[source] == rows + written.duplicates.get(source, 0)
