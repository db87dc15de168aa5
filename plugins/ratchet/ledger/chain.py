"""Entries and their hash chain: pure functions, no database.

An entry's hash is SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8) of all its other fields,
the previous entry's hash among them. Changing, removing or reordering an entry breaks the chain there. A cut
end breaks nothing that is left: `ratchet.ledger.anchor` says where the chain ended when it was last written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

GENESIS = "0" * 64


class LedgerValueError(ValueError):
    """A payload holds something that JSON can't say exactly; the message names its path."""


class ChangedText(ValueError):
    """A stored entry is not written as the ledger writes it; the message names the entry."""


@dataclass(frozen=True)
class Entry:
    """One decision. `as_of` is the time it was judged at, `recorded_at` the clock when it was written (UTC)."""

    seq: int
    loop: str
    kind: str
    key: str
    as_of: str
    recorded_at: str
    actor: str
    payload: dict[str, Any]
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class Verification:
    """The outcome of walking the chain. `problem` is None when every entry checked out."""

    entries: int
    head: str
    problem: str | None

    @property
    def ok(self) -> bool:
        return self.problem is None and self.entries > 0


def plain(value: Any, path: str = "payload") -> Any:
    """`value` in JSON's own types; dates as ISO text, NaN and infinity as None.

    Raises:
        LedgerValueError: an object of another type; the message names its path.
    """
    if isinstance(value, str):
        return _text(value, path)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        named = {_text(str(k), path): plain(v, f"{path}.{k}") for k, v in value.items()}
        if len(named) != len(value):
            raise LedgerValueError(f"{path}: two keys are the same text; give each its own")
        return named
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [plain(v, f"{path}[{i}]") for i, v in enumerate(items)]
    item = getattr(value, "item", None)
    if callable(item):  # NumPy scalars
        return plain(item(), path)
    raise LedgerValueError(
        f"{path}: {type(value).__name__} can't be written to the ledger; give plain values"
    )


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise LedgerValueError(f"{path}: the text is not valid Unicode (a lone surrogate)") from None
    return value


def canonical(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def entry_hash(fields: dict[str, Any]) -> str:
    """SHA-256 (hex) of an entry's fields without `hash`."""
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def sealed(
    *,
    seq: int,
    loop: str,
    kind: str,
    key: str,
    as_of: str,
    recorded_at: str,
    actor: str,
    payload: dict[str, Any],
    previous_hash: str,
) -> Entry:
    """The entry with its hash."""
    fields: dict[str, Any] = {
        "seq": seq,
        "loop": loop,
        "kind": kind,
        "key": key,
        "as_of": as_of,
        "recorded_at": recorded_at,
        "actor": actor,
        "payload": payload,
        "previous_hash": previous_hash,
    }
    return Entry(**fields, hash=entry_hash(fields))


def stored_text(payload: dict[str, Any]) -> str:
    """A payload as the database keeps it."""
    return json.dumps(payload, sort_keys=True, ensure_ascii=False)


def stored_hash(row: Mapping[str, Any]) -> str | None:
    """`entry_hash` of a database row, from its text; None where the payload is not written in the one way.

    That way and the canonical one differ by the space behind each comma and colon that stands outside of strings. So
    the canonical text is the stored one without these spaces, and with them again it must be the stored one. To make
    both texts anew from what they say would take twice as long, and who opens a page waits for it.
    """
    text = str(row["payload"])
    fields = {name: value for name, value in row.items() if name not in ("hash", "payload")}
    if "\\" in text or "NaN" in text or "Infinity" in text:
        # An escaped quote does not end a string; what is not finite has no canonical text.
        payload = json.loads(text)
        return entry_hash({**fields, "payload": payload}) if stored_text(payload) == text else None
    parts = text.split('"')  # every other part is a string
    outside = "\0".join(parts[0::2])
    compact = outside.replace(", ", ",").replace(": ", ":")
    if compact.replace(",", ", ").replace(":", ": ") != outside:
        return None
    parts[0::2] = compact.split("\0")
    before = canonical({name: value for name, value in fields.items() if name < "payload"})
    behind = canonical({name: value for name, value in fields.items() if name > "payload"})
    whole = "".join((before[:-1], ',"payload":', '"'.join(parts), ",", behind[1:]))
    return hashlib.sha256(whole.encode()).hexdigest()


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The entry of a database row, whose payload is text."""
    return Entry(**{**row, "payload": json.loads(row["payload"])})


def read_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    """The entries of database rows, each compared with the one way to write it.

    JSON can say the same in many ways (spaces, 1.0 and 1.00, a key twice): a hash over what is said would not
    see such a change.

    Raises:
        ChangedText: a payload is no JSON, or is written otherwise.
    """
    for row in rows:
        try:
            entry = entry_of(row)
            is_same = stored_text(entry.payload) == row["payload"]
        except (ValueError, TypeError):
            is_same = False
        if not is_same:
            raise ChangedText(f"entry {row['seq']} ({row['kind']}) was changed after it was written")
        yield entry


def verify_rows(rows: Iterable[Mapping[str, Any]]) -> Verification:
    """`verify_chain` of database rows, to the byte."""
    counted: list[Entry] = []

    def kept() -> Iterator[Entry]:
        for entry in read_rows(rows):
            counted.append(entry)
            yield entry

    try:
        return verify_chain(kept())
    except ChangedText as changed:
        head = counted[-1].hash if counted else GENESIS
        return Verification(len(counted) + 1, head, str(changed))


def verify_chain(entries: Iterable[Entry]) -> Verification:
    """Walk `entries` in order and say where the chain first breaks, if it does.

    An empty ledger is not a verified one: `ok` is False, since nothing was looked at.
    """
    previous, count = GENESIS, 0
    for entry in entries:
        count += 1
        if entry.seq != count:
            return Verification(
                count, previous, f"entry {entry.seq} stands where {count} should: one is missing"
            )
        if entry.previous_hash != previous:
            return Verification(count, previous, f"entry {entry.seq} does not follow the one before it")
        fields = {k: v for k, v in entry.__dict__.items() if k != "hash"}
        try:
            is_same = entry_hash(fields) == entry.hash
        except (ValueError, TypeError):  # what was never written: not finite, no valid text
            is_same = False
        if not is_same:
            return Verification(
                count, previous, f"entry {entry.seq} ({entry.kind}) was changed after it was written"
            )
        previous = entry.hash
    return Verification(count, previous, None)
