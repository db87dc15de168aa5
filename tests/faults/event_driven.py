"""A queue's messages through a real scheduler and triggerer: landed by the runs that the watcher starts.

Takes two to three minutes on two cores, so it is asked for by name: `python -m pytest tests/faults/event_driven.py`.
"""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.engines import running_redis

from ratchet.replay.airflow_api import AirflowApi
from ratchet.replay.services import free_port, prepare_database, running_airflow
from ratchet.settings import load_settings
from ratchet.warehouse.connect import open_warehouse

ROOT = Path(__file__).parents[2]
SECRET = "canary-4711-password"
DAG = "flights__ingest_stream"


def answer(n: int) -> dict[str, str]:
    row = {"feedback_id": f"f{n}", "prediction_id": f"p{n}", "unit_id": f"u{n}", "channel": "rating", "rating": 4,
           "is_simulated": True, "event_at": "2013-05-14T08:00:00Z",
           "received_at": f"2013-05-{14 + n // 50:02d}T10:00:00Z"}  # fmt: skip
    return {"data": json.dumps(row)}


def wait_for_acknowledgement(queue: Any, messages: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        groups = queue.xinfo_groups("answers")
        if groups and groups[0]["entries-read"] == messages and groups[0]["pending"] == 0:
            return
        time.sleep(0.5)
    raise AssertionError(f"not read after {seconds:.0f} s: {queue.xinfo_groups('answers')}")


def wait_until_idle(api: AirflowApi, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while api.runs(("queued", "running")):
        assert time.monotonic() < deadline, api.runs(("queued", "running"))
        time.sleep(0.5)


def test_messages_are_landed_by_the_runs_that_they_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "checkout"
    (own / "loops").mkdir(parents=True)
    for folder in ("dbt", "dags", "plugins", "expectations"):
        (own / folder).symlink_to(ROOT / folder)
    text = (ROOT / "loops" / "flights.yml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("  feedback:"))
    entry = "  feedback: {adapter: stream, connection: queue, stream: answers}"
    (own / "loops" / "flights.yml").write_text(text.replace(line, entry), encoding="utf-8")
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as server:
        queue = redis.Redis.from_url(server.url)
        queue.config_set("requirepass", SECRET)
        queue = redis.Redis.from_url(server.url, password=SECRET)
        fields = {"conn_type": "redis", "host": "127.0.0.1", "port": server.port, "password": SECRET}
        monkeypatch.setenv("AIRFLOW_CONN_QUEUE", json.dumps(fields))
        settings = load_settings({"RATCHET_ROOT": str(own), "RATCHET_HOME": str(tmp_path / "home")})
        from ratchet.ledger.store import migrate

        (settings.home / "ledger").mkdir(parents=True)
        migrate(settings.ledger_url)
        (settings.home / "airflow").mkdir(parents=True)
        prepare_database(settings)
        started = time.monotonic()
        with running_airflow(settings, free_port(8099)) as url:
            api = AirflowApi(url)
            api.wait_for_dags({DAG}, 120)
            print(f"Airflow is up after {time.monotonic() - started:.0f} s")  # noqa: T201
            for first in (0, 40, 80):
                for n in range(first, first + 40):
                    queue.xadd("answers", answer(n))
                sent = time.monotonic()
                wait_for_acknowledgement(queue, first + 40, 120)
                print(f"messages {first}..{first + 39} acknowledged after {time.monotonic() - sent:.1f} s")  # noqa: T201
            wait_until_idle(api, 120)
            runs = [run for run in api.runs(("success", "failed")) if run.dag_id == DAG]
            print(f"{len(runs)} runs: {[(run.state, api.tasks(run)) for run in runs]}")  # noqa: T201
            assert runs
            builds = [
                run for run in api.runs(("success", "failed")) if run.dag_id == "flights__build_warehouse"
            ]
            assert builds, "raw_events was announced"
        with open_warehouse(settings, purpose="test") as wh:
            landed = wh.frame("select received_date, count(*) as n from raw.feedback group by 1 order by 1")
            assert landed["n"].tolist() == [50, 50, 20]
            assert wh.scalar("select sum(rows_duplicate) from ops.landings") == 0
    looked_at = 0
    for path in settings.home.rglob("*"):
        if path.is_file():
            looked_at += 1
            assert SECRET.encode() not in path.read_bytes(), path
    assert looked_at > 20
    with sqlite3.connect(settings.home / "airflow" / "airflow.db") as metadata:
        events = metadata.execute("select count(*) from asset_event").fetchone()[0]
    assert events >= len(runs)
