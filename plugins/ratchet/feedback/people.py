"""Names of people and postal addresses, as far as cues, forms and a list of common names show them.

Nobody here understands a sentence: a rare name without a cue stays. docs/feedback.md says how much is found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from ratchet.feedback.lexicon_names import GIVEN, NOT_SURNAMES, SURNAMES, WORDS_TOO
from ratchet.feedback.numbers import Found

_UPPER = "A-ZÀ-ÖØ-Þ"
_WORD = rf"(?-i:[{_UPPER}])[\w'’-]{{1,30}}"
_BETWEEN = r"(?:(?:de|del|la|von|van|der|den|du|da|di|le)\s){0,2}"
_NAME = rf"{_WORD}(?:\s{_BETWEEN}(?:(?-i:[{_UPPER}])\.\s)?{_WORD}){{0,3}}"
_FLAGS = re.IGNORECASE

_STRONG = re.compile(
    r"\b(?:my (?:full )?name(?:['’]s| is| was)|name\s?[:=]|i am called|ich hei(?:ß|ss)e|mein name(?: ist|\s?[:=])"
    r"|je m['’]appelle|mon nom est|nom\s?[:=]|me llamo|mi nombre es|nombre\s?[:=]|signed(?: by)?\s?:?|unterschrift\s?:)"
    rf"\s{{1,3}}(?P<name>{_NAME}|[a-zà-öø-ÿ'’-]{{2,30}}(?:\s[a-zà-öø-ÿ'’-]{{2,30}})?)",
    _FLAGS,
)
_WEAK = re.compile(
    r"\b(?:this is|i am|i['’]m|ich bin|hier (?:ist|spricht)|je suis|ici|soy|habla|passengers?|traveller|passagiere?"
    r"|passag[eè]re?|pasajer[oa]|agent|agente|mitarbeiter(?:in)?|colleague|wife|husband|son|daughter|frau"
    r"|mann|femme|mari|mujer|marido)"
    rf",?\s(?P<name>{_NAME})",
    _FLAGS,
)
_TITLE = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Herrn?|Frau|Monsieur|Madame|Mme|Mlle|M\.|Señora?|Señorita|Sra?\.|Srta\.|Don|Doña"
    r"|señora?|señorita|monsieur|madame|herrn?"
    rf"|MR|MRS|MS|HERR|FRAU)\.?\s(?:(?:Dr|Prof)\.?\s)?(?P<name>{_NAME})"
)
_SIGNED = re.compile(
    r"\b(?:regards|best wishes|best|sincerely|yours truly|yours|cheers|thanks|thank you|many thanks"
    r"|gr(?:ü|ue)(?:ß|ss)en?|gru(?:ß|ss)|mfg|vg|lg|danke|cordialement|salutations|à vous|merci|saludos?|atentamente"
    r"|gracias|abrazo)"
    rf"(?:\s{{0,3}}[,.!]\s{{0,3}}|\s{{0,2}}\n\s{{0,3}}|\s?[-–—]\s?)(?P<name>{_NAME})\s{{0,4}}[.!]?\s{{0,4}}(?=$|\n)",
    _FLAGS,
)
_GREETED = re.compile(
    r"\b(?:dear|hi|hello|hallo|lieber?|sehr geehrter?|bonjour|salut|ch[eè]re?|hola|querid[oa]|estimad[oa])"
    rf"\s(?P<name>{_NAME})",
    _FLAGS,
)
_CUES = re.compile(
    r"\b(?:mr|mrs|ms|miss|mx|dr|prof|herrn?|monsieur|madame|mme|mlle|señor|sra?|srta|don|doña)\b|\bm\."
    r"|name|called|hei(?:ß|ss)e|appelle|nom|llamo|nombre|sign|unterschrift|\b(?:this is|i am|i['’]m|ich bin|hier"
    r"|je suis|ici|soy|habla)|pass|pasaj|travel|agent|mitarb|colleague|wife|husband|son"
    r"|daughter|frau|mann|femme|mari"
    r"|mujer|regards|best|sincer|yours|cheers|thank|gr(?:ü|u|ue)(?:ß|ss)|mfg|\b[vl]g\b|danke|cordial|salut|à vous|merci"
    r"|salud|atent|gracias|abrazo|dear|\bhi\b|hello|hallo|lieb|geehrt|bonjour|ch[eè]r|hola|querid|estimad",
    _FLAGS,
)
_PAIR = re.compile(
    rf"\b[{_UPPER}][\w'’-]{{1,30}}(?:\s(?:de|del|la|von|van|der|den|du|da|di|le)){{0,2}}"
    rf"(?:\s[{_UPPER}]\.)?\s[{_UPPER}][\w'’-]{{1,30}}(?:\s[{_UPPER}][\w'’-]{{1,30}})?"
)
_LOWER_PAIR = re.compile(r"\b[a-zà-öø-ÿ]{2,20}(?=\s([a-zà-öø-ÿ]{2,20})\b)")

_CITY = r"(?:\s(?-i:[A-ZÀ-ÖØ-Þ])[\w'’-]{1,30}){1,3}"
_ADDRESSES = (
    re.compile(
        r"\b\d{1,5}[a-z]?\s(?:[nsew]\.?\s|north\s|south\s|east\s|west\s)?(?:[\w'’.-]{2,20}\s){1,3}"
        r"(?:street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|way|terrace|square|sq|parkway|pkwy)\b\.?"
        r"(?:,?\s(?:apt|apartment|suite|unit|#)\.?\s?[\w-]{1,6})?"
        rf"(?:,{_CITY})?(?:,?\s(?-i:[A-Z]{{2}})\b)?(?:,?\s\d{{5}}(?:-\d{{4}})?\b|,?\s(?-i:[A-Z]{{1,2}}\d[A-Z0-9]?\s?\d[A-Z]{{2}})\b)?",
        _FLAGS,
    ),
    re.compile(
        r"\b(?:(?-i:[A-ZÄÖÜ])[\wäöüß-]{1,30}(?:\s|-))?(?-i:[A-ZÄÖÜ])?[\wäöüß-]{0,30}"
        r"(?:stra(?:ß|ss)e|str\.|weg|platz|allee|gasse|ring|damm|ufer|chaussee)\s\d{1,4}\s?[a-z]?\b"
        rf"(?:,?\s(?:d-)?\d{{5}}{_CITY})?",
        _FLAGS,
    ),
    re.compile(
        r"\b(?:\d{1,4}\s?(?:bis|ter)?,?\s)(?:rue|avenue|av\.|boulevard|bd|place|chemin|allée|impasse|quai|cours|route)\s"
        rf"(?:(?:de la|de l['’]|des|du|de|le|la|d['’])\s?)?[\w'’.-]{{2,30}}(?:\s(?-i:[A-ZÀ-Þ])[\w'’.-]{{1,30}}){{0,3}}"
        rf"(?:,?\s\d{{5}}{_CITY})?",
        _FLAGS,
    ),
    re.compile(
        r"(?<!\w)(?:calle|c/|avenida|avda\.?|plaza|paseo|camino|carrer|ronda|travesía)\s?"
        r"(?:(?:de la|de los|de las|del|de|la|las|los|el)\s)?(?:[\w'’.-]{2,30}\s){0,3}?[\w'’.-]{2,30},?\s"
        r"(?:n[º°]\s?|núm\.?\s|número\s)?\d{1,4}\b"
        rf"(?:,?\s\d{{1,2}}\s?[ºª°]\s?\w{{0,3}})?(?:,?\s\d{{5}}{_CITY})?",
        _FLAGS,
    ),
)
_ADDRESS_CUE = re.compile(
    r"stra(?:ß|ss)e|str\.|weg|platz|allee|gasse|ring|damm|ufer|chaussee|street|\bst\b|\bave|\broad|\brd\b|boulevard|blvd"
    r"|lane|\bln\b|drive|\bdr\b|court|\bct\b|\bway\b|terrace|square|\bsq\b|parkway|pkwy|\brue\b|\bav|\bbd\b|place"
    r"|chemin|allée|impasse|quai|cours|route|calle|\bc/|plaza|paseo|camino|carrer|ronda|traves",
    _FLAGS,
)


def folded(word: str) -> str:
    """The word in lower case without accents: as the lists have it."""
    if word.isascii():
        return word.lower()
    plain = unicodedata.normalize("NFKD", word.lower().replace("ß", "ss"))
    return "".join(c for c in plain if not unicodedata.combining(c))


def _is_name(words: list[str]) -> bool:
    first, last = folded(words[0]), folded(words[-1])
    if last in NOT_SURNAMES or first in NOT_SURNAMES:
        return False
    return any(folded(part) in GIVEN for part in words[0].split("-")) or last in SURNAMES


def _pairs(text: str) -> Iterator[Found]:
    at = 0
    while (match := _PAIR.search(text, at)) is not None:
        said = match.group()
        words = said.split()
        # The third word may belong to the sentence, the first one begin it.
        for take in (words, words[:-1] if len(words) > 2 else []):
            if len(take) >= 2 and _is_name(take):
                length = len(said) if take is words else len(said) - len(words[-1]) - 1
                yield Found(match.start(), match.start() + length, "NAME")
                at = match.start() + length
                break
        else:
            at = match.start() + len(words[0])
    for match in _LOWER_PAIR.finditer(text):
        first, second = match.group(), match.group(1)
        if first in WORDS_TOO or second in WORDS_TOO:
            continue
        if folded(first) in GIVEN and folded(second) in SURNAMES:
            yield Found(match.start(), match.end(1), "NAME")


def _cued(text: str) -> Iterator[Found]:
    for pattern in (_STRONG, _TITLE, _SIGNED):
        for match in pattern.finditer(text):
            words = match["name"].split()
            if folded(words[0]) not in NOT_SURNAMES:
                yield Found(match.start("name"), match.end("name"), "NAME")
    for pattern in (_WEAK, _GREETED):
        for match in pattern.finditer(text):
            words = match["name"].split()
            if folded(words[0]) in GIVEN or (len(words) > 1 and _is_name(words[:2])):
                end = match.end("name") if len(words) <= 2 else match.start("name") + len(" ".join(words[:2]))
                yield Found(match.start("name"), end, "NAME")


def find_people(text: str) -> Iterator[Found]:
    """Names and postal addresses, overlapping in part."""
    if any(c.isdigit() for c in text) and _ADDRESS_CUE.search(text):
        for pattern in _ADDRESSES:
            for match in pattern.finditer(text):
                yield Found(match.start(), match.end(), "ADDRESS")
    yield from _pairs(text)
    if _CUES.search(text):
        yield from _cued(text)
