"""A row's fingerprint: equal for equal content, whatever format it came in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ratchet.landing.contract import Column, SourceContract

_BETWEEN = "\x1f"
_MISSING = "\x00"


def row_hashes(typed: Mapping[str, pd.Series], contract: SourceContract) -> list[str]:
    """The first 32 hex digits of the SHA-256 of each row's canonical content, in the contract's column order.

    Numbers are written as Python's shortest repr of the typed value, times as microseconds since 1970, a
    missing value as NUL, which no landed text can hold.
    """
    parts = [_canonical(typed[column.name], column) for column in contract.columns]
    sha256 = hashlib.sha256
    return [sha256(_BETWEEN.join(row).encode("utf-8")).hexdigest()[:32] for row in zip(*parts, strict=True)]


def _canonical(series: pd.Series, column: Column) -> list[str]:
    if column.data_type == "varchar":
        return [_MISSING if value is None else _escaped(value) for value in series.tolist()]
    missing = series.isna().to_numpy()
    values: list[Any]
    if column.data_type in ("timestamp", "date"):
        values = series.astype("datetime64[us]").astype("int64").tolist()
    else:
        values = series.tolist()
    if missing.any():
        return [
            _MISSING if gone else repr(value) for gone, value in zip(missing.tolist(), values, strict=True)
        ]
    return list(map(repr, values))


def _escaped(text: str) -> str:
    # A separator inside a text must not move content from one column to the next.
    if _BETWEEN in text or "\\" in text:
        return text.replace("\\", "\\\\").replace(_BETWEEN, "\\u")
    return text
