"""The ledger keeps one chain: repeated, concurrent, changed and removed entries."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engines import new_database

from ratchet.ledger.chain import (
    LedgerValueError,
    plain,
    read_rows,
    sealed,
    stored_hash,
    stored_text,
    verify_chain,
)
from ratchet.ledger.schema import ENTRIES
from ratchet.ledger.store import Ledger, LedgerConflict, migrate

AS_OF = datetime(2013, 5, 14)


WORDS = st.text(alphabet=st.sampled_from('ab",: {}[]\\\n\0é\u2028😀'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
    | st.sampled_from(["NaN", "Infinity", ", ", ": ", '", "', "\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.dictionaries(WORDS, VALUES, max_size=4), WORDS)
def test_the_hash_of_what_is_stored_is_the_entrys_hash(payload: dict[str, Any], key: str) -> None:
    entry = sealed(
        seq=3, loop="flights", kind="health", key=key, as_of="2013-05-14T00:00:00",
        recorded_at="2013-05-14T00:00:01", actor='a", "b', payload=payload, previous_hash="0" * 64,
    )  # fmt: skip
    row = {**entry.__dict__, "payload": stored_text(payload)}
    assert list(read_rows([row])) == [entry]
    assert stored_hash(row) == entry.hash
    # Said the same, written otherwise: a space too many, one too few, a key twice.
    written = row["payload"]
    for other in (
        written + " ",
        written.replace(", ", ","),
        written.replace(": ", ":"),
        f'{{"a": 0, {written[1:]}',
    ):
        if other != written:
            assert stored_hash({**row, "payload": other}) != entry.hash
    for changed in ({"key": key + "x"}, {"seq": 4}, {"payload": stored_text({**payload, "new": 1})}):
        assert stored_hash({**row, **changed}) != entry.hash


def test_what_is_not_finite_has_no_hash() -> None:
    entry = sealed(
        seq=1, loop="flights", kind="health", key="k", as_of="", recorded_at="", actor="a", payload={},
        previous_hash="0" * 64,
    )  # fmt: skip
    with pytest.raises(ValueError, match="not JSON compliant"):
        stored_hash({**entry.__dict__, "payload": stored_text({"x": float("nan")})})


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        address = new_database(request.getfixturevalue("postgres_server"))
    migrate(address)
    return address


def add(ledger: Ledger, key: str, **payload: object) -> int:
    return ledger.append(loop="flights", kind="health", key=key, as_of=AS_OF, payload=payload).seq


def test_entries_chain_and_verify(url: str) -> None:
    ledger = Ledger(url)
    assert [add(ledger, f"k{n}", n=n) for n in range(3)] == [1, 2, 3]
    result = ledger.verify()
    assert result.ok
    assert result.entries == 3


def test_an_empty_ledger_is_not_verified(url: str) -> None:
    assert not Ledger(url).verify().ok


def test_the_first_decision_of_a_key_stands(url: str) -> None:
    ledger = Ledger(url)
    add(ledger, "k", verdict="hold")
    assert add(ledger, "k", verdict="promote") == 1
    assert [e.payload for e in ledger.entries("flights")] == [{"verdict": "hold"}]
    with pytest.raises(LedgerConflict, match="already says something else"):
        ledger.append(
            loop="flights", kind="health", key="k", as_of=AS_OF, payload={"verdict": "promote"}, exact=True
        )


def test_the_database_refuses_changes(url: str) -> None:
    ledger = Ledger(url)
    add(ledger, "k", n=1)
    for statement in ("update ledger_entries set kind = 'x'", "delete from ledger_entries"):
        with (
            pytest.raises(sa.exc.DBAPIError, match="append-only"),
            sa.create_engine(url).begin() as connection,
        ):
            connection.execute(sa.text(statement))
    assert ledger.verify().entries == 1


def test_a_changed_byte_a_gap_and_a_swap_are_found(url: str) -> None:
    ledger = Ledger(url)
    for n in range(4):
        add(ledger, f"k{n}", n=n)
    entries = ledger.entries()
    changed = [*entries[:2], replace(entries[2], payload={"n": 9}), entries[3]]
    assert "entry 3 (health) was changed" in str(verify_chain(changed).problem)
    assert "one is missing" in str(verify_chain([*entries[:1], *entries[2:]]).problem)
    assert verify_chain([entries[1], entries[0], *entries[2:]]).problem
    recorded_later = [replace(entries[0], recorded_at="2030-01-01T00:00:00"), *entries[1:]]
    assert verify_chain(recorded_later).problem


def test_concurrent_writers_make_one_chain(url: str) -> None:
    def write(worker: int) -> None:
        ledger = Ledger(url)
        for n in range(15):
            add(ledger, f"{worker}-{n}", n=n)

    threads = [threading.Thread(target=write, args=(w,)) for w in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = Ledger(url).verify()
    assert result.ok, result.problem
    assert result.entries == 60


def test_values_that_json_cannot_say_are_named() -> None:
    assert plain({"a": float("nan"), "b": float("inf"), "c": AS_OF}) == {
        "a": None,
        "b": None,
        "c": "2013-05-14T00:00:00",
    }
    with pytest.raises(LedgerValueError, match=r"payload\.rows\[0\]"):
        plain({"rows": [object()]})


def test_the_migrations_make_the_declared_table(url: str) -> None:
    found = {
        c["name"]: c["nullable"] for c in sa.inspect(sa.create_engine(url)).get_columns("ledger_entries")
    }
    assert found == {c.name: c.nullable for c in ENTRIES.columns}
    migrate(url)  # again: nothing to do
