"""Processes that write the ledger at once and are killed at any instant leave one chain without a gap."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.engines import new_database

from ratchet.ledger.anchor import read_anchor
from ratchet.ledger.store import Ledger, migrate

WRITERS, KILLS = 3, 6
CODE = """
import sys
from datetime import datetime
from pathlib import Path
from ratchet.ledger.store import Ledger
ledger, name = Ledger(sys.argv[1], Path(sys.argv[2])), sys.argv[3]
print("ready", flush=True)
for n in range(100_000):
    ledger.append(loop="flights", kind="health", key=f"{name}-{n}", as_of=datetime(2013, 5, 14), payload={"n": n})
"""


@pytest.mark.parametrize("engine_of_ledger", ["sqlite", "postgres"])
def test_killed_writers_leave_one_chain(
    engine_of_ledger: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine_of_ledger == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        url = new_database(request.getfixturevalue("postgres_server"))
    migrate(url)
    anchor, rng, names = tmp_path / "anchors" / "anchor.json", random.Random(7), iter(range(1000))
    ledger = Ledger(url, anchor)

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CODE, url, str(anchor), str(next(names))]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "plugins"}
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    running = [start() for _ in range(WRITERS)]
    try:
        for kill in range(KILLS):
            time.sleep(rng.uniform(0.02, 0.3))
            victim = running.pop(rng.randrange(len(running)))
            victim.kill()
            victim.wait()
            found = ledger.verify()  # while the others go on writing
            assert found.problem is None or "no anchor" in found.problem, found.problem
            if kill < KILLS - WRITERS:
                running.append(start())
    finally:
        for process in running:
            process.kill()
            process.wait()
    result = ledger.verify()
    assert result.ok, result.problem
    assert result.entries > KILLS, "hardly anything was written: the test looked at nothing"
    entries = ledger.entries()
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    for name in {entry.key.split("-")[0] for entry in entries}:
        own = [int(entry.key.split("-")[1]) for entry in entries if entry.key.startswith(f"{name}-")]
        assert own == list(range(len(own))), "a writer's entries stand in its order, none is lost"
    anchored = read_anchor(anchor)
    assert anchored is not None
    assert 0 < anchored.seq <= len(entries), "the anchor may lag, it never leads"
