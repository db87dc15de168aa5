"""What every warehouse can do. Engines live in their own modules; nothing here imports one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa

_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}")
_COLUMN = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class WarehouseError(RuntimeError):
    """The warehouse refused; the message names the table or file and what to do."""


class WarehouseLocked(WarehouseError):
    """Another process holds the warehouse for longer than the wait allows."""


class Warehouse(Protocol):
    """A connection. Tables are named "schema.table"; values travel as parameters, written `?`."""

    def frame(self, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
        """The rows of a query; times are naive UTC."""

    def table(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        """The rows of a query as Arrow, for many rows that need not become a frame; missing is null.

        Types are the engine's: a number that one hands out as a decimal may be a float on another.
        """

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Run one statement for its effect."""

    def scalar(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """The first column of the first row, None if there is no row."""

    def append(self, table: str, frame: pd.DataFrame) -> int:
        """Insert the rows by column name; the number of rows inserted."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing; a transaction inside another one joins it."""

    def lock(self, name: str, *, shared: bool = False) -> AbstractContextManager[None]:
        """Keep everybody else who asks for the lock `name` waiting; `shared`, only those who want it alone.

        Re-entrant within a connection. Taken inside a transaction, it is kept until that one has ended, so that
        what it guards is there before anybody else goes on. On DuckDB, whose file has one process at a time,
        it costs nothing and does nothing.

        Raises:
            WarehouseLocked: it was not free within the wait in the settings; names the holder.
            WarehouseError: it was lost while it was held.
        """

    def index(self, table: str, columns: Sequence[str]) -> None:
        """Let the engine find rows by `columns` without reading the whole table, where it needs help with that."""

    def analyze(self, table: str) -> None:
        """Let the engine look at what the table holds now, where it plans by such statistics."""


def checked_table(name: str) -> str:
    """`name` if it is a plain "schema.table".

    Raises:
        WarehouseError: it is anything else, so that no name can carry SQL.
    """
    if not _TABLE.fullmatch(name):
        raise WarehouseError(f"{name!r} is no table name; write schema.table in lower case")
    return name


def checked_column(name: str) -> str:
    """`name` if it is a plain column name.

    Raises:
        WarehouseError: it is anything else.
    """
    if not _COLUMN.fullmatch(name):
        raise WarehouseError(f"{name!r} is no column name; write lower case letters, digits and _")
    return name
