"""What a row says beyond its contract, as one JSON text; and free text without personal data.

A field that nobody declared may hold anything, so names and values are redacted like what a person wrote.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.feedback.redact import SUSPECT, redact_text

LONGEST_VALUE = 1_000
LONGEST_SPILL = 8_000
LONGEST_NAME = 100
MOST_NAMES = 200
OTHERS = "(others)"


def redacted(texts: pa.Array) -> pa.Array:
    """The texts without the personal data found in them; a missing one stays missing."""
    suspect = pc.fill_null(pc.match_substring_regex(texts, SUSPECT), False)
    if not pc.any(suspect).as_py():
        return texts
    found = texts.filter(suspect).dictionary_encode()
    clean = pa.array([redact_text(text) for text in found.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(texts, suspect, clean.take(found.indices))


def field_name(name: str) -> str:
    """A field's name as it may be stored."""
    return storable(redact_text(str(name)))[:LONGEST_NAME]


def spilled(extra: dict[str, Any]) -> str:
    """The fields as a JSON object: keys sorted, redacted, no value longer than LONGEST_VALUE, the whole no
    longer than LONGEST_SPILL: what is cut away says how much it was."""
    row: dict[str, Any] = {}
    for name in sorted(extra):
        row[field_name(name)] = _value(extra[name])
    text = _json(row)
    while len(text) > LONGEST_SPILL:
        names = [name for name in sorted(row) if name != OTHERS]
        kept = names[: len(names) // 2]
        row = {name: row[name] for name in kept} | {OTHERS: f"[{len(extra) - len(kept)} fields]"}
        text = _json(row)
    return text


def _value(value: Any) -> Any:
    try:
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "[a value that has no JSON form]"
    if len(text) > LONGEST_VALUE:
        return f"[{len(text)} characters]"
    clean = redact_text(text)
    if clean != text or isinstance(value, str):
        return storable(clean)
    return value


def _json(row: dict[str, Any]) -> str:
    text = json.dumps(row, default=str, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return storable(text)


def storable(text: str) -> str:
    """The text without what no database takes: NUL, and half characters."""
    return text.replace("\x00", "\\u0000").encode("utf-8", errors="backslashreplace").decode("utf-8")


def spill_column(extras: list[dict[str, Any] | None], rows: np.ndarray) -> pa.Array:
    """`spilled` of the rows given by their positions; missing where a row says nothing more."""
    texts = []
    for i in rows.tolist():
        extra = extras[i]
        texts.append(spilled(extra) if extra else None)
    return pa.array(texts, pa.string())


class ExtraNames:
    """How many landed rows of one file had which undeclared field; at most MOST_NAMES are told apart."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()

    def add(self, extras: list[dict[str, Any] | None], rows: np.ndarray) -> None:
        seen = Counter(name for i in rows.tolist() for name in (extras[i] or ()))
        for raw, count in seen.items():
            name = field_name(raw)
            if name not in self._rows and len(self._rows) >= MOST_NAMES:
                name = OTHERS
            self._rows[name] += count

    @property
    def rows(self) -> dict[str, int]:
        return dict(sorted(self._rows.items()))
