"""A second opinion on what the patterns left: Presidio's recognisers, on short pieces of text, without a network.

Only recognisers that need no language model are used. Each sees at most WINDOW characters about a suspicious word, so
that none of their patterns can be made slow. Presidio is imported when the first such word turns up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from ratchet.feedback.numbers import Found

WINDOW = 160
MOST_WINDOWS = 200
_SUSPICIOUS = re.compile(r"[^\s@]{1,64}@[^\s@]{1,64}|(?:\d[ ./:-]{0,2}){5,20}")
_MIN_SCORE = 0.4
_KINDS = {
    "EMAIL_ADDRESS": "EMAIL",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP",
    "PHONE_NUMBER": "PHONE",
    "US_SSN": "DOCUMENT",
    "ES_NIF": "DOCUMENT",
    "ES_NIE": "DOCUMENT",
    "UK_NINO": "DOCUMENT",
}
_REGIONS = ("US", "DE", "FR", "ES", "GB")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{1,2}:\d{2}")


@cache
def _recognisers() -> tuple[Any, ...]:
    import tldextract
    from presidio_analyzer import predefined_recognizers as known

    # Without addresses of the suffix list it reads the copy that came with it, and asks nobody.
    domains = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class OfflineEmail(known.EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return bool(domains(pattern_text).fqdn)

    return (
        OfflineEmail(),
        known.CreditCardRecognizer(),
        known.IbanRecognizer(),
        known.IpRecognizer(),
        known.UsSsnRecognizer(),
        known.EsNifRecognizer(),
        known.EsNieRecognizer(),
        known.UkNinoRecognizer(),
        known.PhoneRecognizer(supported_regions=_REGIONS),
    )


def find_more(text: str) -> Iterator[Found]:
    """What Presidio recognises about suspicious words; after MOST_WINDOWS of them, each further one is a NUMBER."""
    for seen, match in enumerate(_SUSPICIOUS.finditer(text)):
        said = match.group()
        if _DATE.fullmatch(said.strip(" ./:-")):
            continue
        if seen >= MOST_WINDOWS:
            yield Found(match.start(), match.end(), "NUMBER")
            continue
        margin = (WINDOW - len(said)) // 2
        start = max(0, match.start() - margin)
        piece = text[start : match.end() + margin]
        for recogniser in _recognisers():
            for result in recogniser.analyze(piece, recogniser.supported_entities, None):
                if result.score >= _MIN_SCORE and result.entity_type in _KINDS:
                    yield Found(start + result.start, start + result.end, _KINDS[result.entity_type])
