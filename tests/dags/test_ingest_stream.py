"""A loop with a table and a queue: its DAGs, what its tasks do, and the watcher that starts them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.engines import RedisServer, running_redis

ROOT = Path(__file__).parents[2]


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
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout whose loop takes outcomes from a table and feedback from a queue."""
    from ratchet.airflow.loops import declared_loops

    own = tmp_path / "checkout"
    (own / "loops").mkdir(parents=True)
    for folder in ("dbt", "dags", "plugins", "expectations"):
        (own / folder).symlink_to(ROOT / folder)
    text = (ROOT / "loops" / "flights.yml").read_text(encoding="utf-8")
    for source, entry in {
        "outcomes": "{adapter: table, connection: feed, table: outcomes}",
        "feedback": "{adapter: stream, connection: queue, stream: answers}",
    }.items():
        line = next(line for line in text.splitlines() if line.startswith(f"  {source}:"))
        text = text.replace(line, f"  {source}: {entry}")
    (own / "loops" / "flights.yml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("RATCHET_ROOT", str(own))
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path / "home"))
    declared_loops.cache_clear()
    yield own
    declared_loops.cache_clear()


def dags(root: Path) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(root / "dags"))
    assert bag.import_errors == {}
    return dict(bag.dags)


def answer(n: int, **changes: Any) -> dict[str, str]:
    row = {"feedback_id": f"f{n}", "prediction_id": f"p{n}", "unit_id": f"u{n}", "channel": "rating", "rating": 4,
           "is_simulated": True, "event_at": "2013-05-14T08:00:00Z", "received_at": "2013-05-14T10:00:00Z",
           **changes}  # fmt: skip
    return {"data": json.dumps(row)}


def prepared(tmp_path: Path) -> Any:
    from ratchet.ledger.store import migrate
    from ratchet.settings import load_settings

    settings = load_settings()
    (settings.home / "ledger").mkdir(parents=True)
    migrate(settings.ledger_url)
    return settings


def test_a_loop_with_a_queue_has_a_dag_that_its_watcher_starts(root: Path) -> None:
    found = dags(root)
    stream = found["flights__ingest_stream"]
    order = [task.task_id for task in stream.topological_sort()]
    assert order == ["pull_stream", "land_pulled", "gate_pulled", "hold_blocked"]
    assert all(f"`{task}`" in stream.doc_md for task in order)
    (asset,) = stream.timetable.asset_condition.objects
    assert asset.name == "flights__queue_feedback"
    (watcher,) = asset.watchers
    path, arguments = watcher.trigger.serialize()
    assert path == "ratchet.airflow.watchers.StreamTrigger"
    assert arguments == {"connection": "queue", "stream": "answers", "group": "ratchet"}
    daily = [task.task_id for task in found["flights__ingest_events"].topological_sort()]
    assert daily == ["pull_sources", "land_files", "gate_landing", "hold_blocked"]
    slots = {
        task.task_id: task.pool for each in (stream, found["flights__ingest_events"]) for task in each.tasks
    }
    without = sorted(name for name, pool in slots.items() if pool == "default_pool")
    assert without == ["hold_blocked", "pull_sources", "pull_stream"], "a slow source keeps nobody waiting"
    outlets = {outlet.name for task in stream.tasks for outlet in task.outlets}
    assert outlets == {"flights__raw_events__when_any"}


def test_a_loop_of_files_has_neither(airflow_home: Path) -> None:
    found = dags(ROOT)
    assert found
    assert not [name for name in found if name.endswith("ingest_stream")]
    assert "pull_sources" not in found["flights__ingest_events"].task_ids


