"""Every way a row can break its contract is a reason; a good row is never one."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.landing.contract import Column, ContractError, SourceContract, load_contract, parse_contract
from ratchet.landing.quarantine import LONGEST_ORIGINAL, printable
from ratchet.landing.readers import Chunk, Rejected, UnreadableFile, read_chunks
from ratchet.landing.row_hash import row_hashes
from ratchet.landing.validate import validate
from ratchet.settings import load_settings

DAY = date(2013, 5, 14)
CONTRACT = SourceContract(
    "answers",
    (
        Column("answer_id", "varchar", required=True, key=True, max_length=20),
        Column("channel", "varchar", required=True, allowed=frozenset({"rating", "ticket"})),
        Column("rating", "integer", minimum=1, maximum=5),
        Column("price", "double", minimum=0),
        Column("is_simulated", "boolean"),
        Column("trip_date", "date"),
        Column("comment", "varchar", max_length=30, free_text=True),
        Column("event_at", "timestamp", required=True),
        Column("received_at", "timestamp", required=True),
    ),
)
GOOD: dict[str, Any] = {
    "answer_id": "a1",
    "channel": "rating",
    "rating": 4,
    "price": 12.5,
    "is_simulated": True,
    "trip_date": "2013-05-13",
    "comment": "späť, again",
    "event_at": "2013-05-14T09:00:00Z",
    "received_at": "2013-05-14T10:00:00+00:00",
}


def jsonl(*rows: dict[str, Any] | str) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode() + b"\n"


def read(data: bytes, fmt: str, contract: SourceContract) -> Chunk:
    """The only chunk of a small file; one without rows when it has none."""
    if fmt == "csv" and data:
        data = data.removesuffix(b"\n") + b"\n"
    chunks = list(read_chunks(io.BytesIO(data), f"a.{fmt}", contract))
    if not chunks:
        return Chunk(0, {name: [] for name in contract.names}, [], False, lambda i: b"")
    (chunk,) = chunks
    return chunk


def hashes_of(typed: dict[str, Any], contract: SourceContract) -> list[str]:
    texts: list[str] = row_hashes(typed, contract).texts.to_pylist()
    return texts


def reasons(data: bytes, fmt: str = "jsonl", day: date = DAY) -> list[str]:
    """The reasons of the refused rows, in line order; asserts that no row got lost."""
    raw = read(data, fmt, CONTRACT)
    _, good, why = validate(raw, CONTRACT, day)
    refused = [(r.line, r.reason) for r in raw.rejected]
    refused += [(raw.lines[i], str(why[i])) for i in np.flatnonzero(~good)]
    assert raw.rows_read == int(good.sum()) + len(refused)
    return [reason for _, reason in sorted(refused)]


BAD: list[tuple[dict[str, Any] | str, str]] = [
    ({**GOOD, "answer_id": None}, "answer_id: is missing"),
    ({**GOOD, "answer_id": ""}, "answer_id: is missing"),
    ({k: v for k, v in GOOD.items() if k != "answer_id"}, "answer_id: is missing"),
    ({**GOOD, "answer_id": 7}, "answer_id: 7 is not text"),
    ({**GOOD, "answer_id": "x" * 21}, "answer_id: text longer than 20"),
    ({**GOOD, "comment": "x" * 1_000_000}, "comment: text longer than 30"),
    ({**GOOD, "comment": "a\x00b"}, "comment: holds a NUL character"),
    (json.dumps(GOOD).replace("again", "\\ud800"), "comment: holds half a character"),
    ({**GOOD, "channel": "smoke"}, "channel: unknown value 'smoke'"),
    ({**GOOD, "rating": "4"}, "rating: '4' is not a whole number"),
    ({**GOOD, "rating": 4.5}, "rating: 4.5 is not a whole number"),
    ({**GOOD, "rating": True}, "rating: True is not a whole number"),
    ({**GOOD, "rating": 0}, "rating: below 1"),
    ({**GOOD, "rating": 6}, "rating: above 5"),
    ({**GOOD, "rating": 2**40}, f"rating: {2**40} is out of range"),
    ({**GOOD, "price": -0.01}, "price: below 0"),
    ({**GOOD, "price": float("nan")}, "price: NaN or infinite"),
    ({**GOOD, "price": float("inf")}, "price: NaN or infinite"),
    ({**GOOD, "price": 10**400}, "price: NaN or infinite"),
    ({**GOOD, "price": [1]}, "price: [1] is not a number"),
    ({**GOOD, "is_simulated": 1}, "is_simulated: 1 is not true or false"),
    ({**GOOD, "trip_date": "14.05.2013"}, "trip_date: '14.05.2013' is not a day"),
    ({**GOOD, "event_at": "yesterday"}, "event_at: 'yesterday' is not a time"),
    ({**GOOD, "event_at": "2013"}, "event_at: '2013' is not a time"),
    ({**GOOD, "event_at": 1368522000}, "event_at: 1368522000 is not a time"),
    ({**GOOD, "event_at": "1970-01-01T00:00:00Z"}, "event_at: before 2000-01-01"),
    ({**GOOD, "event_at": "2014-06-30T00:00:00Z"}, "event_at: more than 400 days ahead"),
    ({**GOOD, "received_at": None}, "received_at: is missing"),
    (
        {**GOOD, "received_at": "2013-05-15T00:00:00Z"},
        "received_at: not on the partition's day 2013-05-14 (UTC)",
    ),
    ({**GOOD, "received_at": "2013-05-13T23:59:59.999999Z"}, "received_at: not on the partition's day"),
    ({**GOOD, "event_at": "2013-05-14T10:00:00.000001Z"}, "received_at: received before it happened"),
    (json.dumps(GOOD)[:-1] + ', "rating": 5}', "field rating comes twice"),
    ({**GOOD, "answer_id": "4.57E+11"}, "answer_id: a number that a spreadsheet rewrote"),
    ('{"answer_id": "a1"', "broken JSON"),
    ('{"answer_id": "a1"}, {"answer_id": "a2"}', "broken JSON"),
    ("[1, 2]", "not an object but list"),
    ("null", "not an object but NoneType"),
    ("[" * 100_000, "broken JSON"),
]


@pytest.mark.parametrize(("row", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_bad_row_is_refused_with_its_reason_and_its_neighbours_are_not(
    row: dict[str, Any] | str, reason: str
) -> None:
    found = reasons(jsonl(GOOD, row, {**GOOD, "answer_id": "a3"}))
    assert len(found) == 1
    assert found[0].startswith(reason)


EDGES: list[dict[str, Any]] = [
    {**GOOD, "received_at": "2013-05-14T00:00:00Z", "event_at": "2013-05-14T00:00:00Z"},
    {**GOOD, "received_at": "2013-05-14T23:59:59.999999Z"},
    {**GOOD, "received_at": "2013-05-14T20:30:00-02:00"},
    {**GOOD, "received_at": "2013-05-14 10:00:00"},
    {**GOOD, "rating": None, "price": None, "is_simulated": None, "trip_date": None, "comment": None},
    {"answer_id": "a", "channel": "ticket", "event_at": GOOD["event_at"], "received_at": GOOD["received_at"]},
    {**GOOD, "rating": 5.0, "price": 0},
    {**GOOD, "comment": "line\u2028separator\x1f\x85"},
    {**GOOD, "comment": "'; drop table raw.x; --"},
]


@pytest.mark.parametrize("row", EDGES)
def test_edge_of_the_contract_is_inside(row: dict[str, Any]) -> None:
    assert reasons(jsonl(row)) == []


def test_bytes_that_are_not_utf8_cost_their_line_only() -> None:
    data = jsonl(GOOD) + b'{"answer_id": "\xff"}\n' + jsonl({**GOOD, "answer_id": "a3"})
    assert reasons(data) == ["not UTF-8 at byte 15"]


def test_blank_lines_and_line_ends_are_no_rows() -> None:
    data = b"\xef\xbb\xbf" + jsonl(GOOD).replace(b"\n", b"\r\n") + b"\r\n  \n"
    raw = read(data, "jsonl", CONTRACT)
    assert (raw.rows_read, raw.lines, raw.rejected) == (1, [1], [])


def test_empty_file_has_no_row() -> None:
    for fmt in ("jsonl", "csv"):
        raw = read(b"", fmt, CONTRACT)
        typed, good, _ = validate(raw, CONTRACT, DAY)
        assert raw.rows_read == len(good) == 0
        assert hashes_of(typed, CONTRACT) == []


HEADER = ",".join(CONTRACT.names)
CSV_GOOD = "a1,rating,4,12.5,true,2013-05-13,spät,2013-05-14T09:00:00Z,2013-05-14T10:00:00Z"
CSV_BAD = [
    (CSV_GOOD.replace(",4,", ",four,"), "rating: 'four' is not a whole number"),
    (CSV_GOOD.replace(",4,", ",4.0,"), "rating: '4.0' is not a whole number"),
    (CSV_GOOD.replace(",4,", ",1_0,"), "rating: '1_0' is not a whole number"),
    (CSV_GOOD.replace(",4,", ", 4,"), "rating: ' 4' is not a whole number"),
    (CSV_GOOD.replace(",4,", ",٤,"), "rating: '٤' is not a whole number"),
    (CSV_GOOD.replace("12.5", "nan"), "price: NaN or infinite"),
    (CSV_GOOD.replace("12.5", "1e999"), "price: NaN or infinite"),
    (CSV_GOOD.replace("12.5", "NA"), "price: 'NA' is not a number"),
    (CSV_GOOD.replace("true", "yes"), "is_simulated: 'yes' is not true or false"),
    (CSV_GOOD.replace("a1,", ",", 1), "answer_id: is missing"),
    (CSV_GOOD + ",more", "10 fields, the header has 9"),
    ("a1,rating", "2 fields, the header has 9"),
    (CSV_GOOD.replace("spät", '"never closed'), "broken CSV"),
    (CSV_GOOD.replace("spät", "a\x00b"), "comment: holds a NUL character"),
]


@pytest.mark.parametrize(("line", "reason"), CSV_BAD, ids=[reason for _, reason in CSV_BAD])
def test_bad_csv_line_is_refused_alone(line: str, reason: str) -> None:
    found = reasons("\n".join([HEADER, CSV_GOOD, line, CSV_GOOD.replace("a1", "a3", 1)]).encode(), "csv")
    assert len(found) == 1
    assert found[0].startswith(reason)


def test_csv_quotes_and_missing_values() -> None:
    data = "\n".join(
        [HEADER, CSV_GOOD.replace("spät", '"a, ""b"""'), "a2,ticket,,,,,," + CSV_GOOD[-41:]]
    ).encode()
    raw = read(data, "csv", CONTRACT)
    typed, good, why = validate(raw, CONTRACT, DAY)
    assert good.all(), why
    assert typed["comment"].to_pylist() == ['a, "b"', None]
    assert typed["rating"].is_null().to_pylist() == [False, True]


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (HEADER.replace("rating,", "stars,"), "missing rating; unknown stars"),
        (HEADER.replace(",comment", ""), "missing comment"),
        (HEADER.replace("price", "rating"), "rating comes twice"),
    ],
)
def test_csv_with_other_columns_is_refused_as_a_whole(header: str, what: str) -> None:
    with pytest.raises(UnreadableFile, match=what):
        read(f"{header}\n{CSV_GOOD}".encode(), "csv", CONTRACT)


