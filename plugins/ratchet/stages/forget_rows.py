"""A person's rows out of the warehouse and out of the landed files, a partition at a time.

Everything here may be repeated: what is gone already is not found again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

import pandas as pd

from ratchet.capture.forgetting import blank_rows
from ratchet.landing.contract import SourceContract, load_contract
from ratchet.landing.files import DeliveredFile, delivered, location_of, partitions
from ratchet.landing.land import ensure_tables
from ratchet.landing.partition import Partition
from ratchet.landing.people import People, PersonKey
from ratchet.landing.scrub import is_ours, rewritten, says, take_out
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.warehouse import ops
from ratchet.warehouse.protocol import Warehouse, checked_column, checked_table

Log = Callable[[str], None]
#: Book-keeping about forgetting itself; it goes when the rest is done.
OWN = ("ops.forgotten_people", "ops.forgetting", "ops.forgetting_steps")
UNIT = "unit_id"


@dataclass
class Removed:
    """What was taken away: rows by table, rows of files by source, and files that somebody else keeps."""

    rows: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    days: dict[str, list[str]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def add(self, table: str, count: int) -> None:
        if count:
            self.rows[table] = self.rows.get(table, 0) + count


def contracts_with_people(settings: Settings, loop: Loop) -> dict[str, SourceContract]:
    """The contracts of the loop's sources that say who a row is about."""
    found = {source: load_contract(settings.dbt_dir, source) for source in sorted(loop.sources)}
    return {source: contract for source, contract in found.items() if contract.people}


def ensure(settings: Settings, loop: Loop, wh: Warehouse) -> dict[str, SourceContract]:
    """The tables that forgetting reads and writes are there; the contracts with people."""
    contracts = contracts_with_people(settings, loop)
    ops.ensure(wh)
    ensure_tables(wh, contracts)
    return contracts


def note_keys(
    wh: Warehouse, loop: str, person: str, contracts: Mapping[str, SourceContract]
) -> dict[str, int]:
    """Write down which units and which rows (by their keys) are the person's, before they go; how many by column."""
    with wh.transaction():
        for contract in contracts.values():
            columns = {*contract.keys, *({UNIT} & set(contract.names))}
            for column, name in ((c, n) for c in sorted(columns) for n in contract.people):
                wh.execute(
                    "insert into ops.forgetting select distinct loop, ?, ?, "  # noqa: S608
                    f"cast({checked_column(column)} as varchar) from {checked_table(contract.table)} "
                    f"where loop = ? and {checked_column(name)} = ? on conflict do nothing",
                    (person, column, loop, person),
                )
    found = wh.frame(
        "select kind, count(*) as n from ops.forgetting where loop = ? and person = ? group by kind order by kind",
        (loop, person),
    )
    return {str(kind): int(n) for kind, n in found.itertuples(index=False)}


def derived_tables(
    wh: Warehouse, contracts: Mapping[str, SourceContract]
) -> dict[str, list[tuple[str, str]]]:
    """Every table outside `raw` with a column that names a person or one of their rows: [(column, kind)].

    Found by the columns' names, so that a table that somebody adds later is among them.
    """
    people = {name for contract in contracts.values() for name in contract.people} | {"person"}
    keys = {name for contract in contracts.values() for name in contract.keys}
    columns = wh.frame(
        "select c.table_schema, c.table_name, c.column_name from information_schema.columns as c "
        "inner join information_schema.tables as t on t.table_schema = c.table_schema "
        "and t.table_name = c.table_name and t.table_catalog = c.table_catalog "
        "where t.table_type = 'BASE TABLE' and c.table_schema not in ('raw', 'information_schema', 'pg_catalog') "
        "order by 1, 2, 3"
    )
    loops = {(s, t) for s, t, c in columns.itertuples(index=False) if c == "loop"}
    found: dict[str, list[tuple[str, str]]] = {}
    for schema, table, column in columns.itertuples(index=False):
        name = f"{schema}.{table}"
        if name in OWN or (schema, table) not in loops or column not in people | keys:
            continue
        found.setdefault(name, []).append((str(column), "person" if column in people else str(column)))
    return found


def remove_derived(wh: Warehouse, loop: str, person: str, contracts: Mapping[str, SourceContract]) -> Removed:
    """Facts, enriched rows, receipts and whatever else names the person or their rows."""
    done = Removed()
    for table, columns in derived_tables(wh, contracts).items():
        with wh.transaction(), wh.lock(f"build:{loop}"):
            for column, kind in columns:
                where, params = f"{checked_column(column)} = ?", (loop, person)
                if kind != "person":
                    where = (
                        f"{checked_column(column)} in (select name from ops.forgetting where loop = ? "  # noqa: S608
                        "and person = ? and kind = ?)"
                    )
                    params = (loop, loop, person, kind)  # type: ignore[assignment]
                sql = f"from {checked_table(table)} where loop = ? and {where}"
                count = int(wh.scalar(f"select count(*) {sql}", params))
                if count:
                    wh.execute(f"delete {sql}", params)
                done.add(table, count)
    return done


