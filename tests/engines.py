"""Real servers for tests, started for one session and stopped with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from ratchet.settings import Settings, load_settings

#: Every engine that the warehouse runs on.
ENGINES = ("duckdb", "postgres")


def _binary(name: str) -> str | None:
    found = shutil.which(name)
    if found:
        return found
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(versions[-1]) if versions else None


@contextmanager
def running_postgres() -> Iterator[str]:
    """A Postgres of its own; gives its SQLAlchemy URL. Skips, by name, where it is not installed."""
    initdb, server = _binary("initdb"), _binary("pg_ctl")
    if initdb is None or server is None:
        pytest.skip("engine postgres is not installed (Debian package postgresql)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not under pytest's folder: every new session shuts that one to other users.
    folder, user = Path(tempfile.mkdtemp(prefix="ratchet-postgres-")), []
    if os.geteuid() == 0:
        # The server refuses to run as root; Debian's package brings the user postgres.
        user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    data = folder / "data"
    run = lambda *command: subprocess.run([*user, *command], check=True, capture_output=True, cwd="/")  # noqa: E731
    options = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} "
        "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=50"
    )
    try:
        run(initdb, "-D", str(data), "-U", "ratchet", "--auth=trust", "--encoding=UTF8", "--no-sync")
        run(server, "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql+psycopg2://ratchet@127.0.0.1:{port}/postgres"
        finally:
            run(server, "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class RedisServer:
    """A Redis of its own that writes every command to disk before it answers; `kill` and `start` are a crash."""

    def __init__(self, binary: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._command = [
            binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", "always", "--logfile", str(folder / "redis.log"),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"redis-server did not start; see {self._folder / 'redis.log'}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """A Redis of its own in `folder`. Skips, by name, where it is not installed."""
    binary = _binary("redis-server")
    if binary is None:
        pytest.skip("engine redis is not installed (Debian package redis-server)")
    server = RedisServer(binary, folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def new_database(server: str) -> str:
    """A database of its own on the server at `server`, as a warehouse needs it; gives its address."""
    address, name = server.replace("+psycopg2", ""), f"warehouse_{uuid.uuid4().hex[:12]}"
    connection = psycopg2.connect(address)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"create database {name} encoding 'UTF8' lc_collate 'C' template template0")
    finally:
        connection.close()
    return f"{address.rpartition('/')[0]}/{name}"


def settings_on(engine: str, home: Path, server: str | None, **more: str) -> Settings:
    """Settings with all state under `home` and an empty warehouse on `engine`; `more` are variables."""
    environment = {"RATCHET_HOME": str(home), **more}
    # One key for all: the same person has the same name on every engine.
    key = home / "secrets" / "person.key"
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text("a key for tests only", encoding="utf-8")
    key.chmod(0o600)
    if engine == "postgres":
        assert server is not None, "the server of the fixture postgres_server"
        environment["RATCHET_WAREHOUSE_URL"] = new_database(server)
    return load_settings(environment)


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that give another process these settings of the warehouse."""
    environment = {
        "RATCHET_HOME": str(settings.home),
        "RATCHET_WAREHOUSE_PATH": str(settings.warehouse_path),
        "RATCHET_LOCK_WAIT_SECONDS": str(settings.lock_wait_seconds),
    }
    return environment | ({"RATCHET_WAREHOUSE_URL": settings.warehouse_url} if settings.warehouse_url else {})
