"""What landing is made of: lines out of blocks, fingerprints in bounded memory, what spills, what is suspect."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.feedback.redact import redact_text
from ratchet.landing import blocks as lines
from ratchet.landing import partition, spill
from ratchet.landing.row_hash import fingerprints
from ratchet.landing.seen import Seen


def read(data: bytes, block_bytes: int) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    good: list[tuple[int, str]] = []
    bad: list[tuple[int, str]] = []
    for block in lines.blocks(io.BytesIO(data), block_bytes):
        good += zip(block.numbers, block.lines, strict=True)
        bad += [(entry.line, entry.reason) for entry in block.rejected]
    return good, bad


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"", b"a", b" ", b"bc\r", "ü".encode(), b"\xff", b"x" * 30, "\u2028".encode()]),
        max_size=30,
    ),
    st.integers(1, 40),
    st.booleans(),
)
def test_lines_and_numbers_do_not_depend_on_the_size_of_a_block(
    parts: list[bytes], size: int, ends: bool
) -> None:
    data = b"\n".join(parts) + (b"\n" if ends else b"")
    good, bad = read(data, size)
    expected = list(enumerate(data.split(b"\n"), 1))
    text = [(n, part.decode().rstrip("\r")) for n, part in expected if b"\xff" not in part]
    assert good == [(n, line) for n, line in text if line and not line.isspace()]
    assert [n for n, _ in bad] == [n for n, part in expected if b"\xff" in part]


@pytest.mark.parametrize("size", [1, 3, 7, 16, 32])
@pytest.mark.parametrize("at_end", [True, False])
def test_a_line_beyond_the_limit_is_refused_by_its_length_and_costs_only_itself(
    size: int, at_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 32)
    parts = [b"a", b"x" * 32, b"y" * 33, b"z" * 500, b"", b"b"][: 4 if at_end else 6]
    found = list(lines.blocks(io.BytesIO(b"\n".join(parts)), size))
    good = [pair for block in found for pair in zip(block.numbers, block.lines, strict=True)]
    refused = [entry for block in found for entry in block.rejected]
    assert good == [(1, "a"), (2, "x" * 32)] + ([] if at_end else [(6, "b")])
    assert [(r.line, r.length, r.is_cut_off) for r in refused] == [(3, 33, False), (4, 500, at_end)]
    assert refused[1].sha256 == hashlib.sha256(b"z" * 500).hexdigest()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12), max_size=12))
def test_seen_is_a_set_whatever_collides(chunks: list[list[tuple[int, int]]]) -> None:
    """Few high halves, so that rows share their first 64 bits all the time."""
    seen, slow = Seen(), set[tuple[int, int]]()
    for chunk in chunks:
        high = np.array([h for h, _ in chunk], dtype=np.uint64)
        low = np.array([w for _, w in chunk], dtype=np.uint64)
        expected = []
        for pair in chunk:
            expected.append(pair not in slow)
            slow.add(pair)
        assert seen.admit(high, low).tolist() == expected
    assert len(seen) == len(slow)
    assert seen.digest == f"{sum(h for h, _ in slow) % 2**64:016x}"


def test_the_digest_of_a_partition_is_the_same_in_any_order() -> None:
    digests = [hashlib.sha256(str(n).encode()).digest()[:16] for n in range(5_000)]
    found = set()
    for order in (digests, digests[::-1]):
        seen = Seen()
        for at in range(0, 5_000, 700):
            prints = fingerprints(b"".join(order[at : at + 700]))
            seen.admit(prints.high, prints.low)
        found.add(seen.digest)
    total = sum(int(d.hex()[:16], 16) for d in digests) % 2**64
    assert found == {f"{total:016x}"}


def test_known_fingerprints_are_read_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(partition._HEX) == 16
    hexes = [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in range(300)]

    class Rows:
        asked: list[str] = []  # noqa: RUF012

        def scalar(self, sql: str, params: Any) -> int:
            return len(hexes)

        def frame(self, sql: str, params: Any) -> Any:
            import pandas as pd

            self.asked.append(params[-1])
            return pd.DataFrame({"row_hash": [h for h in hexes if h.startswith(params[-1])]})

    monkeypatch.setattr(partition, "_SLICE", 100)
    made = partition.Partition.__new__(partition.Partition)
    made._wh, made._loop, made._day = Rows(), "flights", None  # type: ignore[assignment]
    made._contract = type("C", (), {"table": "raw.x"})()  # type: ignore[assignment]
    assert len(made._known_rows()) == 300
    assert len(Rows.asked) == 16


#: One of each shape that is taken out, those without a blank in it above all.
PERSONAL = ("a@b.de", "jo(at)example(dot)com", "www.a.de/x", "WWW.A.DE", "fe80::1:2", "X1234567", "555-0142",
            "my name is Bo Li", "Anna\u00a0Schmidt", "Anna\x1fSchmidt", "\u0661234567", "PNR QWERTY")  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(max_size=40) | st.sampled_from(PERSONAL), max_size=8))
def test_whatever_redaction_takes_out_is_suspect_to_the_column_wise_look(texts: list[str]) -> None:
    found = spill.redacted(pa.array([*texts, None], pa.string())).to_pylist()
    assert found == [*(redact_text(text) for text in texts), None]


def test_what_spills_is_sorted_redacted_valid_and_limited() -> None:
    row = {
        "b": 1,
        "a": "mail jo@example.com",
        "card": 4111111111111111,
        "jo@example.com": None,
        "n": {"x": [1]},
    }
    found = json.loads(spill.spilled(row))
    assert list(found) == sorted(found)
    assert found == {"a": "mail [EMAIL]", "b": 1, "card": "[CARD]", "[EMAIL]": None, "n": {"x": [1]}}
    assert json.loads(spill.spilled({"a": "x" * 10_000_000})) == {"a": "[10000000 characters]"}
    wide = json.loads(spill.spilled({f"field_{n:05d}": "v" * 500 for n in range(3_000)}))
    assert len(json.dumps(wide)) < 2 * spill.LONGEST_SPILL
    assert wide[spill.OTHERS].endswith("fields]")
    odd = spill.spilled({"a": "nul \x00 half \ud800"})
    assert "\x00" not in odd
    odd.encode()


def test_names_of_fields_are_counted_up_to_a_limit() -> None:
    names = spill.ExtraNames()
    for n in range(1_000):
        names.add([{f"f{n}": 1}, None], np.array([0, 1]))
    assert len(names.rows) == spill.MOST_NAMES + 1
    assert sum(names.rows.values()) == 1_000
