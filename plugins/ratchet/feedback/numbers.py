"""Addresses of the net, and numbers that name a person: cards, accounts, telephones, passports, bookings.

Patterns of four languages (en, de, fr, es). Every quantifier is bounded, or anchored by a class of its own, so that a
hostile text costs time in proportion to its length.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """Personal data of `kind` at text[start:end]."""

    start: int
    end: int
    kind: str


_FLAGS = re.IGNORECASE
EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}\s?@\s?(?:[\w-]{1,63}\.){1,5}[a-z]{2,24}", _FLAGS)
_SPELT = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}(?:\s?[(\[{]\s?(?:at|ät|arroba)\s?[)\]}]\s?[\w-]{1,63}"
    r"(?:\s?[(\[{]\s?(?:dot|punkt|point|punto)\s?[)\]}]\s?|\.)[a-z]{2,24}"
    r"|\s(?:at|ät|arroba|arobase)\s[\w-]{1,63}\s(?:dot|punkt|point|punto)\s[a-z]{2,24})\b",
    _FLAGS,
)
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"']{1,2000}", _FLAGS)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", _FLAGS)
_IBAN = re.compile(r"\b[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,3})?\b", _FLAGS)
_CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
_DOCUMENT = re.compile(
    r"\b(?:passport|passeport|pasaporte|reisepass(?:nummer)?|(?:personal)?ausweis(?:nummer)?|carte d['’]identité|cni"
    r"|dni|nie|nif|(?:id|identity) card|(?:id|identity) (?:number|no)|ssn|social security|driver['’]?s? licen[cs]e"
    r"|führerschein(?:nummer)?|permis de conduire|carn[eé] de conducir|documento de identidad)\b"
    r"[^0-9\n]{0,24}?\b(?=[a-z0-9-]{0,14}\d)[a-z0-9][a-z0-9-]{4,14}\b",
    _FLAGS,
)
_FILLER = (
    r"(?:\s{1,3}(?:number|code|reference|ref|no|is|was|id|nummer|nr|lautet|ist|war|numéro|est|était|número|es|era|de"
    r"|del|du|vol|vuelo|mi|my|meine|ma)\b\.?){0,5}\s{0,3}[:#=°º]{0,2}\s{0,3}"
)
_BOOKING = re.compile(
    r"\b(?:booking|reservation|confirmation|record locator|locator|pnr|e-?ticket|ticket|frequent flyer|loyalty"
    r"|buchung(?:s(?:nummer|code|referenz|nr))?|reservierung(?:s(?:nummer|code))?|ticketnummer|vielfliegernummer"
    r"|réservation|reservation|dossier|billet|référence|reserva|localizador|billete|referencia)\b"
    + _FILLER
    + r"(?:\b(?=[a-z0-9-]{0,15}\d)[a-z0-9-]{5,16}\b|\b(?-i:[A-Z]{6})\b)",
    _FLAGS,
)
_PHONE = re.compile(
    r"(?<![\w.])(?!\d{4}-\d{2}-\d{2}(?!\d)|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}(?!\d))"
    r"(?:(?:\+|00)\d{1,3}[ ./-]{0,2})?\(?\d{1,4}\)?(?:[ ./-]{0,2}\(?\d{2,5}\)?){2,6}(?!\w)"
)
_BARE_DOCUMENT = re.compile(
    r"\b(?:[A-Z]{1,2}\d{6,9}|\d{9}|\d{3}-\d{2}-\d{4}|\d{8}-?[A-Z]|[XYZ]-?\d{7}-?[A-Z]|\d{2}[A-Z]{2}\d{5}"
    r"|(?=[A-Z]{0,8}\d)(?=\d{0,8}[A-Z])[CFGHJKLMNPRTVWXYZ0-9]{9})\b"
)
# A flight number names a flight, not a person: six characters of a carrier and four digits stay.
_BARE_BOOKING = re.compile(
    r"\b(?!(?:9E|AA|AS|B6|DL|EV|F9|FL|HA|MQ|OO|UA|US|VX|WN|YV|LH|AF|IB|BA|KL|VY|FR|U2|LX|OS|NK)\d{4}\b)"
    r"(?=[A-Z]{0,5}\d)(?=\d{0,5}[A-Z])[A-Z0-9]{6}\b"
)
_DIGIT = re.compile(r"\d")
_CUED = re.compile(
    r"booking|reserv|réserv|confirmation|locator|pnr|ticket|flyer|loyalty|buchung|nummer|dossier|billet|r[eé]f[eé]ren"
    r"|localizador|referencia|passp|passep|pasap|reisepass|ausweis|identi|\b(?:cni|dni|nie|nif|ssn)\b|social sec"
    r"|licen|führersch|permis|carn|documento",
    _FLAGS,
)
_MIN_PHONE_DIGITS = 7
_IBAN_CUE = 24


def luhn(digits: str) -> bool:
    """Whether the digits end in their own check digit (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban(text: str) -> bool:
    """Whether the text without blanks passes ISO 13616's check: its number modulo 97 is 1."""
    plain = re.sub(r"[ -]", "", text).upper()
    if not 15 <= len(plain) <= 34 or not plain.isascii() or not plain.isalnum():
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())


