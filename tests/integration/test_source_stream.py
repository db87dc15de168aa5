"""A Redis stream as a source: whatever dies, every message lands once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.engines import RedisServer, running_redis

from ratchet.landing import stream
from ratchet.landing.contract import load_contract
from ratchet.landing.stream import StreamError
from ratchet.loop import Loop, Source, load_loop
from ratchet.settings import Settings, load_settings
from ratchet.stages.pull import drain, judge_days, land_days, not_landed
from ratchet.warehouse.connect import open_warehouse

DAY = date(2013, 5, 14)
#: 2013-05-14 10:00:00 UTC: ids as the queue would have given them then.
TEN = 1_368_525_600_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def queue(server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def settings(tmp_path: Path, server: RedisServer) -> Settings:
    return load_settings({"RATCHET_HOME": str(tmp_path), "RATCHET_CONNECTION_QUEUE": server.url})


def loop_of(**keys: Any) -> Loop:
    shipped = load_loop(load_settings({}).loops_dir / "flights.yml")
    source = Source(
        **{"adapter": "stream", "connection": "queue", "stream": "outcomes", "batch_rows": 10, **keys}
    )
    return shipped.model_copy(update={"sources": {"outcomes": source}})


def fields(n: int, **changes: Any) -> dict[str, Any]:
    row = {"outcome_id": f"o{n}", "unit_id": f"u{n}", "outcome_value": n, "event_at": "2013-05-14T08:00:00Z",
           "received_at": "2013-05-14T10:00:00Z", **changes}  # fmt: skip
    return {"data": json.dumps({k: v for k, v in row.items() if v is not None})}


def send(queue: Any, *messages: dict[Any, Any], start: int = TEN) -> None:
    for n, message in enumerate(messages):
        queue.xadd("outcomes", message, id=f"{start + n}-0")


def ingest(settings: Settings, loop: Loop) -> dict[str, Any]:
    """What an event-driven run does; pulled counts with the log."""
    said: list[str] = []
    pulled = drain(settings, loop, said.append)
    land_days(settings, loop, pulled["days"], said.append)
    return {**pulled["sources"]["outcomes"], "days": pulled["days"].get("outcomes", []), "log": said}


def state(settings: Settings) -> dict[str, Any]:
    with open_warehouse(settings, purpose="test") as wh:
        rows = wh.frame("select outcome_id, received_date, received_at from raw.outcomes order by outcome_id")
        kept = wh.frame("select reason, original from raw.quarantine order by original")
        duplicates = wh.scalar("select coalesce(sum(rows_duplicate), 0) from ops.landings")
    return {"ids": rows["outcome_id"].tolist(), "rows": rows, "refused": kept["original"].tolist(),
            "duplicates": int(duplicates)}  # fmt: skip


def test_messages_of_both_forms_land_in_the_day_they_were_received(settings: Settings, queue: Any) -> None:
    plain = {"outcome_id": "o2", "unit_id": "u2", "outcome_value": "2.5", "event_at": "2013-05-14T08:00:00Z",
             "received_at": "2013-05-13T23:59:59.999999Z"}  # fmt: skip
    plain["event_at"] = "2013-05-13T08:00:00Z"
    send(queue, fields(1), plain, fields(3, received_at=None), fields(4, received_at="2013-05-14T01:30:00+02:00",
         event_at="2013-05-13T08:00:00Z"))  # fmt: skip
    found = ingest(settings, loop_of())
    assert (found["rows"], found["days"]) == (4, ["2013-05-13", "2013-05-14"])
    landed = state(settings)
    assert landed["ids"] == ["o1", "o2", "o3", "o4"]
    assert [f"{day:%d}" for day in landed["rows"]["received_date"]] == ["14", "13", "14", "13"]
    assert landed["rows"]["received_at"][2] == datetime(2013, 5, 14, 10, 0, 0, 2_000), "the queue's own clock"
    again = ingest(settings, loop_of())
    assert (again["rows"], again["days"]) == (0, [])


def test_what_is_no_row_is_set_aside_with_its_text_and_id(settings: Settings, queue: Any) -> None:
    send(queue, {"data": '{"outcome_id": "o1",'}, {"data": "[1]"}, {b"\xff": b"\xfe"}, fields(4, outcome_value="x"),
         {"outcome_id": "o5", "outcome_value": "1_0", "unit_id": "u", "event_at": "2013-05-14T08:00:00Z"},
         fields(6, received_at="2999-01-01T00:00:00Z"), fields(7, received_at="0203-01-01T00:00:00Z"),
         {"data": "[" * 100_000}, fields(9))  # fmt: skip
    found = ingest(settings, loop_of())
    assert found["rows"] == 9
    landed = state(settings)
    assert landed["ids"] == ["o9"]
    assert len(landed["refused"]) == 8
    texts = "\n".join(landed["refused"])
    assert "message 2013-05-14T10:00:00.000Z/0: data is no JSON" in texts
    assert '{\\"outcome_id\\": \\"o1\\",' in texts
    assert "message 2013-05-14T10:00:00.001Z/0: data is no object but list" in texts
    assert "message 2013-05-14T10:00:00.002Z/0: not UTF-8" in texts


def test_a_batch_is_a_file_that_names_its_messages(settings: Settings, queue: Any) -> None:
    send(queue, *map(fields, range(25)))
    ingest(settings, loop_of())
    names = sorted(path.name for path in settings.landing_dir.rglob("*.jsonl"))
    assert [name.split("_")[:4] for name in names] == [
        ["stream", f"{TEN + first}-0", f"{TEN + last}-0", str(rows)]
        for first, last, rows in ((0, 9, 10), (10, 19, 10), (20, 24, 5))
    ]
    assert not list(settings.landing_dir.rglob(".spool.*"))


def test_what_a_dead_consumer_had_is_taken_over(
    settings: Settings, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(queue, *map(fields, range(25)))
    queue.xgroup_create("outcomes", "ratchet", id="0")
    queue.xreadgroup("ratchet", "a-dead-one", {"outcomes": ">"}, count=12)
    queue.xreadgroup("ratchet", stream.CONSUMER, {"outcomes": ">"}, count=3)
    assert ingest(settings, loop_of())["taken_over"] == 3, (
        "the other one may be alive: not idle for long enough"
    )
    monkeypatch.setattr(stream.drain, "__kwdefaults__", {"idle_milliseconds": 0})
    found = ingest(settings, loop_of())
    assert (found["rows"], found["taken_over"]) == (12, 12)
    assert len(state(settings)["ids"]) == 25
    assert queue.xpending("outcomes", "ratchet")["pending"] == 0


CHILD = """
import os, signal, sys
from datetime import date
from ratchet.landing import spool, stream
from ratchet.landing.contract import load_contract
from ratchet.settings import load_settings

