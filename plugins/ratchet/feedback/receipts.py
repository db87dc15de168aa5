"""What a person is told about their feedback: received, understood, used or not and why, and whether it helped. Pure.

A receipt has no number but the person's own: whether a problem went down is said in words, and only when enough
people are behind both sides, so that nobody can be made out. It quotes nothing that anybody wrote.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

#: Version of the words and of what they are made from; a receipt says which it was written with.
RECEIPTS_VERSION = 2
Trend = Literal["fell", "rose", "same", "unknown"]
Use = Literal["decided", "watched", "late", "unplaced"]
_FEWEST_DAYS = 5
_Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True)
class Contribution:
    """One answer: when it came, as what it was understood, and what it was used for.

    `decided`: it is among the sums that decided on `model_version`. `watched`: it counts in the daily watch over the
    model that served, `model_version`. `late`: it came after its window. `unplaced`: it is about no prediction that
    anybody was shown.
    """

    received_on: date
    channel: str
    category: str | None
    use: Use
    model_version: int | None = None
    decision: str | None = None
    may_train: bool | None = None
    trained_version: int | None = None


@dataclass(frozen=True)
class Day:
    """Answers of one day: what all count, what those of one category count, and from how many people these came.

    An answer counts by its weight (`ratchet.feedback.poisoning`), 1 where nobody suspects it; people are those whose
    answers count half or more.
    """

    answers: float
    named: float
    people: int


@dataclass(frozen=True)
class Receipt:
    """What is sent. `templates` names language and version of the words."""

    subject: str
    body: str
    templates: str


def trend(before: Sequence[Day], after: Sequence[Day], smallest_group: int) -> Trend:
    """Whether the share of a category among answers changed from one time to the next.

    Days are the clusters: the variance of each ratio is that of its linearised daily residuals (Cochran, Sampling
    Techniques, 3rd ed., 6.4). `unknown` when fewer than `smallest_group` people are behind either side, when either
    has too few days, or when nothing varies.
    """
    shares = []
    for days in (before, after):
        counted = [day for day in days if day.answers > 0]
        # People are counted by day; the busiest day is the number that is surely not too large.
        if max((day.people for day in counted), default=0) < smallest_group or len(counted) < _FEWEST_DAYS:
            return "unknown"
        answers = sum(day.answers for day in counted)
        share = sum(day.named for day in counted) / answers
        residuals = sum((day.named - share * day.answers) ** 2 for day in counted)
        shares.append((share, len(counted) / (len(counted) - 1) * residuals / answers**2))
    error = math.sqrt(shares[0][1] + shares[1][1])
    if error == 0.0:
        return "unknown"
    difference = shares[1][0] - shares[0][0]
    if abs(difference) <= _Z * error:
        return "same"
    return "fell" if difference < 0 else "rose"


@lru_cache(maxsize=8)
def _compiled(template: str) -> Template:
    """The words, compiled once for all whom they are for."""
    environment = ImmutableSandboxedEnvironment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template)


def message_id(loop: str, person: str, period_start: date) -> str:
    """The same for the same receipt, whoever sends it and when: by it a receiver knows a second copy."""
    digest = hashlib.sha256(f"receipt:{loop}:{person}:{period_start}".encode()).hexdigest()
    return f"<{digest[:32]}@ratchet>"


def write(
    template: str,
    language: str,
    *,
    goal: str,
    period: tuple[date, date],
    contributions: Sequence[Contribution],
    titles: Mapping[str, str],
    trends: Mapping[str, Trend],
    has_waited: bool = False,
) -> Receipt:
    """The receipt of one person, in the words of `template` (Jinja; its first line is the subject).

    Args:
        titles: what each category is called for people; one without a title is called "something else".
        trends: by category; a category that is left out is unknown.
        has_waited: whether trends compare the time since the period with it, or it with the time before.

    Raises:
        jinja2.TemplateError: the template is no template, or asks for something that there is not.
    """
    kinds: dict[tuple[str, Use, int | None, bool | None], int] = {}
    for one in contributions:
        key = (one.category or "", one.use, one.model_version, one.may_train)
        kinds[key] = kinds.get(key, 0) + 1
    lines = [
        {
            "count": count,
            "about": titles.get(category, "something else") if category else None,
            "use": use,
            "version": version,
            "may_train": may_train,
            "trend": trends.get(category, "unknown") if category else "unknown",
        }
        for (category, use, version, may_train), count in sorted(
            kinds.items(), key=lambda item: (item[0][0], item[0][1], item[0][2] or 0, str(item[0][3]))
        )
    ]
    said = _compiled(template).render(
        goal=goal, first=period[0].isoformat(), last=period[1].isoformat(), total=len(contributions), lines=lines,
        has_waited=has_waited,
        trained=sorted({c.trained_version for c in contributions if c.trained_version is not None}),
    )  # fmt: skip
    subject, _, body = said.strip().partition("\n")
    return Receipt(" ".join(subject.split()), body.strip() + "\n", f"{language}/{RECEIPTS_VERSION}")
