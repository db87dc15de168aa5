"""The endpoint takes what the contract knows, refuses the rest without echo, and loses nothing that it acknowledged."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from ratchet.capture.api import LARGEST_BODY, make_app
from ratchet.landing.contract import load_contract
from ratchet.landing.land import land_range
from ratchet.loop import load_loop
from ratchet.settings import load_settings
from ratchet.warehouse.connect import open_warehouse

NOW = datetime(2013, 5, 14, 12, tzinfo=UTC)
URL = "/v1/loops/flights/feedback"
RATING = {"prediction_id": "P1", "unit_id": "U1", "channel": "rating", "rating": 2}


def client_of(home: Path, **env: str) -> TestClient:
    settings = load_settings({"RATCHET_HOME": str(home), **env})
    return TestClient(make_app(settings, ("flights",), per_second=1_000, burst=1_000, clock=lambda: NOW))


def keyed(n: int) -> dict[str, str]:
    return {"Idempotency-Key": f"key-{n:06d}"}


def landed(home: Path, source: str = "feedback") -> list[dict[str, Any]]:
    files = sorted((home / "landing" / "flights" / source).rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_each_channel_becomes_rows_of_its_contract(tmp_path: Path) -> None:
    shared = {"prediction_id": "P1", "unit_id": "U1"}
    messages = [
        RATING,
        {**shared, "channel": "thumbs", "is_helpful": False},
        {**shared, "channel": "prompt_asked", "prompt_id": "Q1"},
        {**shared, "channel": "prompt_answered", "prompt_id": "Q1", "text": "Call 212-555-0142, I am Anna Schmidt"},
        {**shared, "channel": "ticket", "subject": "Late", "text": "jo@example.com", "thread_id": "T",
         "ticket_status": "new", "resolution": "Refunded to jo@example.com",
         "consent": {"use_for_training": True, "contact": False}},
        {**shared, "channel": "telemetry", "event": "app_error", "event_count": 3},
        {**shared, "channel": "telemetry", "event": "app_latency", "latency_ms": 1_840},
        {**shared, "channel": "telemetry", "event": "alert_dismissed"},
        {**shared, "channel": "telemetry", "event": "screen_reopened"},
    ]  # fmt: skip
    with client_of(tmp_path) as client:
        for n, message in enumerate(messages):
            assert client.post(URL, json=message, headers=keyed(n)).status_code == 202, message
    rows = landed(tmp_path)
    assert Counter(row["channel"] for row in rows) == Counter(
        ["rating", "thumbs", "prompt_answered", "ticket"]
    )
    told = landed(tmp_path, "telemetry")
    assert Counter(row["event_type"] for row in told) == Counter(
        ["rating_asked", "app_error", "app_latency", "alert_dismissed", "screen_reopened"]
    )
    assert {row["event_type"]: row.get("latency_ms") for row in told if "latency_ms" in row} == {
        "app_latency": 1_840
    }
    ticket = next(row for row in rows if row["channel"] == "ticket")
    assert (ticket["subject"], ticket["thread_id"], ticket["ticket_status"]) == ("Late", "T", "new")
    assert ticket["resolution"] == "Refunded to [EMAIL]"
    assert [row["is_helpful"] for row in rows if row["channel"] == "thumbs"] == [False]
    assert {row["prompt_id"] for row in rows if row["channel"] == "prompt_answered"} == {"Q1"}
    text = json.dumps(rows)
    assert "0142" not in text and "Schmidt" not in text and "example.com" not in text
    assert next(row for row in rows if row["channel"] == "ticket")["consent"] == "use_for_training"
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    for source, found in (("feedback", rows), ("telemetry", told)):
        contract = load_contract(settings.dbt_dir, source)
        required = {column.name for column in contract.columns if column.required}
        for row in found:
            assert required <= set(row) <= set(contract.names)
    loop, day = load_loop(settings.loops_dir / "flights.yml"), NOW.date()
    with open_warehouse(settings, purpose="test") as wh:
        report = land_range(loop, settings, wh, day, day, lambda line: None)
        latency = wh.scalar("select latency_ms from raw.telemetry where event_type = 'app_latency'")
    assert (report.rows_landed, report.rows_quarantined, latency) == (len(messages), 0, 1_840)


def test_the_same_key_is_one_row_and_another_content_is_refused(tmp_path: Path) -> None:
    with client_of(tmp_path) as client:
        first = client.post(URL, json=RATING, headers=keyed(1)).json()
        again = client.post(URL, json=RATING, headers=keyed(1)).json()
        assert (first["id"], first["is_new"], again["is_new"]) == (again["id"], True, False)
        assert client.post(URL, json={**RATING, "rating": 5}, headers=keyed(1)).status_code == 409
    assert len(landed(tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"rating": 6}, 422),
        ({"rating": "2"}, 422),
        ({"rating": None}, 422),
        ({"latency_ms": 5}, 422),
        ({"channel": "telemetry", "event": "app_latency"}, 422),
        ({"unknown": "secret-word"}, 422),
        ({"channel": "fax"}, 422),
        ({"text": "x" * 4_001}, 422),
        ({"text": "nul \x00"}, 422),
        ({"prediction_id": "a b"}, 422),
        ({"event_at": "2013-05-14T13:00:00Z"}, 422),
        ({"event_at": "2013-05-14T11:00:00"}, 422),
        ({"text": "x" * LARGEST_BODY}, 413),
    ],
)
def test_what_is_refused_is_neither_kept_nor_echoed(
    tmp_path: Path, change: dict[str, Any], status: int
) -> None:
    with client_of(tmp_path) as client:
        found = client.post(URL, json={**RATING, **change}, headers=keyed(1))
    assert found.status_code == status, found.text
    assert "secret-word" not in found.text and "xxxx" not in found.text
    assert landed(tmp_path) == []


def test_other_refusals(tmp_path: Path) -> None:
    with client_of(tmp_path, RATCHET_FEEDBACK_KEY="s3cret") as client:
        assert client.post(URL, json=RATING, headers=keyed(1)).status_code == 401
        good = {**keyed(1), "Authorization": "Bearer s3cret"}
        assert client.post(URL, json=RATING, headers={**good, "Idempotency-Key": "x"}).status_code == 400
        for body in (b"{", b"[" * 20_000, b"\xff", b'{"rating": NaN}'):
            assert client.post(URL, content=body, headers=good).status_code in (400, 422), body[:10]
        assert client.post("/v1/loops/other/feedback", json=RATING, headers=good).status_code == 404
        assert client.post(URL, json=RATING, headers=good).status_code == 202
    settings = load_settings({"RATCHET_HOME": str(tmp_path / "slow")})
    with TestClient(make_app(settings, ("flights",), per_second=0.1, burst=2, clock=lambda: NOW)) as client:
        codes = [client.post(URL, json=RATING, headers=keyed(n)).status_code for n in range(3)]
    assert codes == [202, 202, 429]


class Server:
    """A real process on a port of its own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.home = home

    def start(self) -> None:
        command = [
            sys.executable,
            "-c",
            "from ratchet.cli import app; app()",
            "feedback",
            "serve",
            "--port",
            str(self.port),
        ]
        options = ["--per-second", "100000", "--burst", "100000", "--rotate-seconds", "0.3"]
        env = {**os.environ, "RATCHET_HOME": str(self.home)}
        self.process = subprocess.Popen([*command, *options], env=env)
        for _ in range(300):
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=1)
                return
            except httpx.HTTPError:
                assert self.process.poll() is None, "the endpoint did not start"
                time.sleep(0.1)
        raise AssertionError("the endpoint did not answer")

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=30)


