"""A real api-server of Airflow for the pages' tests, with users of its own, and a browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from ratchet.replay.services import airflow_command, airflow_environment, free_port
from ratchet.settings import Settings
from ratchet.stages.accounts import ALL_ADMINS, USERS, Login, parsed, passwords

ROOT = Path(__file__).resolve().parents[2]
#: Beside those of docker-compose.yml: one who is asked and may only look, one who may do much but is no approver.
OTHERS = {"ana": "viewer", "eve": "op"}
CHROMIUM = Path("/usr/bin/chromium")


@dataclass(frozen=True)
class Served:
    """Where Airflow answers, and each user's session."""

    url: str
    settings: Settings
    tokens: dict[str, str]
    passwords: dict[str, str]

    def get(self, path: str, user: str | None = None, **more: object) -> requests.Response:
        """A page as `user` gets it; no redirect is followed."""
        cookies = {} if user is None else {"_token": self.tokens[user]}
        return requests.get(f"{self.url}{path}", cookies=cookies, allow_redirects=False, timeout=30, **more)  # type: ignore[arg-type]


def composed() -> dict[str, str]:
    """How docker-compose.yml lets people in where .env says nothing else."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    told = services["airflow-api-server"]["environment"]
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", told[name]) for name in (ALL_ADMINS, USERS)}


@contextmanager
def api_server(settings: Settings) -> Iterator[Served]:
    """The server while the block runs, on a metadata database of its own."""
    port = free_port(0)
    given = composed()
    login = Login({**parsed(given[USERS]), **OTHERS}, settings.home / "airflow" / "passwords.json")
    environment = {
        **airflow_environment(settings, port),
        **login.environment,
        ALL_ADMINS: given[ALL_ADMINS],
        "RATCHET_PRELOAD": "0",
    }
    kept = passwords(login.passwords_path, list(login.users))
    migrated = subprocess.run(
        airflow_command("db", "migrate"), env=environment, capture_output=True, text=True
    )
    assert migrated.returncode == 0, migrated.stderr[-2000:]
    log = settings.home / "api-server.log"
    with log.open("wb") as handle:
        process = subprocess.Popen(
            airflow_command("api-server", "--apps", "core"), env=environment, stdout=handle, stderr=handle,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, f"the api-server ended: {log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"the api-server did not answer: {log.read_text()[-3000:]}"
            try:
                if requests.get(f"{url}/api/v2/version", timeout=2).ok:
                    break
            except requests.RequestException:
                time.sleep(0.2)
        tokens = {}
        for name, password in kept.items():
            answer = requests.post(
                f"{url}/auth/token", json={"username": name, "password": password}, timeout=30
            )
            tokens[name] = answer.json()["access_token"]
        yield Served(url, settings, tokens, kept)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def chromium() -> Path:
    """Debian's browser; a skip by name where it is not installed."""
    if not CHROMIUM.exists():
        pytest.skip("engine chromium is not installed (Debian package chromium)")
    return CHROMIUM
