"""Simulated feedback with its truth: where personal data stands (four languages), and what a complaint is about.

Names are half common, half rare ones that no list of ours has; half stand beside a cue, half do not. Numbers are made
by their own rules, check digits included. Who wrote the recognisers wrote this too: real texts are harder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ratchet.feedback.numbers import iban, luhn

LANGUAGES = ("en", "de", "fr", "es")


@dataclass(frozen=True)
class Truth:
    """A text, its language, and the personal pieces in it: (start, end, kind)."""

    text: str
    language: str
    spans: tuple[tuple[int, int, str], ...]


_COMMON = {
    "en": ("John Smith", "Emily Johnson", "Michael Brown", "Sarah Taylor", "David Wilson", "Laura Evans"),
    "de": ("Anna Schmidt", "Jürgen Müller", "Sabine Fischer", "Thomas Weber", "Katrin Becker", "Uwe Schäfer"),
    "fr": (
        "Élodie Dubois",
        "Pierre Martin",
        "Céline Moreau",
        "Jean-Luc Petit",
        "Nathalie Roux",
        "Hugo Girard",
    ),
    "es": ("José García", "María López", "Carmen Ruiz", "Javier Moreno", "Lucía Navarro", "Pablo Ortega"),
}
_RARE = {
    "en": ("Thaddeus Okonkwo", "Priya Raghunathan", "Wren Halloway", "Xiu Ying Zhang", "Odalys Petrosyan"),
    "de": ("Ludmila Öztürk", "Gisbert Krzykowski", "Hedwiga Lütkemeier", "Bao Nguyenova", "Tjark Hinnerksen"),
    "fr": ("Oumou Diabaté", "Gwénola Le Floc'h", "Aurèle Nkoghe", "Maïwenn Kerdraon", "Thibert Vandeputte"),
    "es": ("Xochitl Quetzal", "Eneko Etxeberria", "Nerea Goikoetxea", "Itziar Zubizarreta", "Yolotzin Canul"),
}
_CUED = {
    "en": ("My name is {x} and I waited two hours.", "Late again.\nRegards,\n{x}", "Mr {x} at the gate knew nothing."),
    "de": ("Ich heiße {x} und warte seit zwei Stunden.", "Wieder zu spät.\nMit freundlichen Grüßen\n{x}",
           "Herr {x} am Schalter wusste nichts."),
    "fr": ("Je m'appelle {x} et j'attends depuis deux heures.", "Encore en retard.\nCordialement,\n{x}",
           "Madame {x} au guichet ne savait rien."),
    "es": ("Me llamo {x} y llevo dos horas esperando.", "Otra vez tarde.\nSaludos,\n{x}",
           "El señor {x} no sabía nada. Señora {x} tampoco."),
}  # fmt: skip
_PLAIN = {
    "en": ("Yesterday {x} missed the connection.", "Please refund {x} as well."),
    "de": ("Gestern hat {x} den Anschluss verpasst.", "Bitte erstatten Sie auch {x} den Preis."),
    "fr": ("Hier {x} a raté la correspondance.", "Merci de rembourser aussi {x}."),
    "es": ("Ayer {x} perdió la conexión.", "Por favor, devuelvan también a {x} el dinero."),
}
_AROUND = {
    "EMAIL": {"en": "Write to {x} please.", "de": "Schreiben Sie an {x} bitte.", "fr": "Écrivez à {x} svp.",
              "es": "Escriban a {x} por favor."},
    "PHONE": {"en": "Call me on {x} today.", "de": "Rufen Sie {x} an.", "fr": "Appelez le {x} ce soir.",
              "es": "Llámenme al {x} hoy."},
    "CARD": {"en": "You charged {x} twice.", "de": "Die Karte {x} wurde belastet.", "fr": "Ma carte {x} est débitée.",
             "es": "Mi tarjeta {x} fue cobrada."},
    "IBAN": {"en": "Refund to {x} now.", "de": "Erstattung auf {x} bitte.", "fr": "Virement sur {x}.",
             "es": "Ingreso en {x} por favor."},
    "IP": {"en": "The app fails from {x} only.", "de": "Die App versagt von {x} aus.", "fr": "L'appli bloque de {x}.",
           "es": "La app falla desde {x} siempre."},
    "URL": {"en": "See {x} for the photo.", "de": "Foto unter {x} zu sehen.", "fr": "Photo sur {x} ici.",
            "es": "Foto en {x} aquí."},
    "BOOKING": {"en": "My booking reference is {x}.", "de": "Meine Buchungsnummer ist {x}.",
                "fr": "Mon numéro de dossier est {x}.", "es": "Mi localizador es {x}."},
    "DOCUMENT": {"en": "My passport number is {x}.", "de": "Meine Reisepassnummer ist {x}.",
                 "fr": "Mon passeport est le {x}.", "es": "Mi pasaporte es {x}."},
    "ADDRESS": {"en": "I live at {x} since May.", "de": "Ich wohne {x} seit Mai.", "fr": "J'habite {x} depuis mai.",
                "es": "Vivo en {x} desde mayo."},
}  # fmt: skip
CLEAN = {
    "en": ("On time, it said. It was not, 95 minutes late.", "Gate B22 at 17:30, then B40. UA1234 left at 19:05.",
           "Paid 450 dollars on 2013-05-14 for nothing.", "Delta Airlines to San Francisco was fine."),
    "de": ("Pünktlich hieß es, dann 95 Minuten zu spät.", "Gate B22 um 17:30, dann B40. LH1234 ging um 19:05.",
           "Am 14.05.2013 habe ich 450 Euro umsonst bezahlt.", "Die Warnung kam viel zu spät."),
    "fr": ("À l'heure, disait-elle. 95 minutes de retard.", "Porte B22 à 17:30, puis B40. AF1234 est parti à 19:05.",
           "J'ai payé 450 euros le 14/05/2013 pour rien.", "L'alerte est venue trop tard."),
    "es": ("Puntual, decía. 95 minutos de retraso.", "Puerta B22 a las 17:30, luego B40. IB1234 salió a las 19:05.",
           "Pagué 450 euros el 14/05/2013 para nada.", "El aviso llegó demasiado tarde."),
}  # fmt: skip


def _some(rng: np.random.Generator, alphabet: str, length: int) -> str:
    return "".join(alphabet[i] for i in rng.integers(0, len(alphabet), length))


def _card(rng: np.random.Generator, _: str) -> str:
    base = "4" + _some(rng, "0123456789", 14)
    digits = next(base + str(c) for c in range(10) if luhn(base + str(c)))
    return " ".join(digits[i : i + 4] for i in range(0, 16, 4)) if rng.random() < 0.6 else digits


def _iban(rng: np.random.Generator, language: str) -> str:
    country, length = {"en": ("GB", 18), "de": ("DE", 18), "fr": ("FR", 23), "es": ("ES", 20)}[language]
    rest = ("WEST" if language == "en" else "") + _some(rng, "0123456789", length - 4 * (language == "en"))
    found = next(
        f"{country}{check:02d}{rest}" for check in range(2, 99) if iban(f"{country}{check:02d}{rest}")
    )
    return " ".join(found[i : i + 4] for i in range(0, len(found), 4)) if rng.random() < 0.6 else found


def _phone(rng: np.random.Generator, language: str) -> str:
    d = lambda n: _some(rng, "0123456789", n)  # noqa: E731
    forms = {
        "en": (f"+1 212-555-{d(4)}", f"(917) 555-{d(4)}", f"212.555.{d(4)}", f"+44 20 7946 {d(4)}"),
        "de": (f"+49 151 {d(8)}", f"030 {d(7)}", f"0151/{d(8)}", f"089 {d(3)} {d(4)}"),
        "fr": (
            f"06 {d(2)} {d(2)} {d(2)} {d(2)}",
            f"+33 6 {d(2)} {d(2)} {d(2)} {d(2)}",
            f"01.{d(2)}.{d(2)}.{d(2)}.{d(2)}",
        ),
        "es": (f"+34 6{d(2)} {d(3)} {d(3)}", f"6{d(2)} {d(2)} {d(2)} {d(2)}", f"91 {d(3)} {d(2)} {d(2)}"),
    }[language]
    return forms[int(rng.integers(len(forms)))]


def _email(rng: np.random.Generator, _: str) -> str:
    user, host = _some(rng, "abcdefghij", 6), _some(rng, "klmnopq", 5)
    forms = (
        f"{user}@{host}.example.com",
        f"{user}.x+trip@{host}.org",
        f"{user.upper()}@{host}.de",
        f"{user} (at) {host} (dot) com",
    )
    return forms[int(rng.integers(len(forms)))]


def _document(rng: np.random.Generator, language: str) -> str:
    d = lambda n: _some(rng, "0123456789", n)  # noqa: E731
    return {
        "en": f"{_some(rng, 'ABCXYZ', 1)}{d(8)}",
        "de": f"C{_some(rng, '01FGHJK', 4)}{d(4)}",
        "fr": f"{d(2)}{_some(rng, 'ABCD', 2)}{d(5)}",
        "es": f"{_some(rng, 'ABCP', 3)}{d(6)}",
    }[language]


def _address(rng: np.random.Generator, language: str) -> str:
    n, code = int(rng.integers(1, 400)), _some(rng, "123456789", 5)
    forms = {
        "en": (
            f"{n} Baker Street, Springfield, IL {code}",
            f"{n} West Elm Ave, Apt 4B",
            f"{n} Old Mill Road",
        ),
        "de": (
            f"Hauptstraße {n}, {code} Berlin",
            f"Am Lindenweg {n}a",
            f"Goethestr. {n}, {code} Bad Homburg",
        ),
        "fr": (
            f"{n} rue de la Paix, {code} Paris",
            f"{n} bis, avenue Victor Hugo",
            f"{n} chemin des Lilas, {code} Aix",
        ),
        "es": (
            f"Calle de Alcalá {n}, 3º B, {code} Madrid",
            f"Avda. Diagonal {n}",
            f"C/ Mayor, {n}, {code} Sevilla",
        ),
    }[language]
    return forms[int(rng.integers(len(forms)))]


def _booking(rng: np.random.Generator, _: str) -> str:
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    return (
        _some(rng, letters, 6)
        if rng.random() < 0.4
        else f"{_some(rng, letters, 3)}{_some(rng, '23456789', 2)}{_some(rng, letters, 1)}"
    )


def _ip(rng: np.random.Generator, _: str) -> str:
    return (
        ".".join(str(i) for i in rng.integers(1, 255, 4))
        if rng.random() < 0.7
        else f"2001:db8::{_some(rng, '123456789abcdef', 4)}:7334"
    )


def _url(rng: np.random.Generator, _: str) -> str:
    head = ("https://", "www.")[int(rng.integers(2))]
    return f"{head}{_some(rng, 'abcdef', 6)}.example.com/u/{_some(rng, '0123456789', 4)}"


_MAKERS: dict[str, Callable[[np.random.Generator, str], str]] = {
    "EMAIL": _email, "PHONE": _phone, "CARD": _card, "IBAN": _iban, "IP": _ip, "URL": _url, "BOOKING": _booking,
    "DOCUMENT": _document, "ADDRESS": _address,
}  # fmt: skip


def personal_texts(count: int, seed: int) -> list[Truth]:
    """`count` texts, languages in turn: nine kinds, names with and without a cue, and one in ten without anything."""
    rng = np.random.default_rng(seed)
    kinds = [*_MAKERS, "NAME (cue)", "NAME (no cue)", "CLEAN"]
    texts = []
    for i in range(count):
        language, kind = LANGUAGES[i % 4], kinds[(i // 4) % len(kinds)]
        if kind == "CLEAN":
            texts.append(Truth(CLEAN[language][int(rng.integers(len(CLEAN[language])))], language, ()))
            continue
        if kind in _MAKERS:
            said, template = _MAKERS[kind](rng, language), _AROUND[kind][language]
        else:
            names = (_COMMON if rng.random() < 0.5 else _RARE)[language]
            forms = (_CUED if kind == "NAME (cue)" else _PLAIN)[language]
            said, template = names[int(rng.integers(len(names)))], forms[int(rng.integers(len(forms)))]
        before = CLEAN[language][int(rng.integers(len(CLEAN[language])))] + " " if rng.random() < 0.3 else ""
        text = before + template.format(x=said)
        spans, at = [], text.find(said)
        while at >= 0:
            spans.append((at, at + len(said), kind))
            at = text.find(said, at + 1)
        texts.append(Truth(text, language, tuple(spans)))
    return texts
