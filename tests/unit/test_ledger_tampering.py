"""A changed byte anywhere, an entry that is gone and an end that was cut: in the database and in an export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.engines import new_database
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.ledger.anchor import Anchor, AnchorUnreadable, advance, read_anchor
from ratchet.ledger.chain import LedgerValueError, canonical, entry_of, plain, sealed, stored_text
from ratchet.ledger.export import ExportBroken, from_bytes, to_lines
from ratchet.ledger.schema import ENTRIES
from ratchet.ledger.store import Ledger, LedgerCut, migrate
from ratchet.settings import load_settings
from ratchet.stages.records import ledger_of

AS_OF = datetime(2013, 5, 14)
PAYLOAD = {
    "z": 2.125,
    "n": 3,
    "reason": 'ß, \n and a quote "',
    "crossed": True,
    "none": None,
    "rows": [1.0, -0.0],
}


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        url = new_database(request.getfixturevalue("postgres_server"))
    migrate(url)
    made = Ledger(url, tmp_path / "anchor.json")
    for n in range(4):
        made.append(loop="flights", kind="health", key=f"k{n}", as_of=AS_OF, payload={**PAYLOAD, "n": n})
    assert made.verify().ok
    return made


@contextmanager
def unguarded(url: str) -> Iterator[sa.Connection]:
    """Someone who owns the database: the triggers that refuse a change are gone."""
    with sa.create_engine(url).begin() as connection:
        if connection.dialect.name == "sqlite":
            for verb in ("update", "delete"):
                connection.exec_driver_sql(f"drop trigger ledger_refuse_{verb}")
        else:
            connection.exec_driver_sql("alter table ledger_entries disable trigger user")
        yield connection


CHANGES = {
    "a number": ("payload", lambda t: t.replace("2.125", "2.126")),
    "a number written otherwise": ("payload", lambda t: t.replace("2.125", "2.1250")),
    "a sign of zero": ("payload", lambda t: t.replace("-0.0", "0.0")),
    "a truth": ("payload", lambda t: t.replace("true", "false")),
    "a text": ("payload", lambda t: t.replace("quote", "Quote")),
    "a space": ("payload", lambda t: t.replace('"n": 1', '"n":  1')),
    "a key": ("payload", lambda t: t.replace('"z"', '"y"')),
    "a key twice": ("payload", lambda t: t.replace('"n": 1', '"n": 1, "n": 1')),
    "no JSON": ("payload", lambda t: t[:-1]),
    "not a number": ("payload", lambda t: t.replace("2.125", "NaN")),
    "the kind": ("kind", lambda t: "drill"),
    "the key": ("key", lambda t: "k9"),
    "the loop": ("loop", lambda t: "hotels"),
    "who": ("actor", lambda t: "nobody"),
    "as of": ("as_of", lambda t: "2013-05-15T00:00:00"),
    "the time": ("recorded_at", lambda t: t[:-1] + "1"),
    "the hash": ("hash", lambda t: "f" + t[1:] if t[0] != "f" else "e" + t[1:]),
    "the previous hash": ("previous_hash", lambda t: t[:-1] + ("0" if t[-1] != "0" else "1")),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_field_is_found(ledger: Ledger, what: str) -> None:
    column, change = CHANGES[what]
    with unguarded(ledger.url) as connection:
        old = connection.execute(sa.select(ENTRIES.c[column]).where(ENTRIES.c.seq == 2)).scalar_one()
        new = change(old)
        assert new != old, "nothing was changed: the test would look at nothing"
        connection.execute(ENTRIES.update().where(ENTRIES.c.seq == 2).values({column: new}))
    assert "entry 2" in str(ledger.verify().problem) or "entry 3" in str(ledger.verify().problem)


def test_an_entry_that_is_gone_and_two_that_changed_places(ledger: Ledger) -> None:
    with unguarded(ledger.url) as connection:
        for seq, to in ((2, 99), (3, 2), (99, 3)):
            connection.execute(ENTRIES.update().where(ENTRIES.c.seq == seq).values(seq=to))
    assert "entry 2" in str(ledger.verify().problem)
    with sa.create_engine(ledger.url).begin() as connection:
        connection.execute(ENTRIES.delete().where(ENTRIES.c.seq == 1))
    assert "one is missing" in str(ledger.verify().problem)


def test_a_cut_end_is_found_and_nothing_is_appended_to_it(ledger: Ledger) -> None:
    with unguarded(ledger.url) as connection:
        connection.execute(ENTRIES.delete().where(ENTRIES.c.seq > 2))
    assert Ledger(ledger.url).verify().ok, "the chain alone can't tell"
    assert "entry 4" in str(ledger.verify().problem)
    with pytest.raises(LedgerCut, match="restore the ledger from its backup"):
        ledger.append(loop="flights", kind="health", key="k9", as_of=AS_OF, payload={})
    assert len(ledger.entries()) == 2
    forged = ledger.append(loop="flights", kind="x", key="k9", as_of=AS_OF, payload={}, accepting_loss=True)
    assert forged.seq == 3
    assert ledger.verify().ok


def test_an_end_that_was_cut_and_written_anew_is_found(ledger: Ledger) -> None:
    with unguarded(ledger.url) as connection:
        connection.execute(ENTRIES.delete().where(ENTRIES.c.seq > 2))
    other = Ledger(ledger.url)
    for n in range(3):
        other.append(loop="flights", kind="health", key=f"forged{n}", as_of=AS_OF, payload={})
    assert other.verify().ok
    assert "another entry stands there" in str(ledger.verify().problem)


def test_truncate_is_refused(ledger: Ledger) -> None:
    if ledger.url.startswith("sqlite"):
        return  # it has none
    with (
        pytest.raises(sa.exc.DBAPIError, match="append-only"),
        sa.create_engine(ledger.url).begin() as connection,
    ):
        connection.exec_driver_sql("truncate ledger_entries")


def test_an_anchor_that_lags_is_brought_up_and_a_lost_one_is_said(ledger: Ledger) -> None:
    assert ledger.anchor is not None
    first = ledger.entries()[0]
    advance(ledger.anchor, Anchor(1, first.hash), back=True)  # the writer died before the anchor
    assert ledger.verify().ok
    last = ledger.append(loop="flights", kind="health", key="k9", as_of=AS_OF, payload={})
    assert read_anchor(ledger.anchor) == Anchor(5, last.hash)
    advance(ledger.anchor, Anchor(2, "x"))
    assert read_anchor(ledger.anchor) == Anchor(5, last.hash), "an anchor never goes back"
    ledger.anchor.unlink()
    assert "there is no anchor" in str(ledger.verify().problem)
    ledger.anchor.write_text("[]")
    with pytest.raises(AnchorUnreadable, match="is no anchor"):
        ledger.append(loop="flights", kind="health", key="k10", as_of=AS_OF, payload={})


def exported() -> bytes:
    entries, previous = [], "0" * 64
    for n in range(3):
        entry = sealed(
            seq=n + 1, loop="flights", kind="health", key=f"k{n}", as_of="2013-05-14T00:00:00",
            recorded_at="2026-01-01T00:00:00.000+00:00", actor="ratchet", payload=PAYLOAD, previous_hash=previous,
        )  # fmt: skip
        entries.append(entry)
        previous = entry.hash
    return to_lines(entries).encode()


def is_found(content: bytes) -> bool:
    try:
        return not from_bytes(content)[1].ok
    except ExportBroken:
        return True


def test_every_changed_byte_of_an_export_is_found() -> None:
    good, tried = exported(), 0
    assert not is_found(good)
    for at in range(len(good)):
        for bit in (0x01, 0x20, 0x80):
            changed = good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :]
            tried += 1
            assert is_found(changed), (at, bit, changed[max(0, at - 20) : at + 20])
    assert tried > 2500


def test_removed_repeated_and_reordered_bytes_and_lines_are_found() -> None:
    good = exported()
    for at in range(0, len(good), 7):
        assert is_found(good[:at] + good[at + 1 :]), f"byte {at} left out"
        assert is_found(good[:at]), f"cut at byte {at}"
    lines = good.splitlines(keepends=True)
    assert len(lines) == 4
    for order in ((1, 0, 2, 3), (0, 2, 1, 3), (0, 1, 3), (0, 1, 2), (0, 0, 1, 2, 3), (3,), ()):
        assert is_found(b"".join(lines[i] for i in order)), order


def test_entries_survive_the_export_exactly(ledger: Ledger) -> None:
    entries, found = from_bytes(to_lines(ledger.entries()).encode())
    assert found.ok
    assert entries == ledger.entries()
    numbers = {"a": 0.1 + 0.2, "b": 5e-324, "c": 1.7976931348623157e308, "d": 2**63, "e": -0.0, "f": 1e16}
    back = json.loads(canonical(plain(numbers)))
    assert {k: repr(v) for k, v in back.items()} == {k: repr(v) for k, v in numbers.items()}
    row = {**entries[0].__dict__, "payload": stored_text(numbers)}
    assert {k: repr(v) for k, v in entry_of(row).payload.items()} == {k: repr(v) for k, v in numbers.items()}


def test_text_that_no_hash_can_be_taken_of_is_named() -> None:
    with pytest.raises(LedgerValueError, match=r"payload\.a: the text is not valid Unicode"):
        plain({"a": "\ud800"})
    with pytest.raises(LedgerValueError, match="two keys are the same"):
        plain({1: "a", "1": "b"})


def test_on_call_sees_what_is_lost_and_goes_on_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    monkeypatch.delenv("RATCHET_LEDGER_URL", raising=False)
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    migrate(settings.ledger_url)
    (tmp_path / "setup.json").write_text("{}")
    run = lambda *words: CliRunner().invoke(app, ["ledger", *words])  # noqa: E731
    assert run("verify").exit_code == 1, "an empty ledger is not a verified one"
    for n in range(3):
        ledger_of(settings).append(loop="flights", kind="health", key=f"k{n}", as_of=AS_OF, payload={"n": n})
    assert run("verify").exit_code == 0
    with unguarded(settings.ledger_url) as connection:
        connection.execute(ENTRIES.delete().where(ENTRIES.c.seq > 1))
    assert run("verify").exit_code == 1
    assert run("export", str(tmp_path / "ledger.jsonl")).exit_code == 1
    assert not (tmp_path / "ledger.jsonl").exists()
    assert run("anchor", "--reason", "restored from the backup of Monday").exit_code == 0
    assert run("verify").exit_code == 0
    last = ledger_of(settings).entries()[-1]
    assert last.payload["reason"] == "restored from the backup of Monday"
    assert last.payload["anchored"]["seq"] == 3, "what was lost is on record"
    (tmp_path / "routing").mkdir()
    (tmp_path / "routing" / "flights.flagd.json").write_text("{}")
    assert run("verify").exit_code == 1, "what serves names no decision of the ledger"
