"""Personal data out of free text, on this machine: nothing is sent anywhere.

E-mail addresses, telephone, card, passport and booking numbers are replaced by a word that names what stood
there. The patterns lean to taking out too much: a redacted order number costs an analyst a guess, a stored
card number costs a traveller more. Names are not found; whoever needs that must not store the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# Order matters: an address before the numbers in it, a card before a telephone, a named number before both.
# Every quantifier is bounded or anchored by a distinct class, so that a long hostile text costs linear time.
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}\s?@\s?(?:[\w-]{1,63}\.){1,5}[a-z]{2,24}", re.IGNORECASE)
_DOCUMENT = re.compile(
    r"\b(?:passport|passeport|reisepass|id card)\b[^0-9\n]{0,24}?\b(?=[a-z0-9]*\d)[a-z0-9]{6,12}\b",
    re.IGNORECASE,
)
_BOOKING = re.compile(
    r"\b(?:booking|reservation|confirmation|record locator|locator|pnr|ticket|e-?ticket|frequent flyer"
    r"|loyalty)\b"
    r"(?:\s{1,3}(?:number|code|ref|reference|no\.?|is|was|id))*\s{0,3}[:#=]?\s{0,3}"
    r"(?:\b(?=[a-z0-9-]*\d)[a-z0-9-]{5,16}\b|\b(?-i:[A-Z]{6})\b)",
    re.IGNORECASE,
)
_CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
_PHONE = re.compile(
    r"(?<![\w.])(?!\d{4}-\d{2}-\d{2}(?!\d))(?:\+|00)?\(?\d{1,4}\)?(?:[ ./-]?\(?\d{2,5}\)?){2,5}(?!\w)"
)
_BARE_DOCUMENT = re.compile(r"\b(?:[A-Z]{1,2}\d{6,9}|\d{9})\b")
_BARE_BOOKING = re.compile(r"\b(?=[A-Z0-9]*\d)(?=[A-Z0-9]*[A-Z])[A-Z0-9]{6}\b")

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("email", _EMAIL),
    ("document", _DOCUMENT),
    ("booking", _BOOKING),
    ("card", _CARD),
    ("document", _BARE_DOCUMENT),
    ("phone", _PHONE),
    ("booking", _BARE_BOOKING),
)
_MIN_PHONE_DIGITS = 7
_SUSPECT = re.compile(r"[@\d]|pnr|booking|locator|reservation|confirmation|ticket", re.IGNORECASE)


@dataclass(frozen=True)
class Redaction:
    """`text` without the personal data found; `counts`: how many of each kind were taken out."""

    text: str
    counts: dict[str, int] = field(default_factory=dict)


def redact(text: str) -> Redaction:
    """`text` with every e-mail, phone, card, document and booking number replaced by [kind]."""
    if not _SUSPECT.search(text):
        return Redaction(text)
    counts: dict[str, int] = {}
    for kind, pattern in _PATTERNS:

        def replacement(found: re.Match[str], kind: str = kind) -> str:
            if kind == "phone" and sum(c.isdigit() for c in found.group()) < _MIN_PHONE_DIGITS:
                return found.group()
            counts[kind] = counts.get(kind, 0) + 1
            return f"[{kind}]"

        text = pattern.sub(replacement, text)
    return Redaction(text, counts)


def redact_text(text: str) -> str:
    """The redacted text alone."""
    return redact(text).text


def redact_all(texts: Iterable[str | None]) -> list[str | None]:
    """Each text redacted, in order; a missing one stays missing."""
    return [None if text is None else redact(text).text for text in texts]


def kinds() -> Sequence[str]:
    """The words that may stand in place of personal data."""
    return tuple(dict.fromkeys(kind for kind, _ in _PATTERNS))
