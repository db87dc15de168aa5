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
REDACTION_VERSION = 2
#: Characters of one text that are read; what lies beyond is not kept.
LONGEST_TEXT = 30_000
#: Where two finds overlap, the earlier kind here names what was taken out.
KINDS = ("EMAIL", "URL", "IBAN", "CARD", "IP", "DOCUMENT", "BOOKING", "ADDRESS", "NUMBER", "PHONE", "NAME")
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}
#: A text without any of it holds nothing that would be taken out. Read alike by Python and by RE2.
SUSPECT = r"[@0-9:(\[{\x00-\x20]|(?i:www)\.|[^\x00-\x7f]"
_SUSPECT = re.compile(SUSPECT)
_MARGIN = 200
_PASSES = 5


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

    Redacting again changes nothing. Of a text longer than LONGEST_TEXT the end is dropped, which the text then says.
    """
    if len(text) <= LONGEST_TEXT and not _SUSPECT.search(text):
        return Redaction(text)
    cut = ""
    if len(text) > LONGEST_TEXT:
        # A number that the cut goes through is none to the patterns: the margin with it is dropped.
        cut = f" ... [{len(text)} characters in all]"
        text = text[:LONGEST_TEXT]
    counts: dict[str, int] = {}
    # What stood on both sides of a find may be one once that is gone.
    for _ in range(_PASSES):
        found = find(text) or _merged(find_more(text))
        if not found:
            break
        text = _replaced(text, found, counts)
    if cut:
        text = text[:-_MARGIN] + cut
    return Redaction(text, counts)


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
