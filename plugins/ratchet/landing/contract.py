"""What a source promises: its columns, read from the dbt source YAML that documents them.

One file, dbt/models/staging/sources/<source>.yml, is the contract of both sides: dbt reads the table, landing
reads `columns[].data_type` and `columns[].config.meta`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

DATA_TYPES = ("varchar", "integer", "bigint", "double", "boolean", "timestamp", "date")
# What landing adds to each row; `extra_fields` holds, as JSON text, what the contract does not name.
ADDED_TYPES = {
    "loop": "varchar not null",
    "received_date": "date not null",
    "row_hash": "varchar not null",
    "source_file": "varchar not null",
    "source_line": "integer not null",
    "extra_fields": "varchar",
}
ADDED_BY_LANDING = tuple(ADDED_TYPES)
META_KEYS = frozenset(
    {
        "required",
        "optional",
        "min",
        "max",
        "allowed",
        "max_length",
        "key",
        "free_text",
        "person",
        "added_by_landing",
    }
)
DEFAULT_MAX_LENGTH = 1_000
# Free text is what a person wrote; it is redacted before it is stored.
FREE_TEXT = ("comment",)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class ContractError(ValueError):
    """A source contract that can't be used; the message names file, column and remedy."""


@dataclass(frozen=True)
class Column:
    """One column that the source delivers; `minimum` and `maximum` are inclusive, in the column's unit."""

    name: str
    data_type: str
    required: bool = False
    key: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: frozenset[str] | None = None
    max_length: int = DEFAULT_MAX_LENGTH
    free_text: bool = False
    #: Names a person: stored as a keyed hash, never as it came.
    person: bool = False
    #: A CSV or Parquet file may lack it as a whole: its rows land with null.
    optional: bool = False


@dataclass(frozen=True)
class SourceContract:
    """The columns that files of `source` carry, in the table's order; `added` are landing's own."""

    source: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.key)

    @property
    def people(self) -> tuple[str, ...]:
        """The columns that say who a row is about."""
        return tuple(column.name for column in self.columns if column.person)

    @property
    def may_be_absent(self) -> frozenset[str]:
        """The columns that a file may do without: they came later, or producers that know nobody have none."""
        return frozenset(column.name for column in self.columns if column.optional or column.person)

    @property
    def is_personal(self) -> bool:
        """Whether its files may hold personal data: people write into it, or it names them."""
        return self.has_free_text or bool(self.people)

    @property
    def has_free_text(self) -> bool:
        """Whether people write into it: its files may hold personal data."""
        return any(column.free_text for column in self.columns)

    @property
    def table(self) -> str:
        """The raw table, as schema.table."""
        return f"raw.{self.source}"

    def ddl(self) -> str:
        """The statement that creates the raw table where it is missing."""
        own = [f'"{c.name}" {_engine_type(c)}{" not null" if c.required else ""}' for c in self.columns]
        added = [f"{name} {data_type}" for name, data_type in ADDED_TYPES.items()]
        return f"create table if not exists {self.table} ({', '.join(own + added)})"

    @property
    def indexes(self) -> list[tuple[str, ...]]:
        """By which columns builds look for the few rows that they need: partition, receipt, departure date."""
        dated = [("departure_date",)] if any(c.name == "departure_date" for c in self.columns) else []
        return [("loop", "received_date"), ("received_at",), *dated]

    def additions(self, present: Iterable[str]) -> list[str]:
        """The statements that bring a table with the columns `present` up to this contract.

        A column that the contract has gained is empty in the rows that landed before it.
        """
        known = set(present)
        wanted = {c.name: _engine_type(c) for c in self.columns}
        wanted |= {name: data_type.removesuffix(" not null") for name, data_type in ADDED_TYPES.items()}
        return [
            f'alter table {self.table} add column if not exists "{name}" {data_type}'
            for name, data_type in wanted.items()
            if name not in known
        ]


def _engine_type(column: Column) -> str:
    # Both engines know this spelling; Postgres has no "double".
    return "double precision" if column.data_type == "double" else column.data_type


