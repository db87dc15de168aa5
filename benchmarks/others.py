"""The pieces that need no history: landing one large file, importing one DAG file."""

from __future__ import annotations

import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clock import peak_megabytes, quiet, timed
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.warehouse.connect import open_warehouse


def landing(settings: Settings, loop: Loop, kind: str, rows: int) -> dict[str, float]:
    """Write one file of `rows` rows and land it on one thread; rows a second of wall and of CPU."""
    from ratchet.landing.land import land_range

    day = date(2013, 5, 14)
    source, path = _file(settings, loop, kind, rows, day)
    with open_warehouse(settings, purpose="landing") as wh:
        if settings.engine == "duckdb":
            wh.execute("set threads = 1")
        cpu, wall = time.process_time(), time.perf_counter()
        report = land_range(loop, settings, wh, day, day, quiet)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert report.rows_landed == rows, f"{report.rows_landed} of {rows} rows of {source} landed"
    return {
        "rows": rows,
        "megabytes": path.stat().st_size / 1e6,
        "rows a second": rows / wall,
        "rows a second and core": rows / cpu,
        "peak": peak_megabytes(),
    }


def _file(settings: Settings, loop: Loop, kind: str, rows: int, day: date) -> tuple[str, Path]:
    source = "predictions" if kind == "parquet" else "outcomes"
    folder = settings.landing_dir / loop.loop / source / f"received_date={day}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"one.{kind}"
    if kind == "parquet":
        _parquet(path, rows, day)
    else:
        with path.open("w", encoding="utf-8") as file:
            for n in range(rows):
                file.write(
                    f'{{"outcome_id": "arrival-{n}", "unit_id": "UA{n}-EWR-20130514-0515", '
                    f'"outcome_value": {n % 300}.0, '
                    f'"event_at": "{day}T09:00:00Z", "received_at": "{day}T10:00:{n % 60:02d}Z"}}\n'
                )
    return source, path


def _parquet(path: Path, rows: int, day: date) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(1), None
    start = np.datetime64(day, "us")
    for first in range(0, rows, 250_000):
        n = np.arange(first, min(rows, first + 250_000))
        units = [f"UA{k}-EWR-20130514-0515" for k in n]
        table = pa.table(
            {
                "prediction_id": pa.array([f"{unit}-v3" for unit in units]),
                "unit_id": pa.array(units),
                "experiment_id": pa.array([None] * len(n), pa.string()),
                "arm": pa.array(["champion"] * len(n)),
                "model_version": pa.array(np.full(len(n), 3, dtype=np.int32)),
                "is_served": pa.array(np.ones(len(n), dtype=bool)),
                "score": pa.array(rng.random(len(n))),
                "latency_ms": pa.array(rng.random(len(n))),
                "event_at": pa.array(start + (n % 3600) * np.timedelta64(1, "s")),
                "received_at": pa.array(start + (n % 3600 + 60) * np.timedelta64(1, "s")),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()


def dag_import(settings: Settings, name: str) -> dict[str, float]:
    """Seconds that one DAG file takes beyond the imports of airflow.sdk and Cosmos; whether it loads or starts dbt."""
    import runpy

    started: list[str] = []

    def watch(event: str, arguments: Any) -> None:
        if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork"):
            started.append(f"{event} {arguments[:1]}")

    sys.path[:0] = [str(settings.root / "dags"), str(settings.root / "plugins")]
    told: dict[str, float] = {}
    with timed(told, "airflow and cosmos"):
        import airflow.sdk
        import cosmos

        assert airflow.sdk and cosmos
        # Both load their parts when they are first asked for them.
        from airflow.sdk import DAG, Asset, AssetAlias, BaseSensorOperator, Param, dag, task
        from cosmos import DbtRunLocalOperator, ProfileConfig, ProjectConfig

        assert all((DAG, Asset, AssetAlias, BaseSensorOperator, Param, dag, task))
        assert all((DbtRunLocalOperator, ProfileConfig, ProjectConfig))
    sys.addaudithook(watch)
    with timed(told, "file"):
        namespace = runpy.run_path(str(settings.root / "dags" / name))
    from airflow.sdk import DAG as Dag

    told["dags"] = sum(1 for value in namespace.values() if isinstance(value, Dag)) or len(
        [value for value in namespace.values() if callable(value)]
    )
    told["dbt"] = float("dbt.cli.main" in sys.modules or any("dbt" in event for event in started))
    return told
