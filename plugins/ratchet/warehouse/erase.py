"""What was deleted leaves the disk too: databases keep the bytes of deleted rows until something takes their place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from ratchet.settings import Settings
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.lock import warehouse_lock
from ratchet.warehouse.protocol import checked_table


def erase_deleted(settings: Settings, tables: Sequence[str]) -> int:
    """Make the bytes of deleted rows unreadable; the warehouse's size in bytes afterwards (of `tables` on Postgres).

    DuckDB: the file is copied row by row into a new one, which takes its place at once. Postgres: `tables` are
    written anew (vacuum full), with their statistics, which hold samples of values. May be repeated.

    Raises:
        WarehouseLocked: another process kept the warehouse, or a table, for longer than the settings wait.
    """
    if settings.engine == "postgres":
        return _vacuum(settings, tables)
    with warehouse_lock(settings, "erasing what was deleted"):
        return _copied(settings)


def _vacuum(settings: Settings, tables: Sequence[str]) -> int:
    size = 0
    with open_warehouse(settings, purpose="erasing what was deleted") as warehouse:
        for table in tables:
            warehouse.execute(f"vacuum (full, analyze) {checked_table(table)}")
            size += int(warehouse.scalar("select pg_total_relation_size(to_regclass(?))", (table,)))
    return size


def _copied(settings: Settings) -> int:
    path = settings.warehouse_path.resolve()
    fresh = path.with_name(f"{path.name}.erasing")
    _remove(fresh)
    # What is in the log beside the file goes into the file first: the log belongs to the old one.
    before = duckdb.connect(str(path))
    before.execute("checkpoint")
    before.close()
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(f"set memory_limit = '{settings.duckdb_memory_mb}MB'")
        connection.execute(f"set temp_directory = {_literal(f'{fresh}.tmp')}")
        connection.execute(f"attach {_literal(str(path))} as before (read_only)")
        connection.execute(f"attach {_literal(str(fresh))} as after")
        connection.execute("copy from database before to after")
        problem = _difference(connection)
        if problem:
            raise RuntimeError(f"{path}: the copy lacks {problem}; the file was left as it is")
        connection.execute("detach after")
    except BaseException:
        connection.close()
        _remove(fresh)
        raise
    connection.close()
    shutil.copymode(path, fresh)
    with fresh.open("rb") as handle:
        os.fsync(handle.fileno())
    fresh.replace(path)
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
    return path.stat().st_size


def _difference(connection: Any) -> str | None:
    """What one database has and the other lacks: tables and views by name, tables by their number of rows too."""
    found: dict[str, dict[str, Any]] = {"before": {}, "after": {}}
    for database, schema, name in connection.execute(
        "select database_name, schema_name, view_name from duckdb_views() where not internal"
    ).fetchall():
        if database in found:
            found[database][f"view {schema}.{name}"] = None
    for database, schema, name in connection.execute(
        "select database_name, schema_name, table_name from duckdb_tables()"
    ).fetchall():
        if database in found:
            quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (database, schema, name))
            counted = connection.execute(f"select count(*) from {quoted}").fetchone()  # noqa: S608
            found[database][f"table {schema}.{name}"] = counted[0]
    wrong = sorted(
        name for name, rows in found["before"].items() if found["after"].get(name, "missing") != rows
    )
    return wrong[0] if wrong else None


def _remove(fresh: Path) -> None:
    for path in (fresh, fresh.with_name(f"{fresh.name}.wal")):
        path.unlink(missing_ok=True)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