def _number(where: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ContractError(f"{where}: {name} is {value!r}; give a number")
    return float(value)


def _column(where: str, entry: dict[str, Any]) -> Column | None:
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ContractError(f"{where}: {name!r} is no column name")
    where = f"{where}: column {name}"
    config = entry.get("config") or {}
    meta = {**(entry.get("meta") or {}), **(config.get("meta") or {})}
    if meta.get("added_by_landing"):
        return None
    if name in ADDED_BY_LANDING:
        raise ContractError(f"{where}: landing adds it; mark it added_by_landing: true")
    unknown = sorted(set(meta) - META_KEYS)
    if unknown:
        raise ContractError(
            f"{where}: unknown meta {', '.join(unknown)}; known: {', '.join(sorted(META_KEYS))}"
        )
    data_type = str(entry.get("data_type", "")).lower()
    if data_type not in DATA_TYPES:
        raise ContractError(f"{where}: data_type {data_type!r}; use one of {', '.join(DATA_TYPES)}")
    allowed = meta.get("allowed")
    if allowed is not None and (not isinstance(allowed, list) or not allowed):
        raise ContractError(f"{where}: allowed must list at least one value")
    if meta.get("optional") and (meta.get("required") or meta.get("key")):
        raise ContractError(f"{where}: optional and required (or key) exclude each other; take one away")
    return Column(
        name=name,
        data_type=data_type,
        required=bool(meta.get("required") or meta.get("key")),
        key=bool(meta.get("key")),
        minimum=_number(where, "min", meta.get("min")),
        maximum=_number(where, "max", meta.get("max")),
        allowed=None if allowed is None else frozenset(str(value) for value in allowed),
        max_length=int(meta.get("max_length") or DEFAULT_MAX_LENGTH),
        free_text=bool(meta.get("free_text", name in FREE_TEXT)),
        person=_names_person(where, data_type, meta),
        optional=bool(meta.get("optional")),
    )


def _names_person(where: str, data_type: str, meta: dict[str, Any]) -> bool:
    if not meta.get("person"):
        return False
    if data_type != "varchar" or meta.get("key") or meta.get("required") or meta.get("allowed"):
        raise ContractError(
            f"{where}: person marks an optional varchar without allowed values, and no key: who wrote a row does "
            "not say which row it is"
        )
    return True


def parse_contract(tree: Any, source: str, where: str) -> SourceContract:
    """The contract of `source` in the parsed source YAML `tree`; `where` names the file in messages.

    Raises:
        ContractError: the table is not there, a column has no known type, there is no key, or a row would
            not say when it happened and when it was received.
    """
    tables = [
        table
        for group in (tree or {}).get("sources") or []
        for table in group.get("tables") or []
        if table.get("name") == source
    ]
    if len(tables) != 1:
        raise ContractError(f"{where}: declares table {source} {len(tables)} times; declare it once")
    found = [_column(where, entry) for entry in tables[0].get("columns") or []]
    columns = tuple(column for column in found if column is not None)
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ContractError(f"{where}: column {', '.join(twice)} is declared twice")
    by_name = {column.name: column for column in columns}
    for clock in ("event_at", "received_at"):
        column = by_name.get(clock)
        if column is None or column.data_type != "timestamp" or not column.required:
            raise ContractError(
                f"{where}: {clock} must be a required timestamp: a row that does not say when it was known "
                "can't be kept out of the past"
            )
    if not any(column.key for column in columns):
        raise ContractError(f"{where}: no column has meta key: true; say what identifies a row")
    return SourceContract(source, columns)


def load_contract(dbt_dir: Path, source: str) -> SourceContract:
    """The contract of `source`.

    Raises:
        ContractError: no such file, not YAML, or a contract that can't be used.
    """
    if not _NAME.fullmatch(source):
        raise ContractError(f"{source!r} is no source name; use lower-case letters, digits and underscores")
    path = dbt_dir / "models" / "staging" / "sources" / f"{source}.yml"
    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContractError(
            f"{path}: no contract for source {source}; write it before landing its files"
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: not YAML: {error}") from None
    return parse_contract(tree, source, str(path))
