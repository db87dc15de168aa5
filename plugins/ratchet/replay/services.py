"""Airflow's processes for the embedded default: SQLite metadata, LocalExecutor, one machine.

What must stay out of here: anything a production installation needs; docker-compose.yml is that.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from ratchet.settings import Settings, process_environment

COMPONENTS = ("scheduler", "dag-processor", "triggerer", "api-server")


class ServiceFailed(RuntimeError):
    """A process of Airflow ended or did not answer; the message names its log."""


def free_port(preferred: int) -> int:
    """`preferred` if nobody listens there, else any free port of this machine."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServiceFailed("this machine has no free port")


def _secrets(settings: Settings) -> dict[str, str]:
    path = settings.home / "airflow" / "secrets.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = {
            "fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt": secrets.token_hex(32),
            "api": secrets.token_hex(32),
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            json.dump(fresh, handle)
    return dict(json.loads(path.read_text()))


def airflow_environment(settings: Settings, port: int) -> dict[str, str]:
    """The environment of every Airflow process: paths under the state folder, nothing sent anywhere.

    The API listens on the loopback address only; whoever reaches it is its admin, unless there is a login.
    """
    home, keys = settings.home / "airflow", _secrets(settings)
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # SQLite has one writer and the reference machine two cores: more tasks at once would only wait.
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        # Tasks are forked from the scheduler: what the plugin imports there, no task imports again.
        "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "False",
        "AIRFLOW__CORE__MP_START_METHOD": "fork",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": keys["api"],
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt"],
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "120",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(settings.home / "logs" / "tasks"),
        "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
        "AIRFLOW__COSMOS__PROPAGATE_LOGS": "True",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "GX_ANALYTICS_ENABLED": "false",
        # Threads of a fit that wait for each other sleep: on two busy cores spinning costs more than the work.
        "OMP_WAIT_POLICY": "PASSIVE",
        "DO_NOT_TRACK": "1",
        "SCARF_ANALYTICS": "false",
        "RATCHET_ROOT": str(settings.root),
        "RATCHET_HOME": str(settings.home),
        "RATCHET_PRELOAD": "1",
        "RATCHET_SENSOR_POLL_SECONDS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    paths = [str(settings.root / "plugins"), str(settings.root / "dags")]
    return {**process_environment(), **own, "PYTHONPATH": os.pathsep.join(paths)}


def airflow_command(*arguments: str) -> list[str]:
    """`airflow ...` of this Python."""
    return [sys.executable, "-m", "airflow", *arguments]


def prepare_database(settings: Settings) -> None:
    """Create Airflow's metadata and the warehouse pool; running it again changes nothing.

    Raises:
        ServiceFailed: a command failed; the message holds the end of its output.
    """
    environment = airflow_environment(settings, 8080)
    pools = settings.home / "airflow" / "pools.json"
    pools.write_text(
        json.dumps(
            {
                "warehouse": {
                    "slots": settings.warehouse_slots,
                    "description": "one on DuckDB, whose file has one writer; more on Postgres",
                    "include_deferred": False,
                }
            }
        )
    )
    for command in (("db", "migrate"), ("pools", "import", str(pools))):
        done = subprocess.run(
            airflow_command(*command), env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ServiceFailed(
                f"airflow {' '.join(command[:2])} failed:\n{(done.stderr or done.stdout)[-2000:]}"
            )


@contextmanager
def running_airflow(
    settings: Settings,
    port: int,
    components: tuple[str, ...] = COMPONENTS,
    signing_in: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Airflow's processes while the block runs; gives the base URL of its API.

    `signing_in` are the variables of a login; without them whoever reaches the address is its admin.

    Raises:
        ServiceFailed: a process ended, or the API did not answer within two minutes.
    """
    logs = settings.home / "logs" / "services"
    logs.mkdir(parents=True, exist_ok=True)
    environment = {**airflow_environment(settings, port), **(signing_in or {})}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    restore = _end_like_ctrl_c()
    try:
        for component in components:
            with (logs / f"{component}.log").open("ab") as log:
                processes[component] = subprocess.Popen(
                    airflow_command(component),
                    env=environment,
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(url, processes, logs)
        yield url
    finally:
        _stop(list(processes.values()))
        restore()


def _end_like_ctrl_c() -> Callable[[], None]:
    """A kill or a closed terminal ends the block, and with it the processes; the call that undoes it."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    for number in before:
        signal.signal(number, signal.default_int_handler)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def _wait_until_healthy(url: str, processes: dict[str, subprocess.Popen[bytes]], logs: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for component, process in processes.items():
            if process.poll() is not None:
                raise ServiceFailed(f"airflow {component} ended at once; see {logs / component}.log")
        try:
            health = requests.get(f"{url}/api/v2/monitor/health", timeout=2).json()
            parts = [
                health[name]["status"] for name in ("metadatabase", "scheduler", "dag_processor", "triggerer")
            ]
            if all(status == "healthy" for status in parts):
                return
        except (requests.RequestException, ValueError, KeyError):
            pass
        time.sleep(0.3)
    raise ServiceFailed(f"Airflow did not become healthy within two minutes; see {logs}")


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 15
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        # A process leaves its group's children behind when it is killed: the group goes, not only its leader.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
