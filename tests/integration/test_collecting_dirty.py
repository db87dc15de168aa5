"""What a build takes, how far it reaches, and what readers see until it is published."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from ratchet.loop import load_loop
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages import publishing
from ratchet.stages.build import collect
from ratchet.stages.publishing import publish
from ratchet.stages.reach import buildable, last_buildable
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.ops import ensure
from ratchet.warehouse.protocol import WarehouseError

LOOP = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")
TABLE = LOOP.features.table
AS_OF = datetime(2013, 8, 6)
DAYS = [date(2013, 1, 1) + timedelta(days=n) for n in range(218)]


def quiet(_: str) -> None:
    return None


@pytest.fixture
def settings(
    settings_of: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    # Nothing was served in this warehouse of two tables.
    monkeypatch.setattr(publishing, "measure_skew", lambda *_: None)
    settings = settings_of(tmp_path)
    with open_warehouse(settings, purpose="test") as warehouse:
        ensure(warehouse)
        warehouse.execute("create table raw.schedule (loop varchar, departure_date date)")
        warehouse.append("raw.schedule", pd.DataFrame({"loop": "flights", "departure_date": DAYS}))
        warehouse.execute(
            "insert into ops.landings (loop, source, received_date, file_name, file_sha256, rows_read, rows_landed, "
            "rows_quarantined, rows_duplicate) values ('flights', 'weather', ?, 'f', 'x', 1, 1, 0, 0)",
            (date(2013, 8, 5),),
        )
    return settings


def dirty(settings: Settings, source: str, day: date, verdict: str | None = "pass") -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("insert into ops.dirty_partitions values ('flights', ?, ?)", (source, day))
        if verdict:
            warehouse.execute(
                "insert into ops.partition_gates values ('flights', 'landing', ?, ?, ?, 1, null, 'x', ?)",
                (source, day, verdict, AS_OF),
            )


def reaches(settings: Settings, dates: dict[date, bool]) -> None:
    """Let the model answer that the partitions reach `dates`."""
    listed = " union all ".join(
        f"select 'flights' as loop, date '{day}' as departure_date, {features} as includes_features"
        for day, features in dates.items()
    )
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("create schema if not exists intermediate")
        warehouse.execute(f"create or replace view intermediate.int_departures_reached as {listed}")


def stage(settings: Settings, dates: dict[date, bool], *, value: int, verdict: str | None = "pass") -> None:
    """A scope, its staged facts and features with `value` in each row, and their verdicts."""
    with open_warehouse(settings, purpose="test") as warehouse:
        for schema in ("intermediate", "monitoring", "build_marts", "marts", "build_features", "features"):
            warehouse.execute(f"create schema if not exists {schema}")
        for schema, table in (("marts", "fct_labels"), ("features", TABLE)):
            for name in (f"build_{schema}.{table}", f"{schema}.{table}"):
                warehouse.execute(
                    f"create table if not exists {name} (loop varchar, departure_date date, value integer)"
                )
        for name, columns in (
            (
                "intermediate.int_feeds_landed",
                "'flights' as loop, timestamp '2013-08-06' as landed_until, "
                "timestamp '2013-08-06' as outcomes_until",
            ),
            (
                "intermediate.int_rows_unplaced",
                "'flights' as loop, 'x' as source, date '2013-08-01' as received_date, "
                "1 as n_rows, 0 as n_unknown_unit, 0 as n_out_of_reach",
            ),
            (
                "monitoring.mon_predictions_doubled",
                "'flights' as loop, date '2013-08-01' as departure_date, 'p2' as prediction_id, 'u' as unit_id, "
                "1 as model_version, timestamp '2013-08-01' as received_at, 'p1' as standing_prediction_id",
            ),
            (
                "monitoring.mon_label_windows",
                "'flights' as loop, date '2013-08-01' as departure_date, 1 as n_units, "
                "1 as n_in_window, 0 as n_late_report, 0 as n_without_outcome",
            ),
            (
                "monitoring.mon_label_maturity",
                "'flights' as loop, 'outcomes' as source, 1 as age_hours, 1 as n_units, "
                "1 as n_received, timestamp '2013-08-02' as complete_at",
            ),
        ):
            warehouse.execute(f"create or replace view {name} as select {columns}")
        warehouse.execute("delete from ops.build_scope")
        warehouse.execute("delete from ops.staged_gates")
        for day, features in dates.items():
            warehouse.execute(
                "insert into ops.build_scope values ('flights', ?, ?, ?)", (day, AS_OF, features)
            )
            for name in ("build_marts.fct_labels", f"build_features.{TABLE}"):
                warehouse.execute(f"delete from {name} where departure_date = ?", (day,))
                warehouse.execute(f"insert into {name} values ('flights', ?, ?)", (day, value))
            if features and verdict:
                warehouse.execute(
                    "insert into ops.staged_gates values ('flights', ?, ?, ?, 1, null, 'x', ?)",
                    (TABLE, day, verdict, AS_OF),
                )


def seen(settings: Settings, table: str) -> dict[date, int]:
    with open_warehouse(settings, purpose="test") as warehouse:
        found = warehouse.frame(f"select departure_date, value from {table} order by 1")
    days = pd.to_datetime(found["departure_date"]).dt.date
    return dict(zip(days, found["value"].astype(int), strict=True))


def rows(settings: Settings, table: str) -> int:
    with open_warehouse(settings, purpose="test") as warehouse:
        return int(warehouse.scalar(f"select count(*) from ops.{table}"))


def test_answers_that_count_otherwise_go_with_what_is_built_anyway(settings: Settings) -> None:
    """Their features are those of the next day: they start no build of their own, and none is lost."""
    received, other = date(2013, 8, 3), date(2013, 8, 5)
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute(
            "insert into ops.reweighed_partitions values ('flights', ?), ('other', ?)", (received, other)
        )
    reaches(settings, {date(2013, 8, 4): True})
    assert collect(settings, LOOP, AS_OF, quiet) is None
    with open_warehouse(settings, purpose="test") as warehouse:
        assert warehouse.scalar("select count(*) from ops.reweighed_partitions") == 2
    dirty(settings, "outcomes", other)
    taken = collect(settings, LOOP, AS_OF, quiet)
    assert taken is not None and taken["dirty"] == 2
    with open_warehouse(settings, purpose="test") as warehouse:
        found = warehouse.frame("select source, received_date from ops.building_partitions order by source")
        assert found["source"].tolist() == ["feedback", "outcomes"]
        assert pd.to_datetime(found["received_date"]).dt.date.tolist() == [received, other]
        assert warehouse.frame("select loop from ops.reweighed_partitions")["loop"].tolist() == ["other"]


def test_a_partition_between_landing_and_gate_waits_for_the_next_build(settings: Settings) -> None:
    dirty(settings, "outcomes", date(2013, 8, 1))
    dirty(settings, "weather", date(2013, 8, 2), verdict=None)
    taken = collect(settings, LOOP, AS_OF, quiet)
    assert taken is not None
    assert taken["dirty"] == 1
    assert (rows(settings, "dirty_partitions"), rows(settings, "building_partitions")) == (1, 1)
    assert collect(settings, LOOP, AS_OF, quiet) is not None, "what a dead build took is taken again"


def test_the_first_build_takes_every_date_that_can_be_known(settings: Settings) -> None:
    dirty(settings, "outcomes", date(2013, 6, 1))
    taken = collect(settings, LOOP, datetime(2013, 6, 2), quiet)
    assert taken is not None
    assert (taken["from"], taken["to"]) == ("2013-01-01", "2013-08-05")
    assert taken["features"] == taken["dates"] == 217


def test_later_builds_take_what_the_model_of_reach_says(settings: Settings) -> None:
    reaches(settings, {date(2013, 6, 1): False, date(2013, 8, 5): True, date(2013, 8, 6): True})
    dirty(settings, "outcomes", date(2013, 8, 5))
    taken = collect(settings, LOOP, AS_OF, quiet)
    assert taken == {"dirty": 1, "dates": 2, "features": 1, "from": "2013-06-01", "to": "2013-08-05"}


def test_partitions_that_reach_nothing_are_done(settings: Settings) -> None:
    reaches(settings, {date(2013, 8, 6): True})
    dirty(settings, "outcomes", date(2013, 8, 5))
    assert collect(settings, LOOP, AS_OF, quiet) is None
    assert rows(settings, "building_partitions") == 0
    assert (read(settings, "flights", "partitions") or {})["builds"] == 1


def test_without_a_schedule_the_partitions_wait(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("delete from raw.schedule")
    dirty(settings, "outcomes", date(2013, 8, 1))
    assert collect(settings, LOOP, AS_OF, quiet) is None
    assert (read(settings, "flights", "partitions") or {})["dirty"] == 1


def test_readers_keep_what_is_published_until_the_build_is(settings: Settings) -> None:
    first, second = date(2013, 7, 1), date(2013, 7, 2)
    stage(settings, {first: True, second: True}, value=1)
    publish(settings, LOOP, AS_OF, quiet)
    stage(settings, {first: True, second: False}, value=2)
    for table in ("marts.fct_labels", f"features.{TABLE}"):
        assert seen(settings, table) == {first: 1, second: 1}, f"{table} changed before it was published"
    publish(settings, LOOP, AS_OF, quiet)
    assert seen(settings, "marts.fct_labels") == {first: 2, second: 2}
    assert seen(settings, f"features.{TABLE}") == {first: 2, second: 1}, "of the second only facts changed"


def test_a_red_partition_stays_out_also_when_it_was_green_before(settings: Settings) -> None:
    day = date(2013, 7, 1)
    stage(settings, {day: True}, value=1)
    assert publish(settings, LOOP, AS_OF, quiet)["visible"] == 1
    stage(settings, {day: True}, value=2, verdict="block")
    assert publish(settings, LOOP, AS_OF, quiet)["visible"] == 0
    assert seen(settings, f"features.{TABLE}") == {}
    assert seen(settings, "marts.fct_labels") == {day: 2}
    blocked = (read(settings, "flights", "partitions") or {})["blocked"]
    assert [item["partition_date"] for item in blocked] == ["2013-07-01"]


@pytest.mark.parametrize("fault", ["unjudged", "changed since"])
def test_what_was_not_judged_is_not_published(settings: Settings, fault: str) -> None:
    day = date(2013, 7, 1)
    stage(settings, {day: True}, value=1)
    publish(settings, LOOP, AS_OF, quiet)
    stage(settings, {day: True}, value=2, verdict=None if fault == "unjudged" else "pass")
    if fault == "changed since":
        with open_warehouse(settings, purpose="test") as warehouse:
            warehouse.execute(f"insert into build_features.{TABLE} values ('flights', ?, 3)", (day,))
    with pytest.raises(WarehouseError, match="2013-07-01"):
        publish(settings, LOOP, AS_OF, quiet)
    assert seen(settings, f"features.{TABLE}") == {day: 1}
    assert seen(settings, "marts.fct_labels") == {day: 1}, "half of it was published"


def test_publishing_again_changes_nothing_and_still_knows_what_was_built(settings: Settings) -> None:
    day = date(2013, 7, 1)
    stage(settings, {day: True}, value=1)
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute(
            "insert into ops.building_partitions values ('flights', 'predictions', ?)", (date(2013, 7, 2),)
        )
    told = [publish(settings, LOOP, AS_OF, quiet) for _ in range(2)]
    assert [item["judgeable"] for item in told] == [True, True], "a retry must announce what was built"
    assert seen(settings, f"features.{TABLE}") == {day: 1}
    assert rows(settings, "building_partitions") == 0


@pytest.mark.parametrize(
    ("zone", "last_landed", "last"),
    [
        ("America/New_York", date(2013, 3, 9), date(2013, 3, 9)),
        ("America/New_York", date(2013, 3, 10), date(2013, 3, 10)),  # 23 hours long
        ("America/New_York", date(2013, 11, 3), date(2013, 11, 3)),  # 25 hours long
        ("America/New_York", date(2012, 2, 28), date(2012, 2, 28)),  # a leap year
        ("Europe/Berlin", date(2013, 7, 1), date(2013, 7, 2)),
        ("UTC", date(2013, 7, 1), date(2013, 7, 2)),
    ],
)
def test_a_date_is_built_once_a_prediction_of_it_is_due(zone: str, last_landed: date, last: date) -> None:
    loop = LOOP.model_copy(update={"timezone": zone})
    assert last_buildable(loop, last_landed) == last
    reached = {last + timedelta(days=n): bool(n % 2) for n in (-1, 0, 1)}
    assert buildable(loop, reached, last_landed) == {
        last - timedelta(days=1): True,
        last: False,
    }