def _with_optional(name: str) -> SourceContract:
    return SourceContract(
        CONTRACT.source, tuple(replace(c, optional=True) if c.name == name else c for c in CONTRACT.columns)
    )


@pytest.mark.parametrize("fmt", ["csv", "parquet"])
def test_a_column_that_came_later_may_be_absent_from_a_file(fmt: str) -> None:
    frame = good_frame().drop(columns="comment").astype({"rating": "Int64"})
    data = frame.to_csv(index=False).encode() if fmt == "csv" else parquet(frame)
    with pytest.raises(UnreadableFile, match="missing comment"):
        read(data, fmt, CONTRACT)
    typed, good, why = validate(read(data, fmt, _with_optional("comment")), CONTRACT, DAY)
    assert good.all(), why
    assert typed["comment"].to_pylist() == [None, None]
    # The rows are those that a file with an empty column would give.
    full = good_frame().assign(comment=None)
    same, _, _ = validate(read(parquet(full), "parquet", CONTRACT), CONTRACT, DAY)
    assert hashes_of(typed, CONTRACT) == hashes_of(same, CONTRACT)
    with pytest.raises(UnreadableFile, match="missing price"):
        changed = frame.drop(columns="price")
        data = changed.to_csv(index=False).encode() if fmt == "csv" else parquet(changed)
        read(data, fmt, _with_optional("comment"))


