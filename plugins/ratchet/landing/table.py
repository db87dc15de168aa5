"""Rows of a database table, by their `received_at`, into the spool. SQLAlchemy Core over a reflected table.

Whatever the table is called reaches the database only as a reflected identifier that SQLAlchemy quotes, and every
time as a parameter. Rows stream through a server-side cursor, so memory holds one batch. What must stay out of
here: what becomes of a row that breaks the contract; landing decides that, the same way for every source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ratchet.landing.contract import SourceContract
from ratchet.landing.spool import Spool
from ratchet.landing.spool_values import json_line, json_value, moment_of

Log = Callable[[str], None]
_SAY_EVERY_ROWS = 200_000


class TableError(RuntimeError):
    """The table could not be read as declared; the message names it and what to do, never the address."""


@dataclass(frozen=True)
class Pulled:
    """What a pull read: its rows, the newest `received_at` among them, and how many rows of each day the table
    holds now."""

    rows: int
    newest: datetime | None
    in_table: dict[date, int]


class SourceTable:
    """The table of one source, reflected, in one read-only transaction. Made by `open_table`."""

    def __init__(
        self, connection: sa.Connection, table: sa.Table, contract: SourceContract, lag: timedelta | None
    ) -> None:
        self._connection = connection
        self._table = table
        self._contract = contract
        self._lag = lag
        self._columns = {column.name: column for column in contract.columns}
        self._is_sqlite = connection.dialect.name == "sqlite"

    def pull(
        self, lower: datetime, end: date, spool: Spool, batch_rows: int, log: Log, *, count_from: date
    ) -> Pulled:
        """Spool the rows received from `lower` (UTC) to the end of the day `end`.

        Args:
            count_from: the first day whose rows are counted, for a comparison with what landed.

        Raises:
            TableError: the database refused or went away; days that were complete stay spooled.
        """
        upper = _midnight(end + timedelta(days=1))
        rows, newest, said, started = 0, None, 0, time.monotonic()
        if (received := self._column("received_at")) is not None:
            asked = sa.select(self._table).where(
                received >= self._bound(received, lower), received < self._bound(received, upper)
            )
            for row in self._rows(asked.order_by(received, *self._keys()), batch_rows):
                moment = moment_of(row["received_at"])
                day = end if moment is None else moment.date()
                for earlier in spool.days:
                    if earlier < day:
                        spool.close(before=day)
                        break
                spool.add(day, _position(moment), self._line(row, moment))
                rows += 1
                if moment is not None:
                    newest = moment if newest is None else max(newest, moment)
                if rows - said >= _SAY_EVERY_ROWS:
                    said, rate = rows, rows / max(time.monotonic() - started, 1e-3)
                    log(f"{self._table.fullname}: {rows} rows pulled, at {moment}, {rate:.0f} a second")
        spool.close()
        return Pulled(rows, newest, self._counted(count_from, end))

    def pull_undated(self, start: date, end: date, spool: Spool, batch_rows: int, log: Log) -> int:
        """Spool the rows without `received_at`; how many there were.

        With a declared lag, those whose `event_at` and lag fall into [start, end], into that day; else all, into
        the day `end`, where landing sets them aside.
        """
        received, happened = self._column("received_at"), self._column("event_at")
        asked = sa.select(self._table)
        if received is not None:
            # SQLite has no type of a time: what is no text there can be compared with no time.
            asked = asked.where(sa.func.typeof(received) != "text" if self._is_sqlite else received.is_(None))
        if self._lag is not None and happened is not None:
            first, last = _midnight(start) - self._lag, _midnight(end + timedelta(days=1)) - self._lag
            inside = sa.and_(happened >= self._bound(happened, first), happened < self._bound(happened, last))
            asked = asked.where(sa.or_(inside, happened.is_(None)))
        rows = 0
        for row in self._rows(asked.order_by(*self._keys()), batch_rows):
            moment = None if self._lag is None else moment_of(row["event_at"])
            day = end if moment is None or self._lag is None else (moment + self._lag).date()
            spool.add(day, (0,), self._line(row, None))
            rows += 1
        spool.close()
        if rows:
            log(f"{self._table.fullname}: {rows} rows have no received_at")
        return rows

    def _counted(self, first: date, last: date) -> dict[date, int]:
        received = self._column("received_at")
        if received is None:
            return {}
        counted = {}
        for n in range((last - first).days + 1):
            day = first + timedelta(days=n)
            asked = sa.select(sa.func.count()).where(
                received >= self._bound(received, _midnight(day)),
                received < self._bound(received, _midnight(day + timedelta(days=1))),
            )
            counted[day] = int(self._connection.execute(asked).scalar_one())
        return counted

    def _column(self, name: str) -> sa.Column[Any] | None:
        return self._table.c.get(name)

    def _keys(self) -> list[sa.Column[Any]]:
        return [self._table.c[name] for name in self._contract.keys]

    def _bound(self, column: sa.Column[Any], moment: datetime) -> Any:
        if self._is_sqlite:
            # Compared as text; without a fraction the bound is not after a whole second that is written shorter.
            return moment.replace(microsecond=0).isoformat(" ")
        return moment.replace(tzinfo=UTC) if getattr(column.type, "timezone", False) else moment

    def _rows(self, asked: sa.Select[Any], batch_rows: int) -> Iterator[dict[str, Any]]:
        """The rows in the order asked for; those of equal time and key in the order of their content, so that
        equal tables give equal files."""
        options = {"stream_results": True, "yield_per": batch_rows}
        names = [column.name for column in self._table.columns]
        sorting = [name for name in ("received_at", *self._contract.keys) if name in names]
        tied: list[dict[str, Any]] = []
        try:
            with self._connection.execution_options(**options).execute(asked) as result:
                for batch in result.partitions(batch_rows):
                    for values in batch:
                        row = dict(zip(names, values, strict=True))
                        if tied and any(row[name] != tied[0][name] for name in sorting):
                            yield from sorted(tied, key=repr) if len(tied) > 1 else tied
                            tied = []
                        tied.append(row)
        except (ValueError, OverflowError) as error:
            raise TableError(
                f"{self._table.fullname}: a row holds what the driver can't read ({error}); "
                "point the source at a view without it"
            ) from None
        yield from sorted(tied, key=repr) if len(tied) > 1 else tied

    def _line(self, row: dict[str, Any], moment: datetime | None) -> str:
        plain = {
            name: json_value(value, column.data_type if (column := self._columns.get(name)) else None)
            for name, value in row.items()
        }
        if moment is not None:
            plain["received_at"] = f"{moment.isoformat()}Z"
        return json_line(plain)


@contextmanager
def open_table(
    url: str, connection: str, name: str, contract: SourceContract, lag_minutes: int | None
) -> Iterator[SourceTable]:
    """The table or view `name` behind the connection named `connection`, read-only, in one transaction.

    Raises:
        TableError: no such database, driver or table, or a table that lacks a column of the contract.
    """
    what = f"table {name} of connection {connection}"
    try:
        engine = _engine(url, what)
    except (sa.exc.SQLAlchemyError, ImportError, ValueError) as error:
        raise TableError(
            f"{what}: the address names no usable database driver ({type(error).__name__})"
        ) from None
    try:
        options: dict[str, Any] = {}
        if engine.dialect.name == "postgresql":
            # One state of the table for rows and counts.
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with engine.connect().execution_options(**options) as opened:
            table = _reflected(opened, name, contract, what, has_lag=lag_minutes is not None)
            lag = None if lag_minutes is None else timedelta(minutes=lag_minutes)
            yield SourceTable(opened, table, contract, lag)
    except sa.exc.SQLAlchemyError as error:
        raise TableError(f"{what}: {_told(error, url)}; what is spooled stays, retry") from None
    finally:
        engine.dispose()


def _engine(url: str, what: str) -> sa.Engine:
    parsed = sa.make_url(url)
    connect: dict[str, Any] = {}
    if parsed.get_backend_name() == "sqlite":
        # SQLite would make an empty database out of a wrong path.
        if not parsed.database or not Path(parsed.database).is_file():
            raise TableError(f"{what}: no such SQLite file; correct the connection's path")
    elif parsed.get_backend_name() == "postgresql":
        connect = {"connect_timeout": 20}
    # Parameters hold times only, but errors need not show even those.
    return sa.create_engine(parsed, connect_args=connect, hide_parameters=True, poolclass=sa.NullPool)


def _reflected(
    connection: sa.Connection, name: str, contract: SourceContract, what: str, *, has_lag: bool
) -> sa.Table:
    schema, _, bare = name.rpartition(".")
    listeners = []
    if connection.dialect.name == "sqlite":
        # Declared types bind nothing there; a converter would stumble over the first odd value.
        listeners = [("column_reflect", lambda _i, _t, found: found.update(type=sa.types.NullType()))]
    try:
        table = sa.Table(
            bare,
            sa.MetaData(),
            schema=schema or None,
            autoload_with=connection,
            resolve_fks=False,
            listeners=listeners,
        )
    except sa.exc.NoSuchTableError:
        raise TableError(f"{what}: no such table or view; correct `table` in the loop file") from None
    may_lack = {*contract.people, *(("received_at",) if has_lag else ())}
    missing = [n for n in contract.names if n not in table.c and n not in may_lack]
    if missing:
        raise TableError(
            f"{what} has no column {', '.join(missing)}, which the contract of {contract.source} lists; "
            "point the source at a view that has it"
        )
    for clock in ("received_at", "event_at"):
        column = table.c.get(clock)
        if column is None or connection.dialect.name == "sqlite":
            continue
        if not isinstance(column.type, sa.DateTime):
            raise TableError(
                f"{what}: {clock} is {column.type}; point the source at a view that casts it to a timestamp"
            )
    return table


def _told(error: sa.exc.SQLAlchemyError, url: str) -> str:
    """The first line of what the database said, without the address's password."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    text = said[0][:300] if said else type(error).__name__
    password = sa.make_url(url).password
    return text.replace(str(password), "***") if password else text


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time())


def _position(moment: datetime | None) -> tuple[int, ...]:
    return (0,) if moment is None else (int(f"{moment:%Y%m%d%H%M%S%f}"),)