point, url, home = sys.argv[1:]
settings = load_settings({"RATCHET_HOME": home})
die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
address = stream.StreamAddress("queue", "outcomes", "ratchet")
client = stream.connect(url, address)
calls = {"add": 0, "ack": 0}

def at(owner, name, when, before=None):
    real = getattr(owner, name)
    def patched(*args, **kwargs):
        calls[name] = calls.get(name, 0) + 1
        if calls[name] == when and before:
            die()
        answer = real(*args, **kwargs)
        if calls[name] == when:
            die()
        return answer
    setattr(owner, name, patched)

if point == "while a line is written": at(spool.Spool, "add", 17)
if point == "before the rename": at(spool.Spool, "_place", 2, before=True)
if point == "after the rename, before the acknowledgement": at(stream.redis.Redis, "xack", 2, before=True)
if point == "after the acknowledgement": at(stream.redis.Redis, "xack", 2)
if point == "after the last acknowledgement": at(stream.redis.Redis, "xack", 4)
if point == "after new messages were delivered": at(stream, "_messages", 4)
with spool.open_spool(settings, "flights", "outcomes", "stream") as opened:
    contract = load_contract(settings.dbt_dir, "outcomes")
    stream.drain(client, address, contract, opened, 10, date(2013, 1, 1), lambda line: None)
