"""Take the dirty list, say what it reaches, judge what was built and publish it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.loop import Loop
from ratchet.published import publish as publish_summary
from ratchet.published import read as read_summary
from ratchet.quality.gates import gate_features
from ratchet.settings import Settings
from ratchet.stages.dbt_environment import run_dbt
from ratchet.stages.reach import FACT_SOURCES, reach_of
from ratchet.stages.records import record_gate
from ratchet.stages.serving import effective_as_of
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse, WarehouseError

Log = Callable[[str], None]


def collect(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any] | None:
    """Move the dirty partitions that were judged into the running build and write down the dates they reach.

    A partition between its landing and its gate stays dirty for the next build; what a build that died had
    taken is taken again. Feature partitions that will be rebuilt lose their verdict now: nobody reads them
    before they are judged anew. None when there is nothing to build.
    """
    name = loop.loop
    as_of = _build_as_of(settings, loop, as_of)
    purpose = f"collecting dirty partitions of {name}"
    with open_warehouse(settings, purpose=purpose) as warehouse, warehouse.transaction():
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
        taken = warehouse.frame(
            "select source, received_date from ops.building_partitions where loop = ? order by 2, 1", (name,)
        )
        dates, facts_only = _scope(warehouse, loop, taken, as_of)
        if not dates:
            log("nothing to build: no judged partition is dirty, or none reaches a known departure")
            if len(taken) and not _has_schedule(warehouse, loop):
                log(f"{len(taken)} partitions wait for the first schedule")
            else:
                warehouse.execute("delete from ops.building_partitions where loop = ?", (name,))
            _publish_partitions(settings, loop, warehouse, as_of)
            return None
        write_scope(warehouse, loop, dates, as_of, includes_features=not facts_only)
    log(f"{len(taken)} dirty partitions reach {len(dates)} departure dates, {dates[0]} to {dates[-1]}")
    return {
        "dirty": len(taken),
        "dates": len(dates),
        "from": dates[0].isoformat(),
        "to": dates[-1].isoformat(),
    }


def _build_as_of(settings: Settings, loop: Loop, as_of: datetime) -> datetime:
    """The time that a build is made at: not before the newest one, not after the end of what has landed."""
    with open_warehouse(settings, purpose=f"as-of of {loop.loop}") as warehouse:
        last = warehouse.scalar("select max(received_date) from ops.landings where loop = ?", (loop.loop,))
    if last is not None:
        as_of = min(
            as_of, datetime.combine(pd.Timestamp(last).date() + timedelta(days=1), datetime.min.time())
        )
    return effective_as_of(read_summary(settings, loop.loop, "partitions"), as_of)


def _has_schedule(warehouse: Warehouse, loop: Loop) -> bool:
    return bool(warehouse.scalar("select count(*) from raw.schedule where loop = ?", (loop.loop,)))


def _known_departures(warehouse: Warehouse, loop: Loop) -> tuple[date, date] | None:
    known = warehouse.frame(
        "select min(departure_date) as first, max(departure_date) as last from raw.schedule where loop = ?",
        (loop.loop,),
    )
    if known["first"].isna().all():
        return None
    return pd.Timestamp(known["first"].iloc[0]).date(), pd.Timestamp(known["last"].iloc[0]).date()


def _scope(warehouse: Warehouse, loop: Loop, taken: pd.DataFrame, as_of: datetime) -> tuple[list[date], bool]:
    """The dates that the taken partitions reach, and whether only facts changed."""
    known = _known_departures(warehouse, loop)
    if taken.empty or known is None:
        return [], True
    days = pd.to_datetime(taken["received_date"]).dt.date
    dirty = [(str(source), day) for source, day in zip(taken["source"], days, strict=True)]
    return reach_of(loop, dirty, *known, as_of), all(source in FACT_SOURCES for source, _ in dirty)


def write_scope(
    warehouse: Warehouse, loop: Loop, dates: list[date], as_of: datetime, *, includes_features: bool
) -> None:
    """Write down what the next dbt run rebuilds; rebuilt feature partitions are unjudged from here on."""
    warehouse.execute("delete from ops.build_scope where loop = ?", (loop.loop,))
    warehouse.append(
        "ops.build_scope",
        pd.DataFrame(
            {
                "loop": loop.loop,
                "departure_date": dates,
                "as_of": as_of,
                "includes_features": includes_features,
            }
        ),
    )
    if includes_features:
        warehouse.execute(
            "delete from ops.partition_gates where loop = ? and border = 'features' and partition_date in "
            "(select departure_date from ops.build_scope where loop = ?)",
            (loop.loop, loop.loop),
        )


def rebuild(settings: Settings, loop: Loop, log: Log) -> dict[str, Any]:
    """Build every known date anew with the models as they are now, judge and publish: after a change of SQL.

    Raises:
        BuildFailed: a model or a test failed; the rebuilt features stay invisible.
        WarehouseError: nothing has landed yet.
    """
    built = read_summary(settings, loop.loop, "partitions")
    with open_warehouse(settings, purpose=f"rebuilding {loop.loop}") as warehouse, warehouse.transaction():
        known = _known_departures(warehouse, loop)
        if known is None or built is None:
            raise WarehouseError("nothing was built yet: land a history first (ingest_events)")
        unfinished = warehouse.scalar(
            "select count(*) from ops.building_partitions where loop = ?", (loop.loop,)
        )
        if unfinished:
            raise WarehouseError(
                f"a build took {unfinished} partitions and did not end: clear build_models of its run first"
            )
        as_of = datetime.fromisoformat(built["as_of"])
        dates = reach_of(loop, [(source, known[0]) for source in loop.sources], *known, as_of)
        write_scope(warehouse, loop, dates, as_of, includes_features=True)
    log(f"rebuilding {len(dates)} departure dates, {dates[0]} to {dates[-1]}")
    run_dbt(settings, ["--quiet", "build", "--selector", loop.loop, "--full-refresh"])
    judge_features(settings, loop, as_of, log)
    return publish(settings, loop, as_of, log)


def judge_features(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Judge the feature partitions of the running build."""
    as_of = _build_as_of(settings, loop, as_of)
    with open_warehouse(settings, purpose=f"feature gate of {loop.loop}") as warehouse:
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


