"""What a warehouse holds, as one digest a table: independent of the order of rows, exact to the last bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ratchet.settings import Settings
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import checked_column, checked_table

Checksums = dict[str, tuple[int, str]]
#: What readers see. Everything else is work in progress or book-keeping.
PUBLISHED_SCHEMAS = ("marts", "features", "experiments", "monitoring")
#: Say what is in the landed rows, published or not: views for whoever is on call.
LIVE_VIEWS = frozenset(
    {"monitoring.mon_rows_unplaced", "monitoring.mon_feed_age_daily", "monitoring.mon_enrichment_daily"}
)
_SYSTEM = ("information_schema", "pg_catalog", "pg_toast")


def checksums(settings: Settings, schemas: Iterable[str] | None = None) -> Checksums:
    """Rows and digest of every table and view, of `schemas` or of all.

    Raises:
        AssertionError: there is no table: a comparison of nothing would always hold.
    """
    wanted = None if schemas is None else set(schemas)
    with open_warehouse(settings, purpose="checksums", read_only=True) as warehouse:
        names = warehouse.frame(
            "select table_schema as s, table_name as t from information_schema.tables order by 1, 2"
        )
        found = {}
        for schema, table in names.itertuples(index=False):
            if schema in _SYSTEM or (wanted is not None and schema not in wanted):
                continue
            found[f"{schema}.{table}"] = _digest(warehouse, f"{schema}.{table}")
    assert found, f"no table in {wanted or 'any schema'} of {settings.warehouse_path}"
    return found


def published(settings: Settings) -> Checksums:
    """What readers see: published tables, and the verdicts that say which of their dates may be read."""
    found = {t: c for t, c in checksums(settings, PUBLISHED_SCHEMAS).items() if t not in LIVE_VIEWS}
    with open_warehouse(settings, purpose="checksums", read_only=True) as warehouse:
        found["ops.partition_gates"] = _digest(
            warehouse, "ops.partition_gates", "where border = 'features' and verdict <> 'block'"
        )
    return found


def _digest(warehouse: Any, table: str, where: str = "") -> tuple[int, str]:
    frame = warehouse.frame(f"select * from {checked_table(table)} {where}")
    columns = sorted(checked_column(str(name)) for name in frame.columns)
    texts = [[_text(value) for value in frame[name].tolist()] for name in columns]
    rows = sorted("\x1f".join(row) for row in zip(*texts, strict=True))
    digest = hashlib.sha256("\x1e".join([*columns, *rows]).encode("utf-8", "surrogatepass"))
    return len(rows), digest.hexdigest()[:16]


def _text(value: Any) -> str:
    # One missing value is as good as another; a float's repr is its bits.
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return "\x00"
    return repr(value)


def changed(before: Checksums, after: Checksums) -> list[str]:
    """The tables that differ, each with its row counts."""
    return [
        f"{table}: {before.get(table, (None, ''))[0]} -> {after.get(table, (None, ''))[0]} rows"
        for table in sorted({*before, *after})
        if before.get(table) != after.get(table)
    ]
