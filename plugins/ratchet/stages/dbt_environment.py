"""The environment that every dbt of Ratchet runs in, and dbt itself in this process."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ratchet.loop import Loop
from ratchet.settings import Settings, postgres_address
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.lock import warehouse_lock

#: dbt commands that write the loop's tables.
WRITING = ("build", "run", "seed", "snapshot", "clone", "run-operation", "retry")


class BuildFailed(RuntimeError):
    """A model or a test failed; the message names it."""


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Variables for dbt: which engine, where it writes beside the warehouse, and that nothing is sent away.

    They hold no secret and may be shown. How to get into Postgres is added by `dbt_access` alone.
    """
    return {
        "RATCHET_DBT_TARGET": settings.engine,
        "RATCHET_WAREHOUSE_PATH": str(settings.warehouse_path),
        "RATCHET_DUCKDB_MEMORY_MB": str(settings.duckdb_memory_mb),
        "DBT_TARGET_PATH": str(settings.dbt_target_dir),
        "DBT_LOG_PATH": str(settings.dbt_log_dir),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }


def _access(settings: Settings) -> dict[str, str]:
    if settings.engine == "duckdb":
        return {}
    address = postgres_address(settings.warehouse_url)
    wait = max(1, round(settings.lock_wait_seconds * 1000))
    return {
        "RATCHET_DBT_HOST": address.host,
        "RATCHET_DBT_PORT": str(address.port),
        "RATCHET_DBT_USER": address.user,
        "RATCHET_DBT_DATABASE": address.database,
        "DBT_ENV_SECRET_RATCHET_PASSWORD": address.password,
        **{f"PG{name.upper()}": value for name, value in address.tls},
        # As in the connections of Python: times are UTC, and nobody waits for ever. A build joins whole ranges of
        # rows that Postgres has no statistics of, CTEs and what just landed: guessing few, it would compare
        # each row with each, in nested loops or among all rows of one date. Hashing does not depend on the guess.
        "PGOPTIONS": f"-c timezone=UTC -c jit=off -c lock_timeout={wait} -c work_mem=64MB "
        "-c enable_nestloop=off -c enable_mergejoin=off",
    }


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def dbt_access(settings: Settings) -> Iterator[None]:
    """This process's environment as dbt needs it, with the way into Postgres, while the block runs."""
    with _environment({**dbt_environment(settings), **_access(settings)}):
        yield


@contextmanager
def warehouse_for_dbt(settings: Settings, arguments: Sequence[str]) -> Iterator[None]:
    """Nobody else writes what this dbt writes, while the block runs.

    On DuckDB the file is this process's alone. On Postgres a dbt that writes holds the lock of its loop's builds,
    in a connection of ours, because dbt closes its own between models; one that only reads holds nothing.

    Raises:
        WarehouseLocked: another process kept the file or the lock longer than `settings.lock_wait_seconds`.
        WarehouseError: Postgres went away in between, so that another build may have run at the same time.
    """
    purpose = f"dbt {next((word for word in arguments if not word.startswith('-')), '')}".strip()
    if settings.engine == "duckdb":
        with warehouse_lock(settings, purpose=purpose):
            yield
    elif not any(word in WRITING for word in arguments):
        yield
    else:
        after = dict(itertools.pairwise(arguments))
        loop = after.get("--selector", "every loop")
        with (
            open_warehouse(settings, purpose=f"{purpose} of {loop}") as warehouse,
            warehouse.lock(f"build:{loop}"),
        ):
            yield


def close_dbt() -> None:
    """Close what dbt keeps open for the life of a process; without it nothing else here could open the file."""
    from dbt.adapters.factory import cleanup_connections, reset_adapters

    cleanup_connections()
    duckdb = sys.modules.get("dbt.adapters.duckdb.connections")
    if duckdb is not None:
        if duckdb.DuckDBConnectionManager._ENV is not None:
            duckdb.DuckDBConnectionManager._ENV.close()
        duckdb.DuckDBConnectionManager.close_all_connections()
    reset_adapters()


def run_dbt(settings: Settings, arguments: list[str]) -> None:
    """Run dbt in this process, alone with what it writes.

    Raises:
        BuildFailed: dbt failed; names the first nodes that did and their messages.
        WarehouseLocked: another process kept the warehouse.
    """
    from dbt.cli.main import dbtRunner

    where = ["--project-dir", str(settings.dbt_dir), "--profiles-dir", str(settings.dbt_dir)]
    with warehouse_for_dbt(settings, arguments), dbt_access(settings):
        try:
            result = dbtRunner().invoke([*arguments, *where])
        finally:
            close_dbt()
    if not result.success:
        nodes = getattr(result.result, "results", None) or []
        failed = [f"{r.node.name}: {r.message}" for r in nodes if str(r.status) in ("error", "fail")]
        raise BuildFailed("; ".join(failed[:5]) or str(result.exception))


def build(settings: Settings, loop: Loop) -> None:
    """`dbt build` of the loop's selector: models and their tests."""
    run_dbt(settings, ["--quiet", "build", "--selector", loop.loop])
