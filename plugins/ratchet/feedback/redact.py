"""Personal data out of free text, on this machine: nothing is sent anywhere, no model is fetched.

What stood there is replaced by its kind, as [EMAIL]. The patterns lean to taking out too much: a redacted order number
costs an analyst a guess, a stored card number costs a traveller more. What they can't find is said in docs/feedback.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ratchet.feedback.numbers import Found, find_numbers
from ratchet.feedback.people import find_people
from ratchet.feedback.recognisers import find_more

#: Another number whenever another text comes out for any text.
REDACTION_VERSION = 3
#: Characters of one text that are read; what lies beyond is not kept.
LONGEST_TEXT = 30_000
#: Where two finds overlap, the earlier kind here names what was taken out.
KINDS = ("EMAIL", "URL", "IBAN", "CARD", "IP", "DOCUMENT", "BOOKING", "ADDRESS", "NUMBER", "PHONE", "NAME")
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}
#: A text without any of it holds nothing that would be taken out. Read alike by Python and by RE2.
SUSPECT = r"[@0-9:(\[{\x00-\x20]|(?i:www)\.|[^\x00-\x7f]"
_SUSPECT = re.compile(SUSPECT)
_MARGIN = 200
#: Looks at a text: what ordinary people write has settled after two or three. Then finds are taken out as one piece,
#: and what has not settled after twice as many is taken out as a whole: no text costs more than so many looks.
_PASSES = 6


@dataclass(frozen=True)
class Redaction:
    """`text` without the personal data found; `counts`: how many of each kind were taken out."""

    text: str
    counts: dict[str, int] = field(default_factory=dict)


def find(text: str) -> list[Found]:
    """What is personal in `text`, in order, no two overlapping."""
    found = sorted([*find_numbers(text), *find_people(text)], key=lambda one: (one.start, one.end))
    merged: list[Found] = []
    for one in found:
        if merged and one.start < merged[-1].end:
            last = merged[-1]
            kind = min(last.kind, one.kind, key=lambda k: _RANK[k])
            merged[-1] = Found(last.start, max(last.end, one.end), kind)
        else:
            merged.append(one)
    return merged


def redact(text: str) -> Redaction:
    """`text` with everything personal replaced by its kind in brackets.

    Redacting again changes nothing. Of a text longer than LONGEST_TEXT, also one that redaction makes so, the end is
    dropped, which the text then says.
    """
    if len(text) <= LONGEST_TEXT and not _SUSPECT.search(text):
        return Redaction(text)
    counts: dict[str, int] = {}
    # Said so that it is no number to the patterns.
    told = f"\n... [{len(text):,} characters in all]"
    is_cut = len(text) > LONGEST_TEXT
    text = _settled(text[:LONGEST_TEXT], counts)
    while is_cut or len(text) > LONGEST_TEXT:
        # A number that the cut goes through is none to the patterns: the margin with it is dropped.
        kept = text[: max(0, min(len(text), LONGEST_TEXT) - _MARGIN)]
        text, is_cut = _settled(kept + told, counts), False
    return Redaction(text, counts)


def _settled(text: str, counts: dict[str, int]) -> str:
    """`text` in which nothing is found any more; what was taken out is added to `counts`."""
    # What stood on both sides of a find may be one once that is gone.
    for look in range(2 * _PASSES):
        found = find(text) or _merged(find_more(text))
        if not found:
            return text
        if look >= _PASSES:
            found = [Found(found[0].start, found[-1].end, found[0].kind)]
        text = _replaced(text, found, counts)
    return _replaced(text, [Found(0, len(text), found[0].kind)], counts)


def _merged(found: Iterable[Found]) -> list[Found]:
    merged: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if not merged or one.start >= merged[-1].end:
            merged.append(one)
    return merged


def _replaced(text: str, found: Sequence[Found], counts: dict[str, int]) -> str:
    parts, at = [], 0
    for one in found:
        parts += [text[at : one.start], f"[{one.kind}]"]
        counts[one.kind] = counts.get(one.kind, 0) + 1
        at = one.end
    return "".join([*parts, text[at:]])


def redact_text(text: str) -> str:
    """The redacted text alone."""
    return redact(text).text


def kinds() -> Sequence[str]:
    """The words that may stand in place of personal data."""
    return KINDS
