"""Personal data goes, the complaint stays."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.feedback import recognisers
from ratchet.feedback.numbers import iban, luhn
from ratchet.feedback.redact import LONGEST_TEXT, find, kinds, redact, redact_text

FOUND = [
    ("write to jo.doe+trips@mail.example.co.uk today", "EMAIL", "write to [EMAIL] today"),
    ("me at JO_D@EXAMPLE.COM", "EMAIL", "me at [EMAIL]"),
    ("jo (at) example (dot) com", "EMAIL", "[EMAIL]"),
    ("see www.example.com/u/42?mail=x.", "URL", "see [URL]."),
    ("from 192.0.2.44, or 2001:db8::8a2e:370:7334", "IP", "from [IP], or [IP]"),
    ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN", "IBAN [IBAN] please"),
    ("call +1 (212) 555-0142 now", "PHONE", "call [PHONE] now"),
    ("call 212.555.0142", "PHONE", "call [PHONE]"),
    ("555-0142 is my number", "PHONE", "[PHONE] is my number"),
    ("+44 20 7946 0958", "PHONE", "[PHONE]"),
    ("01 23 45 67 89, ou 0151/23456789", "PHONE", "[PHONE], ou [PHONE]"),
    ("card 4111 1111 1111 1111 was charged", "CARD", "card [CARD] was charged"),
    ("card 4111111111111111", "CARD", "card [CARD]"),
    ("card 3782-822463-10005 declined", "CARD", None),
    ("order 4111 1111 1111 1112 is no card", "NUMBER", "order [NUMBER] is no card"),
    ("my passport X1234567 was scanned", "DOCUMENT", "my [DOCUMENT] was scanned"),
    ("passport no. 123456789", "DOCUMENT", "[DOCUMENT]"),
    ("mi DNI es 12345678Z", "DOCUMENT", "mi [DOCUMENT]"),
    ("number C01X0006H1 and L01234567", "DOCUMENT", None),
    ("PNR ABC12D gone", "BOOKING", "[BOOKING] gone"),
    ("booking reference QWERTY", "BOOKING", "[BOOKING]"),
    ("Buchungsnummer lautet QWERTY", "BOOKING", "[BOOKING]"),
    ("confirmation code: K9X2PL", "BOOKING", "[BOOKING]"),
    ("it is K9X2PL", "BOOKING", "it is [BOOKING]"),
    ("I live at 12 Baker Street, Springfield, IL 62704.", "ADDRESS", "I live at [ADDRESS]."),
    ("Hauptstraße 5a, 10115 Berlin ist es", "ADDRESS", "[ADDRESS] ist es"),
    ("au 12 rue de la Paix, 75002 Paris", "ADDRESS", "au [ADDRESS]"),
    ("Calle de Alcalá 45, 3º B, 28014 Madrid", "ADDRESS", "[ADDRESS]"),
    ("my name is anna schmidt", "NAME", "my name is [NAME]"),
    ("Je m'appelle Élodie Dubois", "NAME", "Je m'appelle [NAME]"),
    ("Late again.\nRegards,\nXochitl Quetzal", "NAME", "Late again.\nRegards,\n[NAME]"),
    ("Mr Okonkwo told me, Frau Öztürk too", "NAME", "Mr [NAME] told me, Frau [NAME] too"),
    ("José García waited", "NAME", "[NAME] waited"),
    ("anna schmidt waited", "NAME", "[NAME] waited"),
]

KEPT = [
    "35 minutes late, said on time",
    "I paid 200 dollars for seat 12A at gate B22",
    "3 hours! 10 out of 10 for the crew",
    "booking was a nightmare and the ticket cost 450",
    "17:30 on 2013-05-14, late again, and on 12.05.2013 and 5/14/2013",
    "UA1234 was late, Delta Airlines was not",
    "Thanks United. I'm happy. Charlotte was nice, Austin was hot",
    "Ich bin Kunde, und der Flug war zu spät",
    "will young people mark grace",
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


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([text for text, _, _ in FOUND] + KEPT) | st.text(max_size=20), max_size=5))
def test_redacting_twice_changes_nothing(texts: list[str]) -> None:
    once = redact_text(" ".join(texts))
    assert redact_text(once) == once


_WORDS = [
    "a@b.co", "a@" * 15, "1 " * 20, "0" * 31, "::" * 9, "IBAN DE", "DE12 ", "passport ", "booking ", "my name is ",
    "Mr ", "Regards,\n", "Anna Schmidt", "12 rue de la ", "www.", "https://", "[EMAIL]", "[NAME", "555-0142", "212.",
    "K9X2PL", "4111 1111", "X1234567", "\x00", "\u0301" * 9, "(", "at", "dot", "Aa ",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(_WORDS), min_size=1, max_size=12),
    st.sampled_from(["", " ", "\n", ", ", "-"]),
    st.sampled_from([1, 1, 1, 40]),
)
def test_nor_does_it_in_texts_made_of_halves_of_what_is_looked_for(
    words: list[str], between: str, times: int
) -> None:
    once = redact_text(between.join(words) * times)
    assert redact_text(once) == once


@pytest.mark.parametrize("looks", [1, 2, 6])
def test_a_text_that_does_not_settle_is_taken_out_in_one_piece(
    looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(["a@" * 30, "\u0301" * 40, " a@b", "1 " * 40, "12 rue de la 1"]) * 20
    monkeypatch.setattr("ratchet.feedback.redact._PASSES", looks)
    once = redact_text(text)
    assert redact_text(once) == once
    # With so few looks and nothing taken out as a whole, something would be left.
    left, seen = text, 0
    while (found := find(left)) and seen < looks:
        for one in reversed(found):
            left = f"{left[: one.start]}[{one.kind}]{left[one.end :]}"
        seen += 1
    assert looks == 6 or find(left) or list(recognisers.find_more(left))


def test_a_text_that_grows_past_the_limit_is_cut_once() -> None:
    once = redact_text("a@b.co " * (LONGEST_TEXT // 7))
    assert len(once) <= LONGEST_TEXT and once.startswith("[EMAIL] [EMAIL]")
    assert once.endswith("characters in all]") and redact_text(once) == once


def test_every_kind_is_found() -> None:
    assert {kind for _, kind, _ in FOUND} == set(kinds())


def test_check_digits() -> None:
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    assert iban("GB82 WEST 1234 5698 7654 32")
    assert not iban("GB82 WEST 1234 5698 7654 33")


def test_presidio_looks_at_what_the_patterns_left_and_asks_no_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("a recogniser asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    recognisers._recognisers.cache_clear()
    found = list(recognisers.find_more("write jo!x@example.com, card 4111111111111111"))
    assert {"EMAIL", "CARD"} <= {one.kind for one in found}
    assert find("nothing here") == list(recognisers.find_more("on 2013-05-14 at 17:30")) == []


HOSTILE = [
    "@", "1 ", "a@", "booking ", "number ", "A", "Aa ", "anna ", "my name is ", "::", "a.b", "1.2.3.4", "12 rue de la ",
    "calle x ", "Mr ", "regards,\n ", "DE12 ", "de la ", "A de la ", "a at b dot ", "straße ", "12345678Z ",
    "passport a", "1-", "<script>", "'; drop table x;--", "{{7*7}}", "\u202eabc ", "😀", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_of_ten_megabytes_ends(piece: str) -> None:
    """A pattern that backtracks would not end within the lifetime of this limit; a linear one needs moments."""
    text = piece * (10_000_000 // len(piece))
    began = time.process_time()
    found = redact(text)
    assert time.process_time() - began < 60
    assert len(found.text) <= 2 * LONGEST_TEXT
    assert found.text.endswith(f"[{len(text):,} characters in all]")


def test_a_number_that_the_cut_goes_through_is_not_kept() -> None:
    for end in range(1, 20):
        text = "x" * (LONGEST_TEXT - end) + " 4111 1111 1111 1111"
        assert "411" not in redact_text(text)
