"""Personal data goes, the complaint stays."""

from __future__ import annotations

import time

import pytest

from ratchet.feedback.redact import kinds, redact, redact_all, redact_text

FOUND = [
    ("write to jo.doe+trips@mail.example.co.uk today", "email", "write to [email] today"),
    ("me at JO_D@EXAMPLE.COM", "email", "me at [email]"),
    ("call +1 (212) 555-0142 now", "phone", "call [phone] now"),
    ("call 212.555.0142", "phone", "call [phone]"),
    ("555-0142 is my number", "phone", "[phone] is my number"),
    ("+44 20 7946 0958", "phone", "[phone]"),
    ("card 4111 1111 1111 1111 was charged", "card", "card [card] was charged"),
    ("card 4111111111111111", "card", "card [card]"),
    ("card 3782-822463-10005 declined", "card", None),
    ("my passport X1234567 was scanned", "document", "my [document] was scanned"),
    ("passport no. 123456789", "document", "[document]"),
    ("number C01X0006H1 and L01234567", "document", None),
    ("PNR ABC12D gone", "booking", "[booking] gone"),
    ("booking reference QWERTY", "booking", "[booking]"),
    ("confirmation code: K9X2PL", "booking", "[booking]"),
    ("it is K9X2PL", "booking", "it is [booking]"),
]

KEPT = [
    "35 minutes late, said on time",
    "I paid 200 dollars for seat 12A at gate B22",
    "3 hours! 10 out of 10 for the crew",
    "booking was a nightmare and the ticket cost 450",
    "17:30 on 2013-05-14, late again",
    "",
    "Zu spät, schon wieder. 遅い",
]


@pytest.mark.parametrize(("text", "kind", "expected"), FOUND)
def test_personal_data_is_replaced_by_its_kind(text: str, kind: str, expected: str | None) -> None:
    found = redact(text)
    assert found.counts.get(kind, 0) >= 1, found
    assert expected is None or found.text == expected
    assert not any(word in found.text for word in ("1111", "0142", "example.co", "K9X2PL", "X1234567"))


@pytest.mark.parametrize("text", KEPT)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text).text == text
    assert redact(text).counts == {}


def test_redacting_twice_changes_nothing() -> None:
    for text, _, _ in FOUND:
        assert redact_text(redact_text(text)) == redact_text(text)


def test_missing_stays_missing_and_order_is_kept() -> None:
    assert redact_all(["a@b.de", None, "ok"]) == ["[email]", None, "ok"]
    assert redact_all([]) == []
    assert set(kinds()) == {"email", "document", "booking", "card", "phone"}


@pytest.mark.parametrize(
    "text",
    [
        "@" * 200_000,
        "1 " * 100_000,
        "a@" * 100_000,
        "booking " * 25_000,
        "ticket number " + "number " * 30_000,
    ],
)
def test_hostile_text_ends(text: str) -> None:
    """A pattern that backtracks would not end within the lifetime of this limit; a linear one needs moments."""
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 60
