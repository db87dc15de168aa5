"""The ledger's database: SQLite by default, Postgres by a URL. Entries are appended, never changed.

A writer takes the one lock, reads the head and writes its successor in the same transaction: no gap and no fork,
whoever is killed. The anchor is written after the transaction: it may lag behind the ledger, never lead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ratchet.ledger.anchor import Anchor, advance, read_anchor
from ratchet.ledger.chain import (
    GENESIS,
    Entry,
    Verification,
    entry_of,
    plain,
    sealed,
    stored_text,
    verify_rows,
)
from ratchet.ledger.schema import ENTRIES

_ADVISORY_LOCK = 0x5261_7463  # "Ratc": one writer at a time on Postgres


class LedgerConflict(RuntimeError):
    """An entry of this key exists and says something else."""


class LedgerCut(RuntimeError):
    """The ledger ends before, or differs from, what its anchor says was written; nothing was appended."""


class Ledger:
    """Append to, read and verify the ledger at `url`, whose end is also noted in the file `anchor`.

    A (loop, key) pair names one decision for good: appending it again returns the first entry, so a task
    that is retried after it had recorded its decision changes nothing.
    """

    def __init__(self, url: str, anchor: Path | None = None) -> None:
        self.url, self.anchor = url, anchor
        options: dict[str, Any] = {}
        if url.startswith("sqlite"):
            options["connect_args"] = {"timeout": 60}
        # A task holds the ledger for milliseconds; pooled connections would only outlive a fork.
        self._engine = sa.create_engine(url, poolclass=sa.pool.NullPool, **options)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                # pysqlite would begin only at the first write: two readers of the same head would fork the chain.
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql("begin immediate")
                try:
                    yield connection
                except BaseException:
                    connection.exec_driver_sql("rollback")
                    raise
                connection.exec_driver_sql("commit")
            else:
                with connection.begin():
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
                    yield connection

    def append(
        self,
        *,
        loop: str,
        kind: str,
        key: str,
        as_of: datetime,
        payload: dict[str, Any],
        actor: str = "ratchet",
        exact: bool = False,
        accepting_loss: bool = False,
    ) -> Entry:
        """Record one decision and return its entry; the earlier entry when (loop, key) is known.

        `accepting_loss` appends to a ledger that lost entries, as someone decided who knows.

        Raises:
            LedgerConflict: with `exact`, the known entry has another kind or payload.
            LedgerCut: entries are missing that the anchor says were there.
            LedgerValueError: the payload is not plain data.
        """
        content = plain(payload)
        with self._writing() as connection:
            # Under the lock: whatever the anchor names was committed before.
            problem = None if accepting_loss else self._cut(connection, self._anchored())
            if problem is not None:
                raise LedgerCut(problem)
            known = connection.execute(
                sa.select(ENTRIES).where(ENTRIES.c.loop == loop, ENTRIES.c.key == key)
            ).first()
            if known is not None:
                entry = _entry(known)
                if exact and (entry.kind != kind or entry.payload != content):
                    raise LedgerConflict(
                        f"ledger entry {entry.seq} ({loop}, {key}) already says something else"
                    )
                return entry
            head = connection.execute(
                sa.select(ENTRIES.c.seq, ENTRIES.c.hash).order_by(ENTRIES.c.seq.desc()).limit(1)
            ).first()
            entry = sealed(
                seq=head.seq + 1 if head else 1,
                loop=loop,
                kind=kind,
                key=key,
                as_of=as_of.isoformat(timespec="seconds"),
                recorded_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                actor=actor,
                payload=content,
                previous_hash=head.hash if head else GENESIS,
            )
            row = {**entry.__dict__, "payload": stored_text(entry.payload)}
            connection.execute(ENTRIES.insert().values(**row))
        if self.anchor is not None:
            advance(self.anchor, Anchor(entry.seq, entry.hash), back=accepting_loss)
        return entry

    def entries(self, loop: str | None = None, kinds: Sequence[str] = ()) -> list[Entry]:
        """Entries in order, of one loop and of the given kinds when asked."""
        query = sa.select(ENTRIES).order_by(ENTRIES.c.seq)
        if loop is not None:
            query = query.where(ENTRIES.c.loop == loop)
        if kinds:
            query = query.where(ENTRIES.c.kind.in_(list(kinds)))
        with self._engine.connect() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def rows(self, after: int = 0) -> list[dict[str, Any]]:
        """Stored rows of every loop behind number `after`, in order: what a reader checks as it goes on reading."""
        query = sa.select(ENTRIES).where(ENTRIES.c.seq > after).order_by(ENTRIES.c.seq)
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def find(self, loop: str, key: str) -> Entry | None:
        """The entry of this key, or None."""
        with self._engine.connect() as connection:
            row = connection.execute(
                sa.select(ENTRIES).where(ENTRIES.c.loop == loop, ENTRIES.c.key == key)
            ).first()
        return None if row is None else _entry(row)

    def verify(self) -> Verification:
        """Walk the whole chain, byte by byte, and compare its end with the anchor."""
        # The anchor first: what it names was committed before it, so the walk has to meet it.
        anchored = self._anchored()
        with self._engine.connect() as connection:
            found = verify_rows(
                dict(row._mapping) for row in connection.execute(sa.select(ENTRIES).order_by(ENTRIES.c.seq))
            )
            if found.problem is not None or self.anchor is None:
                return found
            problem = self._cut(connection, anchored)
        if problem is None and anchored is None and found.entries:
            problem = (
                f"there is no anchor {self.anchor}: nothing says that no entry was cut off; "
                "`ratchet ledger anchor` writes one"
            )
        return replace(found, problem=problem)

    def _anchored(self) -> Anchor | None:
        return None if self.anchor is None else read_anchor(self.anchor)

    def _cut(self, connection: sa.Connection, anchored: Anchor | None) -> str | None:
        if anchored is None:
            return None
        found = connection.execute(sa.select(ENTRIES.c.hash).where(ENTRIES.c.seq == anchored.seq)).scalar()
        if found == anchored.hash:
            return None
        end = connection.execute(sa.select(sa.func.max(ENTRIES.c.seq))).scalar() or 0
        what = f"it ends at entry {end}" if found is None else "another entry stands there"
        return (
            f"entry {anchored.seq} ({anchored.hash[:12]}…) was in the ledger, says {self.anchor}, and {what}: "
            "restore the ledger from its backup; `ratchet ledger anchor` goes on without what is lost"
        )


def _entry(row: Any) -> Entry:
    return entry_of(row._mapping)


def migrate(url: str) -> None:
    """Bring the ledger's schema to the newest version (creates the database file if it is SQLite)."""
    from alembic import command
    from alembic.config import Config

    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # Readers (status, pages) must not hold a writing task back.
            connection.exec_driver_sql("pragma journal_mode=wal")
            connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
