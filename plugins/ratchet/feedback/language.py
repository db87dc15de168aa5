"""Which language a text is in, or that it can't be told."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

#: A closed list: a short text has features of languages that no traveller of ours writes.
CANDIDATES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "tr", "ru", "zh", "ja", "ar")
UNKNOWN = "unknown"
MIN_CONFIDENCE = 0.5
MIN_LETTERS = 6
_PLACEHOLDER = re.compile(r"\[[A-Z]{2,10}\]")


@cache
def _identifier() -> Any:
    from py3langid.langid import LanguageIdentifier

    found = LanguageIdentifier.from_model_file("data/model.npz.xz", norm_probs=True)
    found.set_languages(CANDIDATES)
    return found


def without_placeholders(text: str) -> str:
    """The text without what redaction put into it."""
    return _PLACEHOLDER.sub(" ", text) if "[" in text else text


def language_of(text: str) -> tuple[str, float]:
    """The language's ISO 639-1 code and the confidence in it; `unknown` for a text too short or unlike any.

    py3langid's naive Bayes over byte n-grams (Lui and Baldwin 2012, langid.py), which comes with its model.
    """
    said = without_placeholders(text)[:2_000]
    if sum(map(str.isalpha, said)) < MIN_LETTERS:
        return UNKNOWN, 0.0
    name, confidence = _identifier().classify(said)
    return (str(name), float(confidence)) if confidence >= MIN_CONFIDENCE else (UNKNOWN, float(confidence))
