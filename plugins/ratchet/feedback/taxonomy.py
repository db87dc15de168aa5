"""Labelling functions made of the loop file's phrases: each looks at a text and votes for a category, or abstains."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ratchet.feedback.people import folded
from ratchet.loop_feedback import Taxonomy

ABSTAIN = -1
LONGEST = 4_000
_LANGUAGES = ("en", "de", "fr", "es")
_BLANK = re.compile(r"[^\w]+")


@dataclass(frozen=True)
class Spoken:
    """A redacted text with what came beside it; `said` is the category that the person chose, if any."""

    text: str
    language: str
    sentiment: float | None = None
    rating: int | None = None
    said: str | None = None


def _pattern(phrases: Sequence[str]) -> re.Pattern[str] | None:
    if not phrases:
        return None
    parts = []
    for phrase in sorted({plain(p.replace("*", " \x02 ")) for p in phrases}, key=lambda p: (-len(p), p)):
        # At most five words between: a bounded gap keeps every search linear in the text.
        parts.append(re.escape(phrase).replace("\\ \x02\\ ", r" (?:\w{1,40} ){0,5}?").replace(r"\ ", " "))
    return re.compile(r"(?<!\w)(?:" + "|".join(parts) + ")")


def plain(text: str) -> str:
    """Lower case without accents and punctuation, words apart by one blank."""
    return _BLANK.sub(lambda m: " \x02 " if "\x02" in m.group() else " ", folded(text[:LONGEST])).strip(" ")


class Labellers:
    """The labelling functions of a taxonomy: phrases and hints in each language, the rating, the person's own word."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.categories = tuple(taxonomy.categories)
        self._phrases: list[tuple[str, list[re.Pattern[str] | None]]] = []
        names = []
        for strength in ("keywords", "hints"):
            for language in _LANGUAGES:
                patterns = [
                    _pattern(getattr(category, strength).get(language, ()))
                    for category in taxonomy.categories.values()
                ]
                if any(patterns):
                    self._phrases.append((language, patterns))
                    names.append(f"{strength}:{language}")
        self.names = (*names, "said", "rating")

    def votes(self, spoken: Spoken) -> list[int]:
        """One vote a function, in the order of `names`: a category's position, or ABSTAIN.

        A text whose language is unknown is looked at by the functions of all languages.
        """
        text = plain(spoken.text)
        found = []
        for language, patterns in self._phrases:
            if spoken.language in _LANGUAGES and spoken.language != language:
                found.append(ABSTAIN)
                continue
            hits = [len(p.findall(text)) if p is not None else 0 for p in patterns]
            most = max(hits)
            found.append(hits.index(most) if most and hits.count(most) == 1 else ABSTAIN)
        found.append(self.categories.index(spoken.said) if spoken.said in self.categories else ABSTAIN)
        content = spoken.rating is not None and spoken.rating >= 4
        found.append(self.categories.index("praise") if content and "praise" in self.categories else ABSTAIN)
        return found

    def table(self, spoken: Sequence[Spoken]) -> np.ndarray:
        """The votes of many texts, one row a text."""
        return np.array([self.votes(one) for one in spoken], dtype=np.int64).reshape(-1, len(self.names))
