"""The SQL that dbt compiled last, run by itself: what a build would cost without dbt, gates and publishing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from graphlib import TopologicalSorter

from benchmarks.clock import timed
from benchmarks.history import FIRST_NEW_DAY
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

_FACTS = "(select loop, departure_date from ops.build_scope)"
_FEATURES = "(select loop, departure_date from ops.build_scope where includes_features)"


@dataclass(frozen=True)
class Statement:
    """One stored model: its table, the bare table of the same name, its SQL over such tables."""

    table: str
    twin: str
    sql: str
    layer: str
    is_additive: bool = False

    @property
    def scope(self) -> str:
        """The dates that a build of a part replaces."""
        return _FEATURES if self.layer in ("intermediate", "build_features") else _FACTS


def statements(settings: Settings, prefix: str) -> list[Statement]:
    """The stored models in order, each reading the bare tables in schemas that begin with `prefix`."""
    manifest = json.loads((settings.dbt_target_dir / "manifest.json").read_text(encoding="utf-8"))
    stored = {
        key: node
        for key, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "incremental"
    }
    twins = {
        node["relation_name"]: node["relation_name"].replace(
            f'"{node["schema"]}"', f'"{prefix}{node["schema"]}"'
        )
        for node in stored.values()
    }
    found = []
    order = TopologicalSorter({k: set(manifest["parent_map"][k]) for k in manifest["nodes"]})
    for key in order.static_order():
        if key not in stored:
            continue
        node = stored[key]
        compiled = settings.dbt_target_dir / "compiled" / "ratchet" / node["original_file_path"]
        sql = compiled.read_text(encoding="utf-8")
        for table, twin in twins.items():
            sql = sql.replace(table, twin)
        additive = bool(node["config"]["meta"].get("is_additive"))
        found.append(
            Statement(node["relation_name"], twins[node["relation_name"]], sql, node["schema"], additive)
        )
    return found


def run(settings: Settings, loop: Loop, *, how: str) -> dict[str, float]:
    """Seconds of the statements: `whole` makes every table, `replace` deletes the scope's dates and inserts them,
    `range` makes tables of the scope's dates alone.

    Every table must come out with as many rows as dbt's, or nothing was measured.
    """
    models = statements(settings, "part_" if how == "range" else "bare_")
    assert len(models) >= 10, f"only {len(models)} models"
    told: dict[str, float] = {"models": len(models)}
    with open_warehouse(settings, purpose="bare SQL") as wh:
        if settings.engine == "postgres":
            # As in the connection that dbt has.
            for setting in (
                "enable_nestloop = off",
                "enable_mergejoin = off",
                "work_mem = '64MB'",
                "jit = off",
            ):
                wh.execute(f"set {setting}")
        for schema in sorted({model.twin.split(".")[-2] for model in models}):
            if how != "replace":
                wh.execute(f"drop schema if exists {schema} cascade")
                wh.execute(f"create schema {schema}")
        if how == "replace":
            _refresh(wh, models)
        elif how == "range":
            for model in (m for m in models if m.is_additive):
                _create(wh, settings, model.twin, f"select * from {model.table}")  # it reads what it has
        with timed(told, "bare"):
            for model in models:
                if how != "whole" and model.is_additive:
                    wh.execute(f"insert into {model.twin} {model.sql}")
                elif how == "replace":
                    wh.execute(f"delete from {model.twin} where (loop, departure_date) in {model.scope}")
                    wh.execute(f"insert into {model.twin} {model.sql}")
                elif how == "range" and model.layer == "intermediate":
                    _beside_others(wh, settings, model)
                else:
                    _create(wh, settings, model.twin, model.sql)
        for model in models:
            same_rows(wh, model, how)
        if how == "range":
            for schema in sorted({model.twin.split(".")[-2] for model in models}):
                wh.execute(f"drop schema {schema} cascade")
    return told


def _create(wh: Warehouse, settings: Settings, table: str, sql: str) -> None:
    wh.execute(f"create table {table} as {sql}")
    if settings.engine == "postgres":
        wh.execute(f"analyze {table}")


def _beside_others(wh: Warehouse, settings: Settings, model: Statement) -> None:
    """Make the scope's rows; later statements see them beside the other dates that facts look at."""
    made = f'{model.twin[:-1]}_made"'
    _create(wh, settings, made, model.sql)
    edges = "select {}(departure_date) from ops.build_scope"
    wh.execute(
        f"create view {model.twin} as select * from {made} union all select * from {model.table} "
        f"where departure_date >= ({edges.format('min')}) and departure_date <= ({edges.format('max')}) "
        f"and (loop, departure_date) not in {model.scope}"
    )


def _refresh(wh: Warehouse, models: list[Statement]) -> None:
    """Bring the tables of `whole` up to the days that came since; not measured."""
    for model in models:
        recent = f"departure_date >= date '{FIRST_NEW_DAY}' - 100"
        wh.execute(f"delete from {model.twin} where {recent}")
        wh.execute(f"insert into {model.twin} select * from {model.table} where {recent}")


def same_rows(wh: Warehouse, model: Statement, how: str) -> None:
    """Raises AssertionError when the bare table holds other rows than dbt's: then it is no measure of the same work."""
    where = "" if how == "whole" or model.is_additive else f" where (loop, departure_date) in {model.scope}"
    bare, built = (
        int(wh.scalar(f"select count(*) from {table}{where}")) for table in (model.twin, model.table)
    )
    assert bare == built, f"{model.table}: {built} rows by dbt, {bare} bare ({how})"