def remove_raw(
    settings: Settings,
    loop: Loop,
    wh: Warehouse,
    person: str,
    key: PersonKey,
    plain: frozenset[str],
    log: Log,
) -> Removed:
    """Landed rows, rows in quarantine, the rows of the files that they came in, and those that wait in the inbox."""
    done = Removed()
    plain |= {person}  # rows that the endpoint took name them by the hash
    for source, contract in contracts_with_people(settings, loop).items():
        people = People(loop.loop, contract, key, frozenset({person}))
        # First the inbox: what leaves it meanwhile is in the landing folder before that is searched.
        if waiting := blank_rows(settings.home / "inbox" / loop.loop / source, people, plain):
            done.files[source] = done.files.get(source, 0) + waiting
        location = location_of(settings, loop.loop, source, loop.sources[source])
        folders = dict(partitions(location, lambda line: None))
        days = _days_in_tables(wh, loop.loop, contract, person)
        for day, folder in folders.items():
            if day not in days:
                files = delivered(location, folder, lambda line: None)
                if any(is_ours(settings, f) and says(f, contract, plain) for f in files):
                    days.add(day)
        for day in sorted(days):
            files = delivered(location, folders[day], lambda line: None) if day in folders else []
            with wh.lock(f"land:{loop.loop}:{source}:{day}"), wh.transaction():
                _remove_partition(settings, wh, people, day, files, plain, done)
            done.days.setdefault(source, []).append(day.isoformat())
            log(f"{source} {day}: rows of one person are gone")
        _remove_copies(settings, loop.loop, source, plain, done)
        if days:
            _remove_pages(settings, loop.loop, source)
    return done


def _days_in_tables(wh: Warehouse, loop: str, contract: SourceContract, person: str) -> set[date]:
    days: set[date] = set()
    for name in contract.people:
        rows = wh.frame(
            f"select distinct received_date from {checked_table(contract.table)} "  # noqa: S608
            f"where loop = ? and {checked_column(name)} = ?",
            (loop, person),
        )
        days |= {pd.Timestamp(day).date() for day in rows["received_date"]}
    held = wh.frame(
        "select distinct received_date from raw.quarantine where loop = ? and source = ? and position(? in people) > 0",
        (loop, contract.source, person),
    )
    return days | {pd.Timestamp(day).date() for day in held["received_date"]}


def _remove_partition(
    settings: Settings,
    wh: Warehouse,
    people: People,
    day: date,
    files: list[DeliveredFile],
    plain: frozenset[str],
    done: Removed,
) -> None:
    contract, loop = people.contract, people.loop
    (person,) = people.forgotten
    key = (loop, contract.source, day)
    gone = 0
    for name in contract.people:
        where = (
            f"from {checked_table(contract.table)} where loop = ? and received_date = ? "
            f"and {checked_column(name)} = ?"
        )
        counts = wh.frame(
            f"select source_file, count(*) as n {where} group by source_file order by source_file",
            (loop, day, person),
        )
        wh.execute(f"delete {where}", (loop, day, person))
        for file, n in counts.itertuples(index=False):
            _move(wh, key, str(file), "rows_landed", int(n))
            gone += int(n)
            done.add(contract.table, int(n))
    held = "from raw.quarantine where loop = ? and source = ? and received_date = ? and position(? in people) > 0"
    counts = wh.frame(
        "select source_file, sum(case when state = 'released' then 0 else 1 end) as open_rows, count(*) as n "
        f"{held} group by source_file order by source_file",
        (*key, person),
    )
    wh.execute(f"delete {held}", (*key, person))
    for file, still_open, n in counts.itertuples(index=False):
        _move(wh, key, str(file), "rows_quarantined", int(still_open))
        gone += int(n)
        done.add("raw.quarantine", int(n))
    if gone:
        Partition(wh, loop, contract, day, None).finish()
    for file in files:
        if not is_ours(settings, file):
            done.left.append(file.address)
            continue
        before = file.sha256()
        taken = take_out(file, people, plain)
        if taken is not None:
            done.files[contract.source] = done.files.get(contract.source, 0) + taken.rows
            if not taken.is_deleted:
                rewritten(wh, contract, key, file.name, before, taken)


def _move(wh: Warehouse, key: tuple[str, str, date], file: str, column: str, count: int) -> None:
    """Count rows as forgotten that were counted in `column` of the file's landings."""
    landings = wh.frame(
        f"select file_sha256, {checked_column(column)} as n from ops.landings where loop = ? and source = ? "  # noqa: S608
        "and received_date = ? and file_name = ? order by file_sha256",
        (*key, file),
    )
    for sha256, n in landings.itertuples(index=False):
        moved = min(count, int(n))
        if moved:
            wh.execute(
                f"update ops.landings set {column} = {column} - ?, "  # noqa: S608
                "rows_forgotten = coalesce(rows_forgotten, 0) + ? where loop = ? and source = ? "
                "and received_date = ? and file_name = ? and file_sha256 = ?",
                (moved, moved, *key, file, sha256),
            )
            count -= moved


def _remove_pages(settings: Settings, loop: str, source: str) -> None:
    """The landing gate's results of the source: they quote values that they did not expect. Verdicts stay."""
    for folder in ("validations", "data_docs/local_site/validations"):
        shutil.rmtree(settings.gx_dir / folder / source / f"{loop}-landing", ignore_errors=True)


def _remove_copies(settings: Settings, loop: str, source: str, plain: frozenset[str], done: Removed) -> None:
    """Copies of unreadable files, of a time when the source named nobody."""
    folder = settings.home / "quarantine" / loop / source
    marks = [text.encode() for text in plain]
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        content = path.read_bytes()
        if any(mark in content for mark in marks):
            path.unlink()
            done.files[source] = done.files.get(source, 0) + 1