@pytest.mark.parametrize("name", ["Comment", "coment", "comments"])
def test_a_misspelt_optional_column_is_not_lost(name: str) -> None:
    with pytest.raises(UnreadableFile, match="was comment meant"):
        read(f"{HEADER.replace('comment', name)}\n{CSV_GOOD}".encode(), "csv", _with_optional("comment"))


def test_what_feedback_gained_lately_is_optional_and_what_it_needs_is_not() -> None:
    contract = load_contract(load_settings({}).dbt_dir, "feedback")
    assert contract.may_be_absent == {
        "is_helpful", "subject", "resolution", "thread_id", "ticket_status", "prompt_id", "consent", "user_id"
    }  # fmt: skip
    assert not any(column.required for column in contract.columns if column.optional)


def good_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "answer_id": ["a1", "a2"],
            "channel": pd.Categorical(["rating", "ticket"]),
            "rating": [4.0, np.nan],
            "price": [12.5, None],
            "is_simulated": [True, False],
            "trip_date": pd.to_datetime(["2013-05-13", None]).date,
            "comment": ["späť, again", None],
            "event_at": pd.to_datetime(["2013-05-14T09:00:00", "2013-05-14T05:00:00"], utc=True),
            "received_at": pd.to_datetime(["2013-05-14T10:00:00"] * 2),
        }
    )


