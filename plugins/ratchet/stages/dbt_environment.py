"""The environment that every dbt of Ratchet runs in, and dbt itself in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.warehouse.lock import warehouse_lock


class BuildFailed(RuntimeError):
    """A model or a test failed; the message names it."""


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Variables for dbt: where the warehouse is, and that nothing is written beside the models or sent away."""
    return {
        "RATCHET_WAREHOUSE_PATH": str(settings.warehouse_path),
        "DBT_TARGET_PATH": str(settings.dbt_target_dir),
        "DBT_LOG_PATH": str(settings.dbt_log_dir),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
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


def close_dbt() -> None:
    """Close the file that dbt keeps open for the life of a process; without it nothing else here could open it."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters

    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()
    DuckDBConnectionManager.close_all_connections()
    reset_adapters()


def run_dbt(settings: Settings, arguments: list[str]) -> None:
    """Run dbt in this process under the warehouse lock.

    Raises:
        BuildFailed: dbt failed; names the first nodes that did and their messages.
    """
    from dbt.cli.main import dbtRunner

    where = ["--project-dir", str(settings.dbt_dir), "--profiles-dir", str(settings.dbt_dir)]
    with warehouse_lock(settings, purpose=f"dbt {arguments[0]}"), _environment(dbt_environment(settings)):
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
