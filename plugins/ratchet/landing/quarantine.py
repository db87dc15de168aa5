"""What did not land, kept without personal data: file, line, reason, original."""

from __future__ import annotations

import json

from ratchet.feedback.redact import redact_text
from ratchet.landing.contract import SourceContract
from ratchet.landing.readers import Rejected

LONGEST_ORIGINAL = 20_000
LONGEST_REASON = 500
_MARGIN = 200


def printable(rejected: Rejected, contract: SourceContract | None) -> tuple[str, str]:
    """Reason and original as they are stored: redacted, without NUL, cut at a stated length.

    In a row that still parses as an object only the free texts are redacted, so that keys and times stay
    readable; in anything else all of it is.
    """
    original = rejected.original
    if len(original) <= LONGEST_ORIGINAL:
        redacted = _redact_fields(original, contract)
        shown = redact_text(original) if redacted is None else redacted
    else:
        # An address that the cut goes through is no address to the patterns: the margin with it is dropped.
        shown = redact_text(original[:LONGEST_ORIGINAL])[:-_MARGIN]
        shown += f" ... [{len(original)} characters in all]"
    # A reason quotes the value that it refuses, and that value may be the personal data itself.
    return _storable(redact_text(rejected.reason[:LONGEST_REASON])), _storable(shown)


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
    if not free:
        return text
    for name in free:
        value = row[name]
        row[name] = redact_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return json.dumps(row, ensure_ascii=False)


def _storable(text: str) -> str:
    return text.replace("\x00", "\\u0000").encode("utf-8", errors="backslashreplace").decode("utf-8")
