"""What did not land, kept without personal data: file, line, reason, original."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import pandas as pd

from ratchet.feedback.redact import redact_text
from ratchet.landing.contract import SourceContract
from ratchet.landing.people import WITHHELD, People
from ratchet.landing.readers import Rejected
from ratchet.landing.spill import storable

LONGEST_ORIGINAL = 20_000
LONGEST_BYTES = 65_536
LONGEST_REASON = 500
_MARGIN = 200


@dataclass(frozen=True)
class Origin:
    """Where rows come from: one file of one partition."""

    loop: str
    source: str
    received_date: date
    file_name: str
    file_sha256: str
    location: str


def quarantine_id(origin: Origin, rejected: Rejected) -> bytes:
    """The row's name for good: 32 bytes, the SHA-256 of where it stood and what it said."""
    content = rejected.sha256 or hashlib.sha256(rejected.original).hexdigest()
    parts = (origin.loop, origin.source, origin.received_date, origin.file_name, rejected.line, content)
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogateescape")).digest()


def quarantine_frame(
    origin: Origin,
    entries: Sequence[tuple[str, Rejected]],
    contract: SourceContract,
    header: str | None,
    people: People | None = None,
) -> pd.DataFrame:
    """The rows of raw.quarantine for (id, rejected row) pairs; `people` takes out who they are about."""
    rows = []
    for name, as_it_came in entries:
        rejected, named = (as_it_came, ()) if people is None else _unnamed(as_it_came, people, header)
        reason, original = printable(rejected, contract)
        exact = (
            rejected.line > 0
            and rejected.length is None
            and len(rejected.original) <= LONGEST_BYTES
            and original.encode() == as_it_came.original
        )
        clean_bytes = exact or (rejected is as_it_came and _clean_bytes(rejected, contract))
        whose = " ".join(named) or None
        rows.append((rejected.line, reason, original, name, clean_bytes, rejected.is_cut_off, whose))
    listed = list(zip(*rows, strict=True))
    safe_header = header if header is None or redact_text(header) == header else None
    return pd.DataFrame(
        {
            "loop": origin.loop,
            "source": origin.source,
            "received_date": pd.Timestamp(origin.received_date),
            "source_file": storable(origin.file_name),
            "source_line": list(listed[0]),
            "reason": list(listed[1]),
            "original": list(listed[2]),
            "quarantine_id": list(listed[3]),
            "original_bytes": pd.Series(
                [r.original if clean else None for (_, r), clean in zip(entries, listed[4], strict=True)],
                dtype=object,
            ),
            "is_redacted": [not clean for clean in listed[4]],
            "file_header": pd.Series([safe_header] * len(rows), dtype="str"),
            "file_sha256": origin.file_sha256,
            "location": storable(origin.location),
            "is_cut_off": list(listed[5]),
            "people": pd.Series(listed[6], dtype=object),
            "state": "held",
        }
    )


def _unnamed(rejected: Rejected, people: People, header: str | None) -> tuple[Rejected, tuple[str, ...]]:
    """The refused row without the ids of people, and their pseudonyms; itself when it names nobody.

    Of a file that can't be read nothing is shown: who is in it can't be told.
    """
    reason = rejected.reason
    for name in people.contract.people:
        if reason.startswith(f"{name}: "):
            reason = f"{name}: no id of a person as the contract wants it"
    if rejected.line == 0:
        return replace(rejected, original=WITHHELD.encode(), reason=reason), ()
    shown, named = people.in_original(rejected.original, header)
    if shown == rejected.original and reason == rejected.reason:
        return rejected, named
    return replace(rejected, original=shown, reason=reason), named


def _clean_bytes(rejected: Rejected, contract: SourceContract) -> bool:
    """Whether bytes that have no exact text (no UTF-8, a NUL) hold nothing personal and may be kept."""
    if rejected.line == 0 or rejected.length is not None or len(rejected.original) > LONGEST_BYTES:
        return False
    text = rejected.original.decode("utf-8", errors="backslashreplace")
    shown = _redact_fields(text, contract)
    return (redact_text(text) if shown is None else shown) == text


def printable(rejected: Rejected, contract: SourceContract | None) -> tuple[str, str]:
    """Reason and original as they are stored: redacted, without NUL, cut at a stated length.

    In a row that still parses as an object only the free texts are redacted, so that keys and times stay
    readable; in anything else all of it is.
    """
    original = rejected.original[: 4 * LONGEST_ORIGINAL + 4].decode("utf-8", errors="backslashreplace")
    length = rejected.length or len(rejected.original)
    if len(original) <= LONGEST_ORIGINAL and length <= 4 * LONGEST_ORIGINAL:
        shown = _redact_fields(original, contract)
        shown = redact_text(original) if shown is None else shown
    else:
        # An address that the cut goes through is no address to the patterns: the margin with it is dropped.
        shown = redact_text(original[:LONGEST_ORIGINAL])[:-_MARGIN]
        shown += f" ... [{length} bytes in all]"
    return stored_reason(rejected.reason), storable(shown)


def stored_reason(reason: str) -> str:
    """A reason quotes the value that it refuses, and that value may be the personal data itself."""
    return storable(redact_text(reason[:LONGEST_REASON]))


def _redact_fields(text: str, contract: SourceContract | None) -> str | None:
    """The object with its free texts redacted; None when `text` is no object of the contract's fields."""
    if contract is None or not text.startswith("{"):
        return None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    plain = {column.name for column in contract.columns if not column.free_text}
    free = {name for name, value in row.items() if name not in plain and value is not None}
    changed = False
    for name in free:
        value = row[name]
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        clean = redact_text(said)
        if clean != said:
            row[name], changed = clean, True
    names = {name: redact_text(name) for name in free}
    if any(name != clean for name, clean in names.items()):
        row = {names.get(name, name): value for name, value in row.items()}
        changed = True
    return json.dumps(row, ensure_ascii=False) if changed else text
