"""Two warehouses compared cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ratchet.settings import Settings
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import checked_table

TOLERANCE = 1e-9
SCHEMAS = (
    "raw", "ops", "intermediate", "build_marts", "build_features", "build_experiments", "build_monitoring",
    "marts", "features", "experiments", "monitoring",
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """How much was looked at, and every table that differs with its first difference."""

    tables: int
    rows: int
    cells: int
    differences: tuple[str, ...]


def tables_of(settings: Settings) -> dict[str, pd.DataFrame]:
    """Every table and view of the warehouse, by name; columns in alphabetical order."""
    listed = ", ".join(f"'{schema}'" for schema in SCHEMAS)
    with open_warehouse(settings, purpose="comparing", read_only=True) as warehouse:
        names = warehouse.frame(
            f"select table_schema || '.' || table_name as name from information_schema.tables "
            f"where table_schema in ({listed}) order by 1"
        )["name"]
        found = {str(name): warehouse.frame(f"select * from {checked_table(str(name))}") for name in names}
    return {name: frame[sorted(frame.columns)] for name, frame in found.items()}


def _texts(column: pd.Series) -> list[str]:
    return ["\x00" if pd.isna(value) else str(value) for value in column.tolist()]


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in an order that does not hang on the last bits of a double."""
    exact = [name for name in frame if frame[name].dtype.kind != "f"]
    loose = [name for name in frame if frame[name].dtype.kind == "f"]
    keys = pd.DataFrame({f"e{i}": _texts(frame[name]) for i, name in enumerate(exact)})
    for i, name in enumerate(loose):
        keys[f"f{i}"] = frame[name].round(6).to_numpy()
    order = keys.sort_values(list(keys.columns), kind="stable").index if len(keys.columns) else frame.index
    return frame.iloc[order].reset_index(drop=True)


def _differing(a: pd.Series, b: pd.Series) -> np.ndarray:
    numbers = all(s.dtype.kind in "fiub" for s in (a, b))
    if numbers:
        left, right = a.to_numpy(dtype="float64"), b.to_numpy(dtype="float64")
        near = np.isclose(left, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        return ~near
    return np.array([x != y for x, y in zip(_texts(a), _texts(b), strict=True)], dtype=bool)


def compare(a: dict[str, pd.DataFrame], b: dict[str, pd.DataFrame]) -> Compared:
    """Every cell of `a` against the one of `b`: texts, times and whole numbers equal, doubles within 1e-9."""
    wrong = [f"{name}: only on one side" for name in sorted(set(a) ^ set(b))]
    rows = cells = 0
    for name in sorted(set(a) & set(b)):
        left, right = a[name], b[name]
        if list(left.columns) != list(right.columns):
            wrong.append(f"{name}: columns {sorted(set(left.columns) ^ set(right.columns))}")
            continue
        if len(left) != len(right):
            wrong.append(f"{name}: {len(left)} rows against {len(right)}")
            continue
        left, right = _ordered(left), _ordered(right)
        rows += len(left)
        cells += left.size
        for column in left.columns:
            at = np.flatnonzero(_differing(left[column], right[column]))
            if len(at):
                first = int(at[0])
                wrong.append(
                    f"{name}.{column}: {len(at)} of {len(left)} rows, the first {left[column].iloc[first]!r} "
                    f"against {right[column].iloc[first]!r}"
                )
    return Compared(len(set(a) & set(b)), rows, cells, tuple(wrong))
