"""A small installation on the eve of a received day, made once and copied for each trial."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg2
from tests.reference.play import Player, lenient_checkout
from tests.reference.worlds import File, Maker, Shape

from ratchet.ledger.store import Ledger
from ratchet.registry.models import Registry
from ratchet.settings import Settings, load_settings
from ratchet.training.fit import fit_model

#: The week before the clocks change; three weeks of flights, a few a day, a fifth of the rows late or corrected.
SHAPE = Shape(
    date(2013, 2, 22), days=21, flights=126, late_share=0.2, corrected_share=0.2, longest_delay_days=6, seed=5
)
DAY = date(2013, 3, 12)


@dataclass(frozen=True)
class Prepared:
    """The state of an installation before some tasks: a home, and on Postgres a database.

    Attributes:
        server: SQLAlchemy URL of a Postgres; None for DuckDB.
        database: the database of the state on that server.
    """

    home: Path
    checkout: Path
    day: date
    server: str | None = None
    database: str = ""

    @property
    def engine(self) -> str:
        return "duckdb" if self.server is None else "postgres"

    def environment(self, home: Path) -> dict[str, str]:
        """The variables of an installation at `home`."""
        names = {"RATCHET_HOME": str(home), "RATCHET_ROOT": str(self.checkout)}
        if self.server is not None:
            names["RATCHET_WAREHOUSE_URL"] = f"{_address(self.server).rpartition('/')[0]}/{_database(home)}"
        return names

    def settings(self, home: Path) -> Settings:
        return load_settings(self.environment(home))

    def copy(self, home: Path) -> Settings:
        """A fresh copy of the state at `home`."""
        self.drop(home)
        shutil.copytree(self.home, home)
        if self.server is not None:
            statement(self.server, f"create database {_database(home)} template {self.database}")
        return self.settings(home)

    def drop(self, home: Path) -> None:
        """Remove a copy."""
        shutil.rmtree(home, ignore_errors=True)
        if self.server is not None:
            statement(self.server, f"drop database if exists {_database(home)} with (force)")

    def after(self, home: Path) -> Prepared:
        """The state that a copy has come to, as the one to start from."""
        return replace(self, home=home, database=_database(home))


def _address(server: str) -> str:
    return server.replace("+psycopg2", "")


def _database(home: Path) -> str:
    return "state_" + re.sub(r"[^a-z0-9]", "_", f"{home.parent.name}_{home.name}".lower())


def statement(server: str, sql: str) -> None:
    """Run one statement on the server, outside of a transaction."""
    connection = psycopg2.connect(_address(server))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
    finally:
        connection.close()


def files_of(rows: dict[str, list[dict[str, object]]]) -> list[File]:
    """One file per source and received day."""
    days: dict[tuple[str, date], list[dict[str, object]]] = {}
    for source, landed in rows.items():
        for row in landed:
            received = row["received_at"]
            assert isinstance(received, datetime)
            days.setdefault((source, received.date()), []).append(row)
    return [File(source, day, "part-0", tuple(part)) for (source, day), part in sorted(days.items())]


def prepare(
    folder: Path,
    server: str | None = None,
    shape: Shape = SHAPE,
    day: date = DAY,
    held_back: tuple[date, ...] = (),
) -> Prepared:
    """Land, build and publish everything received before `day`, register a champion, and leave the day's files.

    The files of the days `held_back` do not land with the others: they lie there like the day's own.
    """
    checkout = lenient_checkout(folder / "checkout")
    home = folder / "home"
    prepared = Prepared(home, checkout, day, server)
    prepared.drop(home)
    if server is not None:
        # A commit that was answered must outlive the server: the tests' server is faster than that by itself.
        statement(server, "alter role ratchet set synchronous_commit = on")
        statement(
            server, f"create database {_database(home)} encoding 'UTF8' lc_collate 'C' template template0"
        )
    player = Player(checkout=checkout, home=home, **_more(prepared, home))
    files = files_of(Maker(shape).rows)
    before = [file for file in files if file.received_date < day and file.received_date not in held_back]
    for file in before:
        player.write(file)
    player.land(min(file.received_date for file in before), day - timedelta(days=1))
    assert player.build(), "the history before the day was not published"
    for file in files:
        if file not in before:
            player.write(file)
    _champion(player)
    return prepared.after(home)


def _more(prepared: Prepared, home: Path) -> dict[str, str]:
    found = prepared.environment(home)
    return {name: found[name] for name in ("RATCHET_WAREHOUSE_URL",) if name in found}


def _champion(player: Player) -> None:
    """Version 3 serves: the world's own predictions are of versions 1 and 2."""
    settings, loop = player.settings, player.loop
    registry = Registry(settings)
    dice = np.random.default_rng(0)
    columns = list(loop.features.columns)
    matrix, labels = dice.normal(size=(60, len(columns))), (dice.random(60) < 0.4).astype(float)
    for seed in (1, 2, 3):
        champion = registry.register(
            loop=loop.loop,
            request=f"bootstrap:{seed}",
            model_json=fit_model(matrix, labels, {"num_boost_round": seed}, seed=seed, feature_names=columns),
            inputs=columns,
            documents={},
            params={},
            metrics={},
        )
    Ledger(settings.ledger_url).append(
        loop=loop.loop,
        kind="bootstrap",
        key="bootstrap:3",
        as_of=datetime.combine(DAY - timedelta(days=10), datetime.min.time()),
        payload={
            "model_version": champion.version,
            "model_sha256": champion.sha256,
            "request": "bootstrap:3",
        },
    )
    registry.set_alias(loop.loop, "champion", champion.version)
