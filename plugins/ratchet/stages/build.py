"""Take the dirty list, say what it reaches, judge what was built and publish it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pandas as pd

from ratchet.loop import Loop
from ratchet.published import publish as publish_summary
from ratchet.published import read as read_summary
from ratchet.quality.gates import gate_features
from ratchet.settings import Settings
from ratchet.stages.reach import FACT_SOURCES, reach_of
from ratchet.stages.records import record_gate
from ratchet.warehouse.duckdb import open_warehouse
from ratchet.warehouse.protocol import Warehouse

Log = Callable[[str], None]


def collect(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any] | None:
    """Move the dirty partitions into the running build and write down the dates they reach.

    What a build that died had taken is taken again. None when there is nothing to build.
    """
    name = loop.loop
    with (
        open_warehouse(settings, purpose=f"collecting dirty partitions of {name}") as warehouse,
        warehouse.transaction(),
    ):
        warehouse.execute(
            "insert into ops.building_partitions select loop, source, received_date from ops.dirty_partitions d "
            "where loop = ? and not exists (select 1 from ops.building_partitions b where b.loop = d.loop "
            "and b.source = d.source and b.received_date = d.received_date)",
            (name,),
        )
        warehouse.execute("delete from ops.dirty_partitions where loop = ?", (name,))
        taken = warehouse.frame(
            "select source, received_date from ops.building_partitions where loop = ? order by 2, 1", (name,)
        )
        if taken.empty:
            log("no partition is dirty: nothing to build")
            _publish_partitions(settings, loop, warehouse, as_of)
            return None
        known = warehouse.frame(
            "select min(departure_date) as first, max(departure_date) as last from raw.schedule where loop = ?",
            (name,),
        )
        if known["first"].isna().all():
            log("no schedule has landed yet: the dirty partitions wait for it")
            return None
        days = pd.to_datetime(taken["received_date"]).dt.date
        dirty = [(str(source), day) for source, day in zip(taken["source"], days, strict=True)]
        first, last = (pd.Timestamp(known[column].iloc[0]).date() for column in ("first", "last"))
        dates = reach_of(loop, dirty, first, last, as_of)
        features = not all(source in FACT_SOURCES for source, _ in dirty)
        warehouse.execute("delete from ops.build_scope where loop = ?", (name,))
        warehouse.append(
            "ops.build_scope",
            pd.DataFrame(
                {"loop": name, "departure_date": dates, "as_of": as_of, "includes_features": features}
            ),
        )
    log(f"{len(dirty)} dirty partitions reach {len(dates)} departure dates, {dates[0]} to {dates[-1]}")
    return {
        "dirty": len(dirty),
        "dates": len(dates),
        "from": dates[0].isoformat(),
        "to": dates[-1].isoformat(),
    }


def judge_features(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Judge the feature partitions of the running build."""
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
    with open_warehouse(settings, purpose=f"publishing {name}") as warehouse:
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
    publish_summary(settings, name, "label_maturity", {"as_of": as_of, "days": maturity.to_dict("records")})
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
            warehouse.scalar("select count(*) from ops.dirty_partitions where loop = ?", (loop.loop,))
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