def _ibans(text: str) -> Iterator[Found]:
    for match in _IBAN.finditer(text):
        said = match.group()
        ends = [i for i in range(len(said), 14, -1) if i == len(said) or said[i] in " -"]
        end = next((i for i in ends if iban(said[:i])), None)
        if end is None and "iban" in text[max(0, match.start() - _IBAN_CUE) : match.start()].lower():
            end = len(said)
        if end is not None:
            yield Found(match.start(), match.start() + end, "IBAN")


def _ips(text: str) -> Iterator[Found]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            said = match.group()
            try:
                ipaddress.ip_address(said)
            except ValueError:
                continue
            if len(said) > 4:
                yield Found(match.start(), match.end(), "IP")


def _long_numbers(text: str) -> Iterator[Found]:
    for match in _CARD.finditer(text):
        before = text[max(0, match.start() - 1) : match.start()]
        if before == "+" or match.group().startswith("00"):
            kind = "PHONE"
        else:
            kind = "CARD" if luhn(_digits(match.group())) else "NUMBER"
        yield Found(match.start() - (before == "+"), match.end(), kind)


def find_numbers(text: str) -> Iterator[Found]:
    """What the patterns find, overlapping in part; the first kind named is the surer one."""
    if "@" in text:
        for match in EMAIL.finditer(text):
            yield Found(match.start(), match.end(), "EMAIL")
    lowered = text.lower()
    if "at" in lowered or "ät" in lowered or "arob" in lowered or "arrob" in lowered:
        for match in _SPELT.finditer(text):
            yield Found(match.start(), match.end(), "EMAIL")
    if "://" in text or "www." in lowered:
        for match in _URL.finditer(text):
            yield Found(match.start(), match.start() + len(match.group().rstrip(".,;:!?)")), "URL")
    has_digit = _DIGIT.search(text) is not None
    if has_digit or ":" in text:
        yield from _ips(text)
    if has_digit:
        yield from _ibans(text)
        yield from _long_numbers(text)
    if _CUED.search(text):
        for kind, pattern in (("DOCUMENT", _DOCUMENT), ("BOOKING", _BOOKING)):
            for match in pattern.finditer(text):
                yield Found(match.start(), match.end(), kind)
    if has_digit:
        for match in _BARE_DOCUMENT.finditer(text):
            yield Found(match.start(), match.end(), "DOCUMENT")
        for match in _PHONE.finditer(text):
            if len(_digits(match.group())) >= _MIN_PHONE_DIGITS:
                yield Found(match.start(), match.end(), "PHONE")
        for match in _BARE_BOOKING.finditer(text):
            yield Found(match.start(), match.end(), "BOOKING")