def parquet(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out, index=False)
    return out.getvalue()


def test_parquet_lands_and_equals_the_same_row_as_json_and_csv() -> None:
    hashes = []
    csv_row = CSV_GOOD.replace("spät", '"späť, again"')
    for data, fmt in [
        (parquet(good_frame().iloc[:1]), "parquet"),
        (jsonl(GOOD), "jsonl"),
        (f"{HEADER}\n{csv_row}".encode(), "csv"),
    ]:
        raw = read(data, fmt, CONTRACT)
        typed, good, why = validate(raw, CONTRACT, DAY)
        assert good.all(), why
        hashes += hashes_of(typed, CONTRACT)
    assert len(hashes) == 3
    assert len(set(hashes)) == 1


def test_parquet_rows_are_checked_like_any_other() -> None:
    frame = good_frame()
    frame["price"] = [float("inf"), -1.0]
    assert reasons(parquet(frame), "parquet") == ["price: NaN or infinite", "price: below 0"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda f: f.assign(price=["12", "13"]), "column price is .*string.* contract says double"),
        (lambda f: f.assign(event_at=["2013-05-14"] * 2), "column event_at is"),
        (lambda f: f.rename(columns={"price": "cost"}), "missing price; unknown cost"),
        (lambda f: f.drop(columns="comment"), "missing comment"),
    ],
)
def test_parquet_with_another_schema_is_refused_as_a_whole(change: Any, what: str) -> None:
    with pytest.raises(UnreadableFile, match=what):
        read(parquet(change(good_frame())), "parquet", CONTRACT)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all", parquet(good_frame())[:-20]])
def test_damaged_parquet_is_refused_as_a_whole(data: bytes) -> None:
    with pytest.raises(UnreadableFile, match="not a readable Parquet file"):
        read(data, "parquet", CONTRACT)


def test_unknown_format_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="pickle"):
        read(b"", "pickle", CONTRACT)


def test_row_hash_tells_content_apart() -> None:
    rows = [
        GOOD,
        {**GOOD, "rating": 3},
        {**GOOD, "rating": None},
        {**GOOD, "comment": None},
        {**GOOD, "comment": ""},
        {**GOOD, "comment": "a\x1f"},
        {**GOOD, "comment": "a\\u"},
        {**GOOD, "received_at": "2013-05-14T10:00:00.000001Z"},
    ]
    raw = read(jsonl(*rows), "jsonl", CONTRACT)
    typed, good, _ = validate(raw, CONTRACT, DAY)
    assert good.all()
    hashes = hashes_of(typed, CONTRACT)
    assert len(set(hashes)) == len(rows)
    assert all(len(value) == 32 and set(value) <= set("0123456789abcdef") for value in hashes)