def publish(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Clear what the build took and publish what consumers may see.

    `judgeable` says whether predictions, answers or outcomes of predictions were among it.
    """
    name = loop.loop
    as_of = _build_as_of(settings, loop, as_of)
    # One transaction around all of it: what was taken is only forgotten once it is published, so that a retry
    # still knows whether predictions were among it.
    with open_warehouse(settings, purpose=f"publishing {name}") as warehouse, warehouse.transaction():
        taken = set(
            warehouse.frame("select distinct source from ops.building_partitions where loop = ?", (name,))[
                "source"
            ]
        )
        warehouse.execute("delete from ops.building_partitions where loop = ?", (name,))
        summary = _publish_partitions(settings, loop, warehouse, as_of)
        maturity = warehouse.frame(
            "select departure_date, n_units, n_in_window, n_late_report, n_without_outcome "
            "from monitoring.mon_label_maturity where loop = ? order by 1",
            (name,),
        )
        maturity["departure_date"] = pd.to_datetime(maturity["departure_date"]).dt.date.astype(str)
        publish_summary(
            settings, name, "label_maturity", {"as_of": as_of, "days": maturity.to_dict("records")}
        )
    log(
        f"{summary['features']['green']} feature partitions are visible, {summary['features']['blocked']} are not"
    )
    return {
        "as_of": as_of.isoformat(),
        "visible": summary["features"]["green"],
        "dirty": summary["dirty"],
        "judgeable": "predictions" in taken,
    }


def _publish_partitions(
    settings: Settings, loop: Loop, warehouse: Warehouse, as_of: datetime
) -> dict[str, Any]:
    known = read_summary(settings, loop.loop, "partitions") or {"builds": 0, "as_of": ""}
    summary = {
        **partitions_summary(warehouse, loop),
        # A rebuild of an earlier range does not turn the clock back.
        "as_of": max(known["as_of"], as_of.isoformat()),
        "builds": known["builds"] + 1,
    }
    publish_summary(settings, loop.loop, "partitions", summary)
    return summary


def partitions_summary(warehouse: Warehouse, loop: Loop) -> dict[str, Any]:
    """What is visible, what is blocked and why, and what is dirty."""
    gates = warehouse.frame(
        "select border, table_name, partition_date, verdict, rows, reason from ops.partition_gates "
        "where loop = ? order by 1, 2, 3",
        (loop.loop,),
    )
    gates["partition_date"] = pd.to_datetime(gates["partition_date"]).dt.date.astype(str)
    features = gates[gates["border"] == "features"]
    green = features[features["verdict"] != "block"]
    return {
        "dirty": int(
            warehouse.scalar(
                "select (select count(*) from ops.dirty_partitions where loop = ?) + "
                "(select count(*) from ops.building_partitions where loop = ?)",
                (loop.loop, loop.loop),
            )
        ),
        "features": {
            "green": len(green),
            "blocked": len(features) - len(green),
            "first": green["partition_date"].min() if len(green) else None,
            "last": green["partition_date"].max() if len(green) else None,
            "verdicts": dict(zip(features["partition_date"], features["verdict"], strict=True)),
        },
        "landed": _landed(warehouse, loop),
        "landing": gates[gates["border"] == "landing"].groupby("verdict").size().to_dict(),
        "blocked": gates[gates["verdict"] == "block"][
            ["border", "table_name", "partition_date", "reason"]
        ].to_dict("records"),
    }


def _landed(warehouse: Warehouse, loop: Loop) -> dict[str, dict[str, int]]:
    rows = warehouse.frame(
        "select source, sum(rows_read) as read, sum(rows_landed) as landed, sum(rows_quarantined) as quarantined, "
        "sum(rows_duplicate) as duplicate from ops.landings where loop = ? group by 1 order by 1",
        (loop.loop,),
    )
    counts = ("read", "landed", "quarantined", "duplicate")
    return {str(row["source"]): {name: int(row[name]) for name in counts} for row in rows.to_dict("records")}
