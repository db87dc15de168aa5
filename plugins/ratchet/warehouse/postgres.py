"""The warehouse in one Postgres database. Many processes at once; what must not meet takes a lock by name."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import psycopg2
import pyarrow as pa

from ratchet.settings import Settings, postgres_address
from ratchet.warehouse.postgres_rows import (
    CsvOfTable,
    arrow_of_frame,
    can_copy,
    frame_of_csv,
    frame_of_rows,
    table_of_csv,
    table_of_rows,
)
from ratchet.warehouse.postgres_session import connected
from ratchet.warehouse.protocol import (
    Warehouse,
    WarehouseError,
    WarehouseLocked,
    checked_column,
    checked_table,
)

# A question mark is a parameter, unless it is quoted or in a comment; psycopg2 wants its own sign doubled
# wherever it stands.
_SPECIAL = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|\?|%""", re.DOTALL
)


@lru_cache(maxsize=512)
def translated(sql: str) -> tuple[str, int]:
    """`sql` with psycopg2's parameters in place of `?`, and how many there are."""
    count = 0

    def one(found: re.Match[str]) -> str:
        nonlocal count
        if found.group() == "?":
            count += 1
            return "%s"
        return found.group().replace("%", "%%")

    return _SPECIAL.sub(one, sql), count


def _value(value: Any) -> Any:
    """A parameter as psycopg2 can write it."""
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime(warn=False)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return _value(pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value))
    if isinstance(value, pd.Timedelta):
        return value.to_pytimedelta()
    return value.item() if isinstance(value, np.generic) else value


def _plain(value: Any) -> Any:
    if isinstance(value, memoryview):
        return bytes(value)
    # A sum of integers is a number without a fraction here, and an integer on DuckDB.
    if isinstance(value, Decimal) and value.is_finite() and value.as_tuple().exponent == 0:
        return int(value)
    return value


