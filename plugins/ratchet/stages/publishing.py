"""Publish what a build staged: rows and verdicts in one transaction, then the summaries that pages read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.loop import Loop
from ratchet.published import publish as publish_summary
from ratchet.published import read as read_summary
from ratchet.settings import Settings
from ratchet.stages.doubled import publish_doubled
from ratchet.stages.provenance import record_build
from ratchet.stages.serving import effective_as_of
from ratchet.stages.skew import measure_skew
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse, WarehouseError, checked_column, checked_table

Log = Callable[[str], None]

#: Layers whose tables are staged in build_<layer> and published in <layer>.
LAYERS = ("marts", "features", "experiments", "monitoring")
_SCOPE = "(select departure_date from ops.build_scope where loop = ?)"
_FEATURE_SCOPE = "(select departure_date from ops.build_scope where loop = ? and includes_features)"


def build_as_of(settings: Settings, loop: Loop, warehouse: Warehouse, as_of: datetime) -> datetime:
    """The time that a build is made at: not before the newest one, not after the end of what has landed."""
    last = warehouse.scalar("select max(received_date) from ops.landings where loop = ?", (loop.loop,))
    if last is not None:
        as_of = min(
            as_of, datetime.combine(pd.Timestamp(last).date() + timedelta(days=1), datetime.min.time())
        )
    return effective_as_of(read_summary(settings, loop.loop, "partitions"), as_of)


def publish(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Let readers see what the build staged: the scope's facts, and its features where the gate is green.

    Rows, verdicts and the end of the build are one transaction: a reader sees the state before or after, and a
    process that dies leaves the state before. A retry of a publishing that was done changes nothing.

    Returns:
        `judgeable`: whether predictions, answers or outcomes of predictions were among what was built.

    Raises:
        WarehouseError: a staged feature partition has no verdict, or was changed after it was judged.
    """
    name = loop.loop
    with open_warehouse(settings, purpose=f"publishing {name}") as warehouse:
        as_of = build_as_of(settings, loop, warehouse, as_of)
        with warehouse.transaction(), warehouse.lock(f"build:{name}"):
            taken = _taken(warehouse, loop)
            copied = copy_scope(warehouse, loop)
            adopt_verdicts(warehouse, loop)
            unplaced = _unplaced(warehouse, loop)
            warehouse.execute("delete from ops.building_partitions where loop = ?", (name,))
            _remember(warehouse, loop, taken)
        summary = publish_partitions(settings, loop, warehouse, as_of, unplaced=unplaced)
        _publish_maturity(settings, loop, warehouse, as_of)
        publish_doubled(settings, loop, warehouse, log)
        dates = warehouse.scalar("select count(*) from ops.build_scope where loop = ?", (name,))
        record_build(settings, loop, int(dates))
        measure_skew(settings, loop, as_of, log)
    log(f"published {sum(copied.values())} rows of {len(copied)} tables in one transaction")
    for line in unplaced:
        log(
            f"{line['source']} {line['received_date']}: of {line['n_rows']} rows {line['n_unknown_unit']} are about "
            f"no known unit, {line['n_out_of_reach']} came too early or too late to change a fact"
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


def _taken(warehouse: Warehouse, loop: Loop) -> set[str]:
    """The sources of the partitions that the build took; of the last publishing, if this is its retry."""
    found = warehouse.frame(
        "select distinct source from ops.building_partitions where loop = ?", (loop.loop,)
    )["source"]
    if len(found):
        return set(found)
    last = warehouse.scalar("select sources from ops.built_until where loop = ?", (loop.loop,))
    return set(filter(None, (last or "").split(",")))


def staged_tables(warehouse: Warehouse) -> list[tuple[str, str]]:
    """(layer, table) of everything that builds stage, in order."""
    found = warehouse.frame(
        "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE'"
    )
    wanted = {f"build_{layer}": layer for layer in LAYERS}
    return sorted(
        (wanted[schema], str(table))
        for schema, table in found.itertuples(index=False)
        # dbt keeps what it replaces under such a name until it commits.
        if schema in wanted and "__dbt_" not in str(table)
    )


def copy_scope(warehouse: Warehouse, loop: Loop) -> dict[str, int]:
    """Replace the scope's dates in every published table by the staged ones; rows by table."""
    tables = staged_tables(warehouse)
    if not tables:
        raise WarehouseError("nothing is staged: the models were never built (build_models)")
    edges = _edges(warehouse, loop)
    if edges is None:
        raise WarehouseError("the build has no scope: run collect_dirty first")
    first, last = edges
    copied: dict[str, int] = {}
    for layer, table in tables:
        staged, published = checked_table(f"build_{layer}.{table}"), checked_table(f"{layer}.{table}")
        scope = _FEATURE_SCOPE if layer == "features" else _SCOPE
        has = warehouse.frame(f"select * from {staged} limit 0").columns  # noqa: S608
        names = [checked_column(str(name)) for name in has]
        columns = ", ".join(f'"{name}"' for name in names)
        # The first and last date stand beside the scope, so that a table of years is read for those days alone.
        within = f"loop = ? and departure_date between ? and ? and departure_date in {scope}"
        key: tuple[Any, ...] = (loop.loop, first, last, loop.loop)
        warehouse.index(published, ("loop", "departure_date"))
        warehouse.execute(f"delete from {published} where {within}", key)  # noqa: S608
        green = ""
        if layer == "features":
            green = (
                " and departure_date in (select partition_date from ops.staged_gates where loop = ? "
                "and table_name = ? and verdict in ('pass', 'warn'))"
            )
            key = (*key, loop.loop, table)
        warehouse.execute(
            f"insert into {published} ({columns}) select {columns} from {staged} where {within}{green}",  # noqa: S608
            key,
        )
        # A reader right after this one would be planned as if the table were empty.
        warehouse.analyze(published)
        copied[table] = int(
            warehouse.scalar(
                f"select count(*) from {published} where {within}",  # noqa: S608
                (loop.loop, first, last, loop.loop),
            )
        )
    return copied


def _edges(warehouse: Warehouse, loop: Loop) -> tuple[date, date] | None:
    """The first and last departure date of the build's scope; None when it has none."""
    found = warehouse.frame(
        "select min(departure_date) as first_day, max(departure_date) as last_day from ops.build_scope where loop = ?",
        (loop.loop,),
    )
    if found["first_day"].isna().all():
        return None
    return pd.Timestamp(found["first_day"].iloc[0]).date(), pd.Timestamp(found["last_day"].iloc[0]).date()


def adopt_verdicts(warehouse: Warehouse, loop: Loop) -> None:
    """Make the staged verdicts those of the published partitions.

    Raises:
        WarehouseError: a date of the scope was not judged, or holds other rows than when it was.
    """
    name, table = loop.loop, loop.features.table
    staged = warehouse.frame(
        f"select s.departure_date, g.rows as judged, "  # noqa: S608
        f"(select count(*) from build_features.{checked_column(table)} f where f.loop = s.loop "
        "and f.departure_date = s.departure_date) as staged from ops.build_scope s left join ops.staged_gates g "
        "on g.loop = s.loop and g.partition_date = s.departure_date and g.table_name = ? "
        "where s.loop = ? and s.includes_features order by 1",
        (table, name),
    )
    wrong = staged[staged["judged"].isna() | (staged["judged"] != staged["staged"])]
    if len(wrong):
        day = pd.Timestamp(wrong["departure_date"].iloc[0]).date()
        raise WarehouseError(
            f"{len(wrong)} staged partitions of {table}, {day} the first, were not judged or changed since: nothing "
            "was published; clear gate_features of the run, or run `ratchet rebuild`"
        )
    warehouse.execute(
        "delete from ops.partition_gates where loop = ? and border = 'features' and table_name = ? "
        "and partition_date in (select departure_date from ops.build_scope where loop = ? and includes_features)",
        (name, table, name),
    )
    warehouse.execute(
        "insert into ops.partition_gates (loop, border, table_name, partition_date, verdict, rows, reason, "
        "suite_sha256, as_of) "
        "select loop, 'features', table_name, partition_date, verdict, rows, reason, suite_sha256, as_of "
        "from ops.staged_gates where loop = ? and table_name = ? and partition_date in "
        "(select departure_date from ops.build_scope where loop = ? and includes_features)",
        (name, table, name),
    )
    warehouse.analyze("ops.partition_gates")


def _unplaced(warehouse: Warehouse, loop: Loop) -> list[dict[str, Any]]:
    """Of the partitions that were built, those with rows that changed no fact, and why."""
    found = warehouse.frame(
        "select source, received_date, n_rows, n_unknown_unit, n_out_of_reach from intermediate.int_rows_unplaced "
        "where loop = ? and n_unknown_unit + n_out_of_reach > 0 order by 1, 2",
        (loop.loop,),
    )
    found["received_date"] = pd.to_datetime(found["received_date"]).dt.date.astype(str)
    return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]