def test_quarantine_keeps_no_personal_data_and_cuts_at_a_length() -> None:
    row = {**GOOD, "comment": "mail jo@example.com", "rating": 9}
    reason, original = printable(Rejected(1, "rating: above 5", json.dumps(row).encode()), CONTRACT)
    assert json.loads(original)["comment"] == "mail [EMAIL]"
    assert json.loads(original)["event_at"] == GOOD["event_at"]
    _, original = printable(Rejected(2, "broken JSON", b'{"comment": "jo@example.com", '), CONTRACT)
    assert "example.com" not in original
    reason, _ = printable(Rejected(3, "rating: 'jo@example.com' is not a whole number", b"{}"), CONTRACT)
    assert "example.com" not in reason
    _, original = printable(
        Rejected(4, "too long", json.dumps({"comment": "x@y.de " * 200_000}).encode()), CONTRACT
    )
    assert len(original) < 2 * LONGEST_ORIGINAL
    assert "x@" not in original
    assert "bytes in all" in original
    _, original = printable(Rejected(5, "NUL", b"a\x00b\xed\xa0\x80"), CONTRACT)
    assert "\x00" not in original
    original.encode()


def tree(**meta: Any) -> dict[str, Any]:
    clock = {"data_type": "timestamp", "config": {"meta": {"required": True}}}
    columns = [
        {"name": "id", "data_type": "varchar", "config": {"meta": {"key": True, **meta}}},
        {"name": "event_at", **clock},
        {"name": "received_at", **clock},
        {"name": "loop", "data_type": "varchar", "config": {"meta": {"added_by_landing": True}}},
    ]
    return {"sources": [{"name": "raw", "tables": [{"name": "s", "columns": columns}]}]}


def test_contract_reads_what_dbt_declares() -> None:
    contract = parse_contract(tree(max_length=9), "s", "s.yml")
    assert contract.keys == ("id",)
    assert contract.names == ("id", "event_at", "received_at")
    assert contract.columns[0].required
    assert contract.columns[0].max_length == 9
    assert "create table if not exists raw.s" in contract.ddl()


def test_contract_without_a_known_time_is_refused() -> None:
    for clock in (1, 2):
        broken = tree()
        broken["sources"][0]["tables"][0]["columns"][clock]["config"]["meta"] = {}
        with pytest.raises(ContractError, match="must be a required timestamp"):
            parse_contract(broken, "s", "s.yml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["sources"][0]["tables"].clear(), "0 times"),
        (
            lambda t: t["sources"][0]["tables"][0]["columns"][0]["config"]["meta"].update(requird=True),
            "requird",
        ),
        (lambda t: t["sources"][0]["tables"][0]["columns"][0].update(data_type="json"), "json"),
        (lambda t: t["sources"][0]["tables"][0]["columns"][0]["config"]["meta"].pop("key"), "key: true"),
        (
            lambda t: t["sources"][0]["tables"][0]["columns"][1]["config"]["meta"].update(optional=True),
            "optional and required",
        ),
        (
            lambda t: t["sources"][0]["tables"][0]["columns"][0]["config"]["meta"].update(allowed=[]),
            "allowed",
        ),
        (lambda t: t["sources"][0]["tables"][0]["columns"][0]["config"]["meta"].update(min="low"), "min"),
        (lambda t: t["sources"][0]["tables"][0]["columns"][0].update(name="id; drop"), "no column name"),
        (lambda t: t["sources"][0]["tables"][0]["columns"][0].update(name="event_at"), "declared twice"),
        (lambda t: t["sources"][0]["tables"][0]["columns"][3]["config"].update(meta={}), "added_by_landing"),
    ],
)
def test_unusable_contract_names_the_fault(change: Any, message: str) -> None:
    broken = tree()
    change(broken)
    with pytest.raises(ContractError, match=message):
        parse_contract(broken, "s", "s.yml")


def test_source_name_is_no_path() -> None:
    for name in ("../x", "a/b", "A", "x;y", ""):
        with pytest.raises(ContractError, match="no source name"):
            load_contract(__import__("pathlib").Path("/"), name)


def test_times_are_turned_into_utc() -> None:
    raw = read(jsonl({**GOOD, "received_at": "2013-05-14T20:30:00-02:00"}), "jsonl", CONTRACT)
    typed, good, _ = validate(raw, CONTRACT, DAY)
    assert good.all()
    assert typed["received_at"][0].as_py() == datetime(2013, 5, 14, 22, 30)
