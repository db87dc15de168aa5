"""Opening the warehouse that the settings name. Nothing else in the tree chooses an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ratchet.settings import Settings
from ratchet.warehouse.duckdb import open_duckdb
from ratchet.warehouse.protocol import Warehouse


@contextmanager
def open_warehouse(settings: Settings, *, purpose: str, read_only: bool = False) -> Iterator[Warehouse]:
    """The warehouse of `settings`; `purpose` is what another process that waits is told.

    Re-entrant: a nested call in the same thread answers with the same connection.

    Raises:
        WarehouseLocked: another process holds it for longer than the wait in the settings.
        WarehouseError: it cannot be opened, or a nested call wants to write where the outer one opened for
            reading.
    """
    if settings.engine == "postgres":
        from ratchet.warehouse.postgres import open_postgres

        with open_postgres(settings, purpose=purpose, read_only=read_only) as warehouse:
            yield warehouse
    else:
        with open_duckdb(settings, purpose=purpose, read_only=read_only) as warehouse:
            yield warehouse
