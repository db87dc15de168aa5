"""How content a text sounds, from -1 to 1, or None where nobody can tell.

English by VADER (Hutto and Gilbert 2014). German, French and Spanish by a short list of words with negation: it hears
plain praise and plain complaint, and says None to everything else.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ratchet.feedback.language import without_placeholders
from ratchet.feedback.people import folded

LEXICON_VERSION = 1
LONGEST = 2_000
_WORD = re.compile(r"[^\W\d_]+")

_POSITIVE = {
    "de": "gut super toll danke prima puenktlich hilfreich zufrieden perfekt angenehm freundlich klasse schnell genau"
    " empfehlenswert wunderbar hervorragend praktisch pünktlich",
    "fr": "bien super merci parfait ponctuel utile content contente satisfait agreable excellent rapide genial pratique"
    " clair ravi impeccable bravo",
    "es": "bien bueno buena genial gracias perfecto perfecta puntual util contento contenta satisfecho excelente rapido"
    " agradable encanta fantastico practico",
}
_NEGATIVE = {
    "de": "schlecht spät spaet falsch verpasst aerger ärger ärgerlich enttäuscht absturz abgestürzt teuer nutzlos"
    " umsonst verspätung verspätet katastrophe unverschämt fehler lange kaputt leer frechheit sinnlos wütend nie",
    "fr": "mauvais mauvaise tard retard faux fausse rate ratee decu decue nul cher chere inutile plante erreur honte"
    " catastrophe panne jamais colere attente vide lent honteux",
    "es": "malo mala tarde retraso falso falsa perdi perdido decepcionado decepcionada inutil caro cara error fallo"
    " verguenza nunca espera desastre vacio enfadado horrible lento pesimo",
}
_NEGATORS = {
    "de": "nicht kein keine keinen ohne nie",
    "fr": "pas sans aucun aucune jamais",
    "es": "no sin nunca ningun ninguna",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(folded(word) for word in text.split())


_LISTS = {
    language: (_words(_POSITIVE[language]), _words(_NEGATIVE[language]), _words(_NEGATORS[language]))
    for language in _POSITIVE
}


@cache
def _vader() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def sentiment_of(text: str, language: str) -> float | None:
    """-1 (bitter) to 1 (delighted), rounded to three decimals; None when the language or the words are unknown."""
    said = without_placeholders(text)[:LONGEST]
    if language == "en":
        return round(float(_vader().polarity_scores(said)["compound"]), 3)
    if language not in _LISTS:
        return None
    good, bad, negators = _LISTS[language]
    score, hits, flipped = 0, 0, 0
    for match in _WORD.finditer(said):
        word = folded(match.group())
        value = (word in good) - (word in bad)
        if value:
            score += -value if flipped else value
            hits += 1
        flipped = 3 if word in negators else max(0, flipped - 1)
    return round(score / (hits + 1), 3) if hits else None
