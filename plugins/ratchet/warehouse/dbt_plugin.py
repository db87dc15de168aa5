"""A dbt-duckdb plugin: dbt waits for the warehouse's lock like everyone else.

In the profile: `plugins: [{module: ratchet.warehouse.dbt_plugin}]`. The lock is taken right before dbt
connects to the file, so `dbt parse` and `dbt list` never wait. dbt-duckdb tells a plugin nothing when it
closes the file, so the lock is kept until the process ends. A process that holds the lock already (a build
task) keeps it; nothing is taken twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin

from ratchet.settings import load_settings
from ratchet.warehouse.lock import acquire, is_held


class Plugin(BasePlugin):  # type: ignore[misc, unused-ignore]
    """Takes the warehouse's lock before the first connection."""

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:
        settings = load_settings()
        opened = Path(str(creds.path)).resolve()
        if opened != settings.warehouse_path.resolve():
            return  # another file, as in a test; its lock is not ours to take
        if not is_held(settings.warehouse_lock_path):
            acquire(settings.warehouse_lock_path, "dbt by hand", settings.lock_wait_seconds)
