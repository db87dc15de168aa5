"""The feedback endpoint under load, its process killed once: how many a second, how long, and what is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

from benchmarks.report import Figure

CLIENTS, MEASURED, KILLED = 8, 4_000, 800
_TEXT = "No warning at all, I missed my connection. Call 212-555-0142, I am Anna Schmidt, number {n}"


class Endpoint:
    """`ratchet feedback serve` as a process of its own, its state under `home`."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._home = home
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer within a minute.
        """
        command = [sys.executable, "-c", "from ratchet.cli import app; app()", "feedback", "serve"]
        options = ["--port", str(self.port), "--per-second", "1000000", "--burst", "1000000"]
        env = {**os.environ, "RATCHET_HOME": str(self._home)}
        self._process = subprocess.Popen([*command, *options], env=env)
        for _ in range(600):
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=1)
                return
            except httpx.HTTPError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.1)
        raise RuntimeError("the endpoint did not start")

    def end(self, number: int) -> None:
        """Send the signal and wait for the end."""
        self._process.send_signal(number)
        self._process.wait(timeout=60)


def endpoint() -> list[Figure]:
    """Eight clients that keep their connection and send as fast as they are answered, on the same machine."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server, seconds = Endpoint(home), list[float]()
        acknowledged, lock = set[str](), threading.Lock()
        try:
            began = time.perf_counter()
            _send(server, "measured", MEASURED, acknowledged, seconds, lock)
            took = time.perf_counter() - began
            killer = threading.Thread(target=_kill_and_start, args=(server, acknowledged, lock))
            killer.start()
            _send(server, "killed", KILLED, acknowledged, [], lock)
            killer.join()
        finally:
            server.end(signal.SIGTERM)
        files = sorted((home / "landing" / "flights" / "feedback").rglob("*.jsonl"))
        found = Counter(
            json.loads(line)["feedback_id"] for file in files for line in file.read_text().splitlines()
        )
    if len(acknowledged) != MEASURED + KILLED or len(seconds) != MEASURED:
        raise RuntimeError(f"{len(acknowledged)} of {MEASURED + KILLED} messages were acknowledged")
    note = (
        f"{MEASURED} messages with personal data, {CLIENTS} clients on the same machine, each answer on disk"
    )
    return [
        Figure("endpoint, messages taken", MEASURED / took, "a second", 100, "higher", note),
        Figure("endpoint, time of an answer, median", 1_000 * float(np.quantile(seconds, 0.5)), "ms"),
        Figure("endpoint, time of an answer, 99 in 100", 1_000 * float(np.quantile(seconds, 0.99)), "ms", 500),
        Figure("endpoint, acknowledged and lost or there twice", len(acknowledged - set(found))
               + sum(n > 1 for n in found.values()), "messages", 0,
               note=f"of {len(acknowledged)}; the process was killed (SIGKILL) within the last {KILLED}"),
    ]  # fmt: skip


def _send(
    server: Endpoint,
    kind: str,
    count: int,
    acknowledged: set[str],
    seconds: list[float],
    lock: threading.Lock,
) -> None:
    """`count` messages by all clients together; each keeps at one until it is acknowledged."""

    def work(client: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=10) as http:
            for n in range(client, count, CLIENTS):
                message = {"prediction_id": f"P{n}", "unit_id": "U1", "channel": "rating", "rating": 2,
                           "text": _TEXT.format(n=n), "is_simulated": True}  # fmt: skip
                while True:
                    began = time.perf_counter()
                    try:
                        headers = {"Idempotency-Key": f"{kind}-{n:06d}"}
                        answer = http.post("/v1/loops/flights/feedback", json=message, headers=headers)
                    except httpx.HTTPError:
                        time.sleep(0.05)
                        continue
                    if answer.status_code == 202:
                        break
                    time.sleep(0.05)
                with lock:
                    seconds.append(time.perf_counter() - began)
                    acknowledged.add(answer.json()["id"])

    threads = [threading.Thread(target=work, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _kill_and_start(server: Endpoint, acknowledged: set[str], lock: threading.Lock) -> None:
    while True:
        with lock:
            if len(acknowledged) >= MEASURED + KILLED // 4:
                break
        time.sleep(0.005)
    server.end(signal.SIGKILL)
    server.start()