class PostgresWarehouse:
    """A `Warehouse` over one connection; one thread uses it at a time."""

    def __init__(
        self, connection: Any, name: str, settings: Settings, purpose: str, *, read_only: bool
    ) -> None:
        self._connection, self._name, self._settings, self._purpose = connection, name, settings, purpose
        self.read_only = read_only
        self._depth = 0

    def _run(self, cursor: Any, sql: str, params: Sequence[Any]) -> None:
        statement, wanted = translated(sql)
        if wanted != len(params):
            raise WarehouseError(f"{len(params)} values for {wanted} parameters: {sql}")
        with self._waiting():
            cursor.execute(statement, tuple(_value(value) for value in params))

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        try:
            yield
        except psycopg2.errors.LockNotAvailable:
            raise WarehouseLocked(
                f"{self._purpose} waited {self._settings.lock_wait_seconds:g} s for a table of {self._name} "
                "that another session has locked; wait for it to end, or raise RATCHET_LOCK_WAIT_SECONDS"
            ) from None

    def frame(self, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
        found: pd.DataFrame = self._asked(sql, params, frame_of_csv, frame_of_rows)
        return found

    def table(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        return self._asked(sql, params, table_of_csv, table_of_rows)

    def _asked(
        self, sql: str, params: Sequence[Any], of_csv: Callable[..., Any], of_rows: Callable[..., Any]
    ) -> Any:
        statement, wanted = translated(sql)
        if wanted != len(params):
            raise WarehouseError(f"{len(params)} values for {wanted} parameters: {sql}")
        with self._connection.cursor() as cursor, self._waiting():
            bound = cursor.mogrify(statement, tuple(_value(value) for value in params)).decode()
            bound = bound.strip().rstrip(";")
            # The columns first, without running anything: COPY tells no types.
            cursor.execute(f"select * from ({bound}\n) as asked limit 0")  # noqa: S608
            names = [column.name for column in cursor.description]
            types = [column.type_code for column in cursor.description]
            if can_copy(types):
                sink = io.BytesIO()
                cursor.copy_expert(f"copy ({bound}\n) to stdout (format csv)", sink)
                return of_csv(sink.getvalue(), names, types)
            cursor.execute(bound)
            return of_rows(cursor.fetchall(), names)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        with self._connection.cursor() as cursor:
            self._run(cursor, sql, params)

    def scalar(self, sql: str, params: Sequence[Any] = ()) -> Any:
        with self._connection.cursor() as cursor:
            self._run(cursor, sql, params)
            row = cursor.fetchone()
            return None if row is None else _plain(row[0])

    def append(self, table: str, frame: pd.DataFrame) -> int:
        checked_table(table)
        if frame.empty:
            return 0
        names = [checked_column(str(name)) for name in frame.columns]
        listed = ", ".join(f'"{name}"' for name in names)
        rows = arrow_of_frame(frame, self._columns(table), table)
        with self._connection.cursor() as cursor, self._waiting():
            cursor.copy_expert(f"copy {table} ({listed}) from stdin (format csv)", CsvOfTable(rows))
        return len(frame)

    def _columns(self, table: str) -> dict[str, str]:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "select attname, format_type(atttypid, null) from pg_attribute "
                "where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
                (table,),
            )
            columns = {str(name): str(kind) for name, kind in cursor.fetchall()}
        if not columns:
            raise WarehouseError(
                f"{self._name} has no table {table}; `ratchet setup` creates the book-keeping"
            )
        return columns

    def index(self, table: str, columns: Sequence[str]) -> None:
        checked_table(table)
        listed = ", ".join(f'"{checked_column(name)}"' for name in columns)
        name = checked_column(f"{table.partition('.')[2]}__{'_'.join(columns)}"[:63])
        with self._connection.cursor() as cursor, self._waiting():
            cursor.execute(f"create index if not exists {name} on {table} ({listed})")

    def analyze(self, table: str) -> None:
        with self._connection.cursor() as cursor, self._waiting():
            cursor.execute(f"analyze {checked_table(table)}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connection.cursor() as cursor:
            if self._depth == 0 and not self.read_only:
                cursor.execute("begin")
            self._depth += 1
            try:
                yield
            except BaseException:
                if self._depth == 1 and not self.read_only:
                    # The server rolls back by itself when the connection is gone.
                    with suppress(psycopg2.Error):
                        cursor.execute("rollback")
                raise
            else:
                if self._depth == 1 and not self.read_only:
                    cursor.execute("commit")
            finally:
                self._depth -= 1

    @contextmanager
    def lock(self, name: str, *, shared: bool = False) -> Iterator[None]:
        key = int.from_bytes(hashlib.sha256(f"ratchet:{name}".encode()).digest()[:8], "big", signed=True)
        inside, mode = self._depth > 0, "_shared" if shared else ""
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(f"select pg_advisory{'_xact' if inside else ''}_lock{mode}(%s)", (key,))
            except psycopg2.errors.LockNotAvailable:
                raise WarehouseLocked(
                    f"the lock {name} of {self._name} is held by {self._holder(key)}; {self._purpose} waited "
                    f"{self._settings.lock_wait_seconds:g} s. Wait for it to end, or raise RATCHET_LOCK_WAIT_SECONDS"
                ) from None
            try:
                yield
            except BaseException:
                if not inside:
                    with suppress(psycopg2.Error):
                        cursor.execute(f"select pg_advisory_unlock{mode}(%s)", (key,))
                raise
            if not inside:
                self._unlock(cursor, f"select pg_advisory_unlock{mode}(%s)", key, name)

    def _unlock(self, cursor: Any, statement: str, key: int, name: str) -> None:
        try:
            cursor.execute(statement, (key,))
            kept = bool(cursor.fetchone()[0])
        except psycopg2.Error:
            kept = False
        if not kept:
            raise WarehouseError(
                f"the connection that held the lock {name} of {self._name} was lost while {self._purpose} ran; "
                "another process may have worked on the same dates: run it again"
            )

    def _holder(self, key: int) -> str:
        """Who holds the lock: this connection's transaction may be broken, so another one asks."""
        try:
            connection = connected(postgres_address(self._settings.warehouse_url), self._settings, "asking")
        except psycopg2.Error:
            return "a session that left no name"
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "select s.pid, s.application_name from pg_locks as l join pg_stat_activity as s using (pid) "
                    "where l.locktype = 'advisory' and l.granted and l.objsubid = 1 "
                    "and l.database = (select oid from pg_database where datname = current_database()) "
                    "and l.classid = %s::bigint::oid and l.objid = %s::bigint::oid",
                    ((key >> 32) & 0xFFFFFFFF, key & 0xFFFFFFFF),
                )
                row = cursor.fetchone()
        finally:
            connection.close()
        return "a session that has just ended" if row is None else f"session {row[0]} ({row[1]})"


# Connections that this process has open, by database and thread: a second open in one thread is the same
# connection, so that code inside a transaction sees what the transaction wrote.
_open: dict[tuple[str, int], PostgresWarehouse] = {}
_inherited: list[PostgresWarehouse] = []


def _forget() -> None:
    # A child shares the socket of what its parent opened: it must neither use it nor say goodbye on it.
    _inherited.extend(_open.values())
    _open.clear()


os.register_at_fork(after_in_child=_forget)


@contextmanager
def open_postgres(settings: Settings, *, purpose: str, read_only: bool = False) -> Iterator[Warehouse]:
    """The warehouse of `settings`, in a connection of this thread; `purpose` is its name for others.

    Re-entrant within a thread. Read-only, everything that is read is of one moment, whoever writes meanwhile.

    Raises:
        WarehouseError: the database does not answer, refuses, or holds no warehouse yet (`read_only`); or a
            nested call wants to write where the outer one opened for reading.
    """
    address = postgres_address(settings.warehouse_url)
    key = (address.name, threading.get_ident())
    outer = _open.get(key)
    if outer is not None:
        if outer.read_only and not read_only:
            raise WarehouseError(
                f"{address.name} is open for reading here; {purpose} must open it for writing first"
            )
        yield outer
        return
    try:
        connection = connected(address, settings, purpose)
    except psycopg2.OperationalError as error:
        raise WarehouseError(f"{address.name} does not let {purpose} in: {str(error).strip()}") from None
    warehouse = PostgresWarehouse(connection, address.name, settings, purpose, read_only=read_only)
    try:
        if read_only:
            warehouse.execute("begin isolation level repeatable read, read only")
            if not warehouse.scalar("select count(*) from pg_namespace where nspname = 'ops'"):
                raise WarehouseError(
                    f"{address.name} holds no warehouse yet; land a partition first (ingest_events)"
                )
        _open[key] = warehouse
        yield warehouse
    finally:
        _open.pop(key, None)
        connection.close()