def test_the_tasks_land_a_queue_and_then_find_nothing(
    root: Path, queue: Any, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.warehouse.connect import open_warehouse

    settings = prepared(tmp_path)
    own = {"conn_type": "redis", "host": "127.0.0.1", "port": server.port, "extra": {"db": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_QUEUE", json.dumps(own))
    for n in range(5):
        queue.xadd("answers", answer(n))
    dag = dags(root)["flights__ingest_stream"]
    run = dag.test()
    assert run.state == "success", {t.task_id: t.state for t in run.get_task_instances()}
    with open_warehouse(settings, purpose="test") as wh:
        assert wh.scalar("select count(*) from raw.feedback") == 5
        assert wh.scalar("select count(*) from ops.partition_gates") == 1
    again = dag.test()
    states = {t.task_id: t.state for t in again.get_task_instances()}
    assert states["pull_stream"] == "success"
    assert {states[name] for name in ("land_pulled", "gate_pulled", "hold_blocked")} == {"skipped"}


def test_the_daily_run_pulls_tables_and_drains_queues(
    root: Path, queue: Any, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.published import read
    from ratchet.warehouse.connect import open_warehouse

    settings = prepared(tmp_path)
    feed = tmp_path / "feed.db"
    with sqlite3.connect(feed) as source:
        source.execute("create table outcomes (outcome_id, unit_id, outcome_value, event_at, received_at)")
        source.execute(
            "insert into outcomes values ('o1', 'u1', 3, '2013-05-14 01:00:00', '2013-05-14 02:00:00')"
        )
    monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps({"conn_type": "sqlite", "host": str(feed)}))
    monkeypatch.setenv("RATCHET_CONNECTION_QUEUE", server.url)
    queue.xadd("answers", answer(1))
    queue.xadd("answers", answer(2, received_at="2013-05-02T10:00:00Z", event_at="2013-05-02T09:00:00Z"))
    dag = dags(root)["flights__ingest_events"]
    run = dag.test(run_conf={"start": "2013-05-14", "end": "2013-05-14"})
    states = {t.task_id: t.state for t in run.get_task_instances()}
    # Sources without a file are due every day, so the gate blocks them: the last task says so.
    assert states == {"pull_sources": "success", "land_files": "success", "gate_landing": "success",
                      "hold_blocked": "failed"}  # fmt: skip
    with open_warehouse(settings, purpose="test") as wh:
        assert wh.scalar("select count(*) from raw.outcomes") == 1
        found = wh.frame("select received_date from raw.feedback order by 1")["received_date"]
    assert [f"{day:%m-%d}" for day in found] == ["05-02", "05-14"], "also a day beside the window"
    summary = read(settings, "flights", "sources")
    assert summary is not None
    assert summary["sources"]["outcomes"]["days"]["2013-05-14"] == {"in_table": 1, "landed": 1, "missing": 0}


def test_connections_come_from_airflow_first_and_show_no_secret(
    root: Path, airflow_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.airflow.connections import with_connections
    from ratchet.airflow.loops import loop_named
    from ratchet.connections import ConnectionMissing, connection_url
    from ratchet.settings import load_settings

    loop = loop_named("flights")
    monkeypatch.setenv("RATCHET_CONNECTION_QUEUE", "redis://from-the-environment/0")
    feed = {"conn_type": "postgres", "host": "db", "login": "me", "password": "canary/7@", "schema": "sales"}
    monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps(feed))
    settings = with_connections(load_settings(), loop)
    assert connection_url("queue", settings) == "redis://from-the-environment/0"
    assert connection_url("feed", settings) == "postgresql+psycopg2://me:canary%2F7%40@db/sales"
    assert "canary" not in repr(settings)
    safe = {"conn_type": "redis", "host": "q", "port": 6380, "password": "x", "extra": {"db": 2, "ssl": True}}
    monkeypatch.setenv("AIRFLOW_CONN_QUEUE", json.dumps(safe))
    assert connection_url("queue", with_connections(load_settings(), loop)) == "rediss://:x@q:6380/2"
    monkeypatch.delenv("AIRFLOW_CONN_FEED")
    with pytest.raises(
        ConnectionMissing, match="Airflow connection with the id feed, or set RATCHET_CONNECTION_FEED"
    ):
        connection_url("feed", with_connections(load_settings(), loop))


#: A watcher that says nothing for so long has stopped. Far above what a busy machine needs.
LONGEST_SECONDS = 120.0


class Watched:
    """What a trigger has fired so far, while the block runs."""

    def __init__(self, trigger: Any) -> None:
        self.found: list[Any] = []
        self._trigger = trigger

    async def _collect(self) -> None:
        async for event in self._trigger.run():
            self.found.append(event.payload)

    async def __aenter__(self) -> Watched:
        self._task = asyncio.create_task(self._collect())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def until(self, events: int) -> None:
        """Wait for so many events in all."""
        async with asyncio.timeout(LONGEST_SECONDS):
            while len(self.found) < events:
                await asyncio.sleep(0.05)


async def _events(trigger: Any, wanted: int, quiet_seconds: float = 1.0) -> list[Any]:
    """What the trigger fires until there are `wanted` events, and for `quiet_seconds` after that."""
    async with Watched(trigger) as watched:
        await watched.until(wanted)
        await asyncio.sleep(quiet_seconds)
    return watched.found


def _at_once(queue: Any, numbers: range) -> list[bytes]:
    """Messages that nobody can see apart; their ids."""
    with queue.pipeline(transaction=True) as pipe:
        for n in numbers:
            pipe.xadd("answers", answer(n))
        return list(pipe.execute())


def test_the_watcher_gathers_messages_takes_none_and_survives_a_crash(
    root: Path, queue: Any, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.airflow import watchers

    monkeypatch.setenv("RATCHET_CONNECTION_QUEUE", server.url)
    monkeypatch.setenv("RATCHET_SENSOR_POLL_SECONDS", "0.4")
    monkeypatch.setattr(watchers, "_BLOCK_MILLISECONDS", 200)
    trigger = watchers.StreamTrigger("queue", "answers", "ratchet")

    async def trial() -> tuple[list[Any], list[Any], list[Any]]:
        async with Watched(trigger) as watched:
            first = _at_once(queue, range(5))
            await watched.until(1)
            server.kill()
            await asyncio.sleep(0.5)
            server.start()
            second = _at_once(queue, range(5, 8))
            await watched.until(2)
            await asyncio.sleep(1.0)
        return first, second, watched.found

    first, second, found = asyncio.run(trial())
    assert [event["last_id"].encode() for event in found] == [first[-1], second[-1]]
    assert {event["stream"] for event in found} == {"answers"}
    assert queue.xlen("answers") == 8
    assert queue.xinfo_groups("answers") == [], "a watcher reads, it consumes nothing"


def test_a_watcher_that_starts_late_sees_what_waits_and_no_more(
    root: Path, queue: Any, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.airflow import watchers

    monkeypatch.setenv("RATCHET_CONNECTION_QUEUE", server.url)
    monkeypatch.setenv("RATCHET_SENSOR_POLL_SECONDS", "0.1")
    monkeypatch.setattr(watchers, "_BLOCK_MILLISECONDS", 200)
    trigger = watchers.StreamTrigger("queue", "answers", "ratchet")
    last = [queue.xadd("answers", answer(n)) for n in range(3)][-1]
    assert [e["last_id"] for e in asyncio.run(_events(trigger, 1))] == [last.decode()]
    queue.xgroup_create("answers", "ratchet", id="0")
    queue.xreadgroup("ratchet", "someone", {"answers": ">"})
    assert len(asyncio.run(_events(trigger, 1))) == 1, "delivered, but nobody acknowledged it"
    queue.xack("answers", "ratchet", *[key for key, _ in queue.xrange("answers")])
    assert asyncio.run(_events(trigger, 0)) == []


def test_a_dag_file_of_a_loop_of_files_imports_no_trigger() -> None:
    code = "import sys, ratchet_dags.assets; print('airflow.triggers.base' in sys.modules, 'redis' in sys.modules)"
    own = {"PYTHONPATH": f"{ROOT / 'plugins'}:{ROOT / 'dags'}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    assert done.stdout.split()[-2:] == ["False", "False"]
