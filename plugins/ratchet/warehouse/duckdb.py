"""The warehouse in one DuckDB file. Opened only under the advisory lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from ratchet.settings import Settings
from ratchet.warehouse.lock import warehouse_lock
from ratchet.warehouse.protocol import (
    Warehouse,
    WarehouseError,
    WarehouseLocked,
    checked_column,
    checked_table,
)

# Times are stored as UTC without zone; a session in another zone would shift every cast. Extensions are
# never fetched: nothing here needs one, and a task must not download code.
_SESSION = (
    "set TimeZone = 'UTC'",
    "set autoinstall_known_extensions = false",
    "set autoload_known_extensions = false",
)


class DuckDBWarehouse:
    """A `Warehouse` over one DuckDB connection; one thread uses it at a time."""

    def __init__(self, connection: Any, *, read_only: bool = False) -> None:
        self._connection = connection
        self.read_only = read_only
        self._depth = 0
        for statement in _SESSION:
            connection.execute(statement)

    def frame(self, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
        found: pd.DataFrame = self._connection.execute(sql, list(params)).df()
        return found

    def table(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        return self._connection.sql(sql, params=list(params)).to_arrow_table()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        self._connection.execute(sql, list(params))

    def scalar(self, sql: str, params: Sequence[Any] = ()) -> Any:
        row = self._connection.execute(sql, list(params)).fetchone()
        return None if row is None else row[0]

    def append(self, table: str, frame: pd.DataFrame) -> int:
        checked_table(table)
        if frame.empty:
            return 0
        columns = ", ".join(f'"{checked_column(str(name))}"' for name in frame.columns)
        # DuckDB finds the table by the variable's name. Registered, it would stay in the catalogue's history, and
        # so in memory, until the transaction ends.
        _rows = pa.Table.from_pandas(frame, preserve_index=False)
        # Identifiers were checked above; values travel as Arrow.
        self._connection.execute(f"insert into {table} ({columns}) select {columns} from _rows")  # noqa: S608
        del _rows
        return len(frame)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._depth == 0:
            self._connection.execute("begin transaction")
        self._depth += 1
        try:
            yield
        except BaseException:
            if self._depth == 1:
                # A full disk closes the whole database: then there is nothing left to roll back.
                with suppress(duckdb.Error):
                    self._connection.execute("rollback")
            raise
        else:
            if self._depth == 1:
                self._connection.execute("commit")
        finally:
            self._depth -= 1

    @contextmanager
    def lock(self, name: str, *, shared: bool = False) -> Iterator[None]:
        # The lock around the file is held by whoever has this connection.
        yield

    def index(self, table: str, columns: Sequence[str]) -> None:
        checked_table(table)  # DuckDB skips by minimum and maximum; an index would only slow down appends

    def analyze(self, table: str) -> None:
        checked_table(table)  # DuckDB keeps its statistics as it writes


# Connections that this process has open, by file and thread: a second open of the same file in one thread is
# the same connection, so that code inside a transaction sees what the transaction wrote.
_open: dict[tuple[Path, int], DuckDBWarehouse] = {}


def _connect(path: Path, read_only: bool, wait_seconds: float, purpose: str) -> Any:
    """A connection; waits for programs that have the file open without the advisory lock.

    Raises:
        WarehouseLocked: such a program kept it; DuckDB names its process.
    """
    waited_until = time.monotonic() + wait_seconds
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.IOException as error:
            if "lock on file" not in str(error):
                raise
            if time.monotonic() >= waited_until:
                raise WarehouseLocked(
                    f"{path} is open in a program that does not take the warehouse's lock; {purpose} waited "
                    f"{wait_seconds:g} s. Close it there, or open a copy: {error}"
                ) from None
        time.sleep(0.1)


@contextmanager
def open_duckdb(settings: Settings, *, purpose: str, read_only: bool = False) -> Iterator[Warehouse]:
    """The warehouse, under its lock; `purpose` is what another process that waits is told.

    Re-entrant within a process: a nested call in the same thread answers with the same connection. The file
    and its folder are created, unless `read_only`.

    Raises:
        WarehouseLocked: another process holds it for longer than the wait in the settings.
        WarehouseError: `read_only`, and no warehouse was ever written; or a nested call wants to write where
            the outer one opened for reading.
    """
    with warehouse_lock(settings, purpose):
        path = settings.warehouse_path.resolve()
        key = (path, threading.get_ident())
        outer = _open.get(key)
        if outer is not None:
            if outer.read_only and not read_only:
                raise WarehouseError(
                    f"{path} is open for reading here; {purpose} must open it for writing first"
                )
            yield outer
            return
        if read_only and not path.exists():
            raise WarehouseError(f"{path} does not exist yet; land a partition first (ingest_events)")
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(path, read_only, settings.lock_wait_seconds, purpose)
        try:
            connection.execute(f"set memory_limit = '{settings.duckdb_memory_mb}MB'")
            _open[key] = warehouse = DuckDBWarehouse(connection, read_only=read_only)
            yield warehouse
        finally:
            _open.pop(key, None)
            connection.close()