def test_killed_under_load_nothing_acknowledged_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    server, acknowledged, lock = Server(tmp_path), set[str](), threading.Lock()
    workers, each, rounds = 4, 60, 3

    def write(worker: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=5) as client:
            for n in range(each * rounds):
                key = f"worker-{worker}-{n:05d}"
                while True:  # a client that keeps at it: the same key until it is told
                    try:
                        found = client.post(
                            URL, json={**RATING, "text": f"late {key}"}, headers={"Idempotency-Key": key}
                        )
                    except httpx.HTTPError:
                        time.sleep(0.05)
                        continue
                    assert found.status_code == 202, found.text
                    with lock:
                        acknowledged.add(found.json()["id"])
                    break

    server.start()
    threads = [threading.Thread(target=write, args=(n,)) for n in range(workers)]
    for thread in threads:
        thread.start()
    for kill in range(1, rounds):
        while True:
            with lock:
                if len(acknowledged) >= workers * each * kill:
                    break
            time.sleep(0.01)
        server.end(signal.SIGKILL)
        server.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    server.end(signal.SIGTERM)
    found = Counter(row["feedback_id"] for row in landed(tmp_path))
    assert len(acknowledged) == workers * each * rounds
    assert set(found) == acknowledged
    assert max(found.values()) == 1
    assert not list((tmp_path / "inbox").rglob("api-*"))
