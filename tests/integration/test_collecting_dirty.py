"""What a build takes, how far it reaches, and who may read in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from ratchet.loop import load_loop
from ratchet.published import publish, read
from ratchet.settings import Settings, load_settings
from ratchet.stages.build import collect
from ratchet.stages.reach import reach_of
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.ops import ensure

LOOP = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")
AS_OF = datetime(2013, 8, 6)


def quiet(_: str) -> None:
    return None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = replace(load_settings({}), home=tmp_path, warehouse_path=tmp_path / "w.duckdb")
    with open_warehouse(settings, purpose="test") as warehouse:
        ensure(warehouse)
        warehouse.execute("create table raw.schedule (loop varchar, departure_date date)")
        days = [date(2013, 1, 1) + timedelta(days=n) for n in range(218)]
        warehouse.append("raw.schedule", pd.DataFrame({"loop": "flights", "departure_date": days}))
    return settings


def dirty(settings: Settings, source: str, day: date, verdict: str | None = "pass") -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("insert into ops.dirty_partitions values ('flights', ?, ?)", (source, day))
        if verdict:
            warehouse.execute(
                "insert into ops.partition_gates values ('flights', 'landing', ?, ?, ?, 1, null, 'x', ?)",
                (source, day, verdict, AS_OF),
            )


def rows(settings: Settings, table: str) -> int:
    with open_warehouse(settings, purpose="test") as warehouse:
        return int(warehouse.scalar(f"select count(*) from ops.{table}"))


def test_a_partition_between_landing_and_gate_waits_for_the_next_build(settings: Settings) -> None:
    dirty(settings, "outcomes", date(2013, 8, 1))
    dirty(settings, "weather", date(2013, 8, 2), verdict=None)
    taken = collect(settings, LOOP, AS_OF, quiet)
    assert taken is not None
    assert taken["dirty"] == 1
    assert (rows(settings, "dirty_partitions"), rows(settings, "building_partitions")) == (1, 1)
    assert collect(settings, LOOP, AS_OF, quiet) is not None, "what a dead build took is taken again"


def test_a_late_backfill_reaches_up_to_the_newest_build(settings: Settings) -> None:
    publish(settings, "flights", "partitions", {"as_of": AS_OF, "builds": 7})
    dirty(settings, "outcomes", date(2013, 6, 1))
    taken = collect(settings, LOOP, datetime(2013, 6, 2), quiet)
    assert taken is not None
    assert taken["from"] == "2013-05-04"
    assert taken["to"] == "2013-07-06", "35 days of features look back at that day"


def test_features_to_be_rebuilt_are_invisible_until_judged(settings: Settings) -> None:
    table = LOOP.features.table
    with open_warehouse(settings, purpose="test") as warehouse:
        for day in (date(2013, 5, 1), date(2013, 8, 1)):
            warehouse.execute(
                "insert into ops.partition_gates values ('flights', 'features', ?, ?, 'pass', 1, null, 'x', ?)",
                (table, day, AS_OF),
            )
    dirty(settings, "feedback", date(2013, 8, 2))
    assert collect(settings, LOOP, AS_OF, quiet) is not None
    with open_warehouse(settings, purpose="test") as warehouse:
        features = "select count(*) from ops.partition_gates where border = 'features'"
        assert warehouse.scalar(features) == 2, "facts only: features stay as judged"
    dirty(settings, "outcomes", date(2013, 8, 2))
    assert collect(settings, LOOP, AS_OF, quiet) is not None
    with open_warehouse(settings, purpose="test") as warehouse:
        kept = warehouse.frame("select partition_date from ops.partition_gates where border = 'features'")
    assert [pd.Timestamp(day).date() for day in kept["partition_date"]] == [date(2013, 5, 1)]


def test_nothing_to_reach_is_no_crash(settings: Settings) -> None:
    dirty(settings, "outcomes", date(2013, 12, 30))
    assert collect(settings, LOOP, AS_OF, quiet) is None
    assert rows(settings, "building_partitions") == 0
    assert (read(settings, "flights", "partitions") or {})["builds"] == 1


def test_without_a_schedule_the_partitions_wait(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("delete from raw.schedule")
    dirty(settings, "outcomes", date(2013, 8, 1))
    assert collect(settings, LOOP, AS_OF, quiet) is None
    assert (read(settings, "flights", "partitions") or {})["dirty"] == 1


@pytest.mark.parametrize(
    ("source", "day", "first", "last"),
    [
        ("outcomes", date(2013, 6, 1), date(2013, 5, 4), date(2013, 7, 6)),
        ("feedback", date(2013, 6, 1), date(2013, 5, 4), date(2013, 6, 4)),
        ("planes", date(2012, 12, 31), date(2013, 1, 1), date(2013, 8, 5)),
        ("outcomes", date(2013, 8, 4), date(2013, 7, 7), date(2013, 8, 5)),
    ],
)
def test_reach(source: str, day: date, first: date, last: date) -> None:
    found = reach_of(LOOP, [(source, day)], date(2013, 1, 1), date(2013, 8, 8), AS_OF)
    assert (found[0], found[-1]) == (first, last)
    assert len(found) == (last - first).days + 1
    assert reach_of(LOOP, [], date(2013, 1, 1), date(2013, 8, 8), AS_OF) == []