"""


@pytest.mark.parametrize(
    "point",
    [
        "while a line is written",
        "before the rename",
        "after the rename, before the acknowledgement",
        "after the acknowledgement",
        "after the last acknowledgement",
        "after new messages were delivered",
        "never",
    ],
)
def test_after_a_kill_every_message_lands_once(
    settings: Settings, queue: Any, server: RedisServer, point: str
) -> None:
    send(queue, *map(fields, range(30)), *({"data": f"broken {n}"} for n in range(5)))
    child = [sys.executable, "-c", CHILD, point, server.url, str(settings.home)]
    done = subprocess.run(child, check=False, capture_output=True, text=True)
    assert done.returncode == (0 if point == "never" else -signal.SIGKILL), done.stderr
    before = [p.name for p in settings.landing_dir.rglob("*") if p.name.startswith(".spool.")]
    assert bool(before) == (point in ("while a line is written", "before the rename"))
    ingest(settings, loop_of(batch_rows=7))
    landed = state(settings)
    assert landed["ids"] == sorted(f"o{n}" for n in range(30))
    assert len(landed["refused"]) == 5
    assert landed["duplicates"] == 0
    assert queue.xpending("outcomes", "ratchet")["pending"] == 0
    assert not_landed(settings, loop_of(), "stream") == {}
    assert not list(settings.landing_dir.rglob(".spool.*"))


def test_the_queue_crashes_between_spool_and_acknowledgement(
    settings: Settings, queue: Any, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(queue, *map(fields, range(30)), {"data": "broken"})
    real, calls = redis.Redis.xack, []

    def crash(self: Any, *args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            server.kill()
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(redis.Redis, "xack", crash)
        with pytest.raises(StreamError, match="stream outcomes of connection queue: ConnectionError"):
            ingest(settings, loop_of())
    with pytest.raises(StreamError, match="delivered again: retry"):
        ingest(settings, loop_of())
    server.start()
    found = ingest(settings, loop_of())
    assert found["known"] == 10, "spooled, but not acknowledged"
    landed = state(settings)
    assert landed["ids"] == sorted(f"o{n}" for n in range(30))
    assert (len(landed["refused"]), landed["duplicates"]) == (1, 0)


def test_a_lost_group_starts_again_and_nothing_lands_twice(settings: Settings, queue: Any) -> None:
    send(queue, *map(fields, range(12)), {"data": "broken"})
    ingest(settings, loop_of())
    queue.xgroup_destroy("outcomes", "ratchet")
    send(queue, fields(12), start=TEN + 50)
    found = ingest(settings, loop_of())
    assert (found["rows"], found["known"]) == (14, 13)
    landed = state(settings)
    assert (len(landed["ids"]), len(landed["refused"]), landed["duplicates"]) == (13, 1, 0)


def test_a_message_sent_twice_lands_once(settings: Settings, queue: Any) -> None:
    send(queue, fields(1), fields(1), fields(2))
    ingest(settings, loop_of())
    landed = state(settings)
    assert (landed["ids"], landed["duplicates"]) == (["o1", "o2"], 1)


def test_messages_that_were_cut_off_are_told_once(settings: Settings, queue: Any) -> None:
    send(queue, *map(fields, range(10)))
    queue.xgroup_create("outcomes", "ratchet", id="0")
    queue.xreadgroup("ratchet", stream.CONSUMER, {"outcomes": ">"}, count=3)
    queue.xtrim("outcomes", maxlen=4, approximate=False)
    found = ingest(settings, loop_of())
    assert (found["rows"], found["trimmed"]) == (4, 6)
    assert any("3 messages were cut off before anybody read them" in line for line in found["log"])
    send(queue, fields(20), start=TEN + 50)
    again = ingest(settings, loop_of())
    assert (again["rows"], again["trimmed"]) == (1, 0)


def test_what_is_not_there_is_named_and_no_address_is_shown(
    settings: Settings, queue: Any, tmp_path: Path
) -> None:
    found = ingest(settings, loop_of())
    assert (found["rows"], found["exists"]) == (0, False)
    assert any("does not exist yet" in line for line in found["log"])
    queue.set("outcomes", "text")
    with pytest.raises(StreamError, match="WRONGTYPE"):
        ingest(settings, loop_of())
    for url, said in (
        ("redis://:canary-7@127.0.0.1:1/0", "ConnectionError"),
        ("http://u:canary-7@h/", "no redis"),
    ):
        down = load_settings({"RATCHET_HOME": str(tmp_path), "RATCHET_CONNECTION_QUEUE": url})
        with pytest.raises(StreamError, match=said) as caught:
            ingest(down, loop_of())
        assert "canary-7" not in f"{caught.value!r} {down!r}"


def test_pulled_days_of_the_source_are_judged_and_no_other_source(settings: Settings, queue: Any) -> None:
    send(queue, *map(fields, range(5)))
    shipped = load_loop(settings.loops_dir / "flights.yml")
    loop = shipped.model_copy(update={"sources": {**shipped.sources, **loop_of().sources}})
    from ratchet.ledger.store import migrate

    settings.home.joinpath("ledger").mkdir(parents=True, exist_ok=True)
    migrate(settings.ledger_url)
    pulled = drain(settings, loop, lambda line: None)
    land_days(settings, loop, pulled["days"], lambda line: None)
    judged = judge_days(settings, loop, pulled["days"], lambda line: None)
    assert judged["as_of"] == "2013-05-15T00:00:00"
    assert judged["green"] + len(judged["blocked"]) == 1
    with open_warehouse(settings, purpose="test") as wh:
        assert wh.frame("select distinct table_name from ops.partition_gates")["table_name"].tolist() == [
            "outcomes"
        ]


def test_the_id_of_a_refused_message_survives_redaction() -> None:
    from ratchet.feedback.redact import redact_text

    contract = load_contract(load_settings({}).dbt_dir, "outcomes")
    looked_at = 0
    for milliseconds in range(TEN, TEN + 10**11, 777_777_777):
        _day, line = stream._row(f"{milliseconds}-{looked_at}".encode(), {b"data": b"x"}, contract, DAY)
        assert redact_text(line) == line
        looked_at += 1
    assert looked_at > 100
