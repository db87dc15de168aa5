"""A Postgres that can crash: stopped without a shutdown, and started again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg2


def restarter(server: str) -> Callable[[], None]:
    """What stops the server at `server` as a crash would and starts it again, and returns when it answers."""
    address = server.replace("+psycopg2", "")
    connection = psycopg2.connect(address)
    with connection.cursor() as cursor:
        cursor.execute("show data_directory")
        data = cursor.fetchone()[0]
    connection.close()
    binary = max(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def restart() -> None:
        command = [*user, str(binary), "-D", data, "-m", "immediate", "-w", "-l", f"{data}/../log", "restart"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        for _ in range(200):
            try:
                psycopg2.connect(address).close()
                return
            except psycopg2.OperationalError:
                time.sleep(0.05)
        raise RuntimeError(f"the server did not come back; see {data}/../log")

    return restart