def _remember(warehouse: Warehouse, loop: Loop, taken: set[str]) -> None:
    """Up to when the feeds had landed: what lands later reaches the dates since."""
    warehouse.execute("delete from ops.built_until where loop = ?", (loop.loop,))
    warehouse.execute(
        "insert into ops.built_until select loop, landed_until, outcomes_until, ? "
        "from intermediate.int_feeds_landed where loop = ?",
        (",".join(sorted(taken)), loop.loop),
    )


def _publish_maturity(settings: Settings, loop: Loop, warehouse: Warehouse, as_of: datetime) -> None:
    days = warehouse.frame(
        "select departure_date, n_units, n_in_window, n_late_report, n_without_outcome "
        "from monitoring.mon_label_windows where loop = ? order by 1",
        (loop.loop,),
    )
    days["departure_date"] = pd.to_datetime(days["departure_date"]).dt.date.astype(str)
    curve = warehouse.frame(
        "select source, age_hours, sum(n_units) as n_units, sum(n_received) as n_received "
        "from monitoring.mon_label_maturity where loop = ? and complete_at <= ? group by 1, 2 order by 1, 2",
        (loop.loop, as_of),
    )
    whole = {"n_units": "int64", "n_received": "int64", "age_hours": "int64"}
    publish_summary(
        settings,
        loop.loop,
        "label_maturity",
        {
            "as_of": as_of,
            "days": days.to_dict("records"),
            "curve": curve.astype(whole).to_dict("records"),
        },
    )


def publish_partitions(
    settings: Settings,
    loop: Loop,
    warehouse: Warehouse,
    as_of: datetime,
    *,
    unplaced: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Publish the summary of what is visible, blocked and dirty; the summary."""
    known = read_summary(settings, loop.loop, "partitions") or {"builds": 0, "as_of": ""}
    summary = {
        **partitions_summary(warehouse, loop),
        # A rebuild of an earlier range does not turn the clock back.
        "as_of": max(known["as_of"], as_of.isoformat()),
        "builds": known["builds"] + 1,
        "unplaced": known.get("unplaced", []) if unplaced is None else unplaced,
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
