"""Take the dirty list, say what it reaches, judge what was built and publish it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pandas as pd

from ratchet.loop import Loop
from ratchet.published import read as read_summary
from ratchet.quality.gates import gate_features
from ratchet.settings import Settings
from ratchet.stages.dbt_environment import run_dbt
from ratchet.stages.enriching import enrich_landed
from ratchet.stages.publishing import build_as_of, publish, publish_partitions
from ratchet.stages.reach import buildable
from ratchet.stages.records import record_gate
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse, WarehouseError

Log = Callable[[str], None]


def collect(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any] | None:
    """Move the dirty partitions that were judged into the running build and write down the dates they reach.

    A partition between its landing and its gate stays dirty for the next build; what a build that died had
    taken is taken again. Readers keep what is published until the build is. None when there is nothing to build.
    """
    name = loop.loop
    purpose = f"collecting dirty partitions of {name}"
    with (
        open_warehouse(settings, purpose=purpose) as warehouse,
        warehouse.transaction(),
        warehouse.lock(f"build:{name}"),
    ):
        as_of = build_as_of(settings, loop, warehouse, as_of)
        enrich_landed(warehouse, settings, loop, log)
        warehouse.execute(
            "insert into ops.building_partitions select loop, source, received_date from ops.dirty_partitions d "
            "where loop = ? and exists (select 1 from ops.partition_gates g where g.loop = d.loop "
            "and g.border = 'landing' and g.table_name = d.source and g.partition_date = d.received_date) "
            "and not exists (select 1 from ops.building_partitions b where b.loop = d.loop "
            "and b.source = d.source and b.received_date = d.received_date)",
            (name,),
        )
        warehouse.execute(
            "delete from ops.dirty_partitions as d where loop = ? and exists (select 1 from "
            "ops.building_partitions b where b.loop = d.loop and b.source = d.source "
            "and b.received_date = d.received_date)",
            (name,),
        )
        _take_reweighed(warehouse, name)
        taken = warehouse.scalar("select count(*) from ops.building_partitions where loop = ?", (name,))
        known = _known_departures(warehouse, loop)
        if not taken or known is None:
            log("nothing to build: no judged partition is dirty, or no schedule has landed yet")
            if taken:
                log(f"{taken} partitions wait for the first schedule")
            publish_partitions(settings, loop, warehouse, as_of)
            return None
        dates = buildable(loop, _reached(warehouse, loop), _last_landed(warehouse, loop))
        if not dates:
            log(f"{taken} partitions reach no flight that is built yet: they are done")
            warehouse.execute("delete from ops.building_partitions where loop = ?", (name,))
            publish_partitions(settings, loop, warehouse, as_of)
            return None
        write_scope(warehouse, loop, dates, as_of)
    days = sorted(dates)
    features = sum(dates.values())
    log(
        f"{taken} dirty partitions reach {len(days)} departure dates, {days[0]} to {days[-1]}; "
        f"features of {features} of them"
    )
    return {
        "dirty": int(taken),
        "dates": len(days),
        "features": features,
        "from": days[0].isoformat(),
        "to": days[-1].isoformat(),
    }


def _take_reweighed(warehouse: Warehouse, name: str) -> None:
    """Partitions whose answers count otherwise go with what is built anyway."""
    warehouse.execute(
        "insert into ops.building_partitions select loop, 'feedback', received_date from ops.reweighed_partitions r "
        "where loop = ? and exists (select 1 from ops.building_partitions b where b.loop = r.loop) "
        "and not exists (select 1 from ops.building_partitions b where b.loop = r.loop "
        "and b.source = 'feedback' and b.received_date = r.received_date)",
        (name,),
    )
    warehouse.execute(
        "delete from ops.reweighed_partitions as r where loop = ? and exists (select 1 from "
        "ops.building_partitions b where b.loop = r.loop and b.source = 'feedback' "
        "and b.received_date = r.received_date)",
        (name,),
    )


def _last_landed(warehouse: Warehouse, loop: Loop) -> date:
    """The last received date of the feeds, as the models see it; before the first build, of all sources."""
    found = None
    if _has_model(warehouse, "int_feeds_landed"):
        found = warehouse.scalar(
            "select landed_until - interval '1 day' from intermediate.int_feeds_landed where loop = ?",
            (loop.loop,),
        )
    if found is None:
        found = warehouse.scalar("select max(received_date) from ops.landings where loop = ?", (loop.loop,))
    return pd.Timestamp(found).date()


def _has_model(warehouse: Warehouse, name: str) -> bool:
    return bool(
        warehouse.scalar(
            "select count(*) from information_schema.tables where table_schema = 'intermediate' "
            "and table_name = ?",
            (name,),
        )
    )


def _known_departures(warehouse: Warehouse, loop: Loop) -> tuple[date, date] | None:
    known = warehouse.frame(
        "select min(departure_date) as first, max(departure_date) as last from raw.schedule where loop = ?",
        (loop.loop,),
    )
    if known["first"].isna().all():
        return None
    return pd.Timestamp(known["first"].iloc[0]).date(), pd.Timestamp(known["last"].iloc[0]).date()


def _reached(warehouse: Warehouse, loop: Loop) -> dict[date, bool]:
    """By departure date that the taken partitions reach, whether features change; before the first build, all."""
    if not _has_model(warehouse, "int_departures_reached"):
        return all_departures(warehouse, loop)
    found = warehouse.frame(
        "select departure_date, includes_features from intermediate.int_departures_reached where loop = ?",
        (loop.loop,),
    )
    days = pd.to_datetime(found["departure_date"]).dt.date
    return {day: bool(features) for day, features in zip(days, found["includes_features"], strict=True)}


def all_departures(warehouse: Warehouse, loop: Loop) -> dict[date, bool]:
    """Every departure date that the landed schedule names, features included."""
    known = warehouse.frame("select distinct departure_date from raw.schedule where loop = ?", (loop.loop,))
    return dict.fromkeys(pd.to_datetime(known["departure_date"]).dt.date, True)


def write_scope(warehouse: Warehouse, loop: Loop, dates: dict[date, bool], as_of: datetime) -> None:
    """Write down what the next dbt run rebuilds; what it stages is unjudged from here on."""
    warehouse.execute("delete from ops.build_scope where loop = ?", (loop.loop,))
    warehouse.execute("delete from ops.staged_gates where loop = ?", (loop.loop,))
    days = sorted(dates)
    warehouse.append(
        "ops.build_scope",
        pd.DataFrame(
            {
                "loop": loop.loop,
                "departure_date": days,
                "as_of": as_of,
                "includes_features": [dates[day] for day in days],
            }
        ),
    )


def rebuild(settings: Settings, loop: Loop, log: Log, *, take_over: bool = False) -> dict[str, Any]:
    """Build every known date anew with the models as they are now, judge and publish: after a change of SQL.

    `take_over`: what a build took that can't end any more is built with the rest. That build must not be running.

    Raises:
        BuildFailed: a model or a test failed; the rebuilt features stay invisible.
        WarehouseError: nothing has landed yet, or a build took partitions and did not end.
    """
    built = read_summary(settings, loop.loop, "partitions")
    with open_warehouse(settings, purpose=f"rebuilding {loop.loop}") as warehouse, warehouse.transaction():
        known = _known_departures(warehouse, loop)
        if known is None or built is None:
            raise WarehouseError("nothing was built yet: land a history first (ingest_events)")
        unfinished = warehouse.scalar(
            "select count(*) from ops.building_partitions where loop = ?", (loop.loop,)
        )
        if unfinished and not take_over:
            raise WarehouseError(
                f"a build took {unfinished} partitions and did not end: clear build_models of its run first, or, if it "
                "fails because models have changed since, `ratchet rebuild --take-over`"
            )
        as_of = datetime.fromisoformat(built["as_of"])
        dates = buildable(loop, all_departures(warehouse, loop), _last_landed(warehouse, loop))
        if not dates:
            raise WarehouseError(
                "no landed flight departs before the end of what has landed: land more first"
            )
        write_scope(warehouse, loop, dates, as_of)
    log(f"rebuilding {len(dates)} departure dates, {min(dates)} to {max(dates)}")
    run_dbt(settings, ["--quiet", "build", "--selector", loop.loop, "--full-refresh"])
    judge_features(settings, loop, as_of, log)
    return publish(settings, loop, as_of, log)


def judge_features(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Judge the staged feature partitions of the running build; publishing makes the verdicts theirs."""
    with open_warehouse(settings, purpose=f"feature gate of {loop.loop}") as warehouse:
        as_of = build_as_of(settings, loop, warehouse, as_of)
        scope = warehouse.frame(
            "select departure_date from ops.build_scope where loop = ? and includes_features order by 1",
            (loop.loop,),
        )
        if scope.empty:
            log("facts only: no feature partition was rebuilt, none is judged")
            return {"green": 0, "blocked": []}
        dates = [pd.Timestamp(day).date() for day in scope["departure_date"]]
        report = gate_features(loop, settings, warehouse, dates, as_of)
    return record_gate(settings, loop, report, f"features:{dates[0]}:{dates[-1]}:{as_of:%Y-%m-%d}", log)
