"""One measured piece a process: `python -m benchmarks.pieces NAME ARGUMENTS` prints what it measured as JSON.

A process of its own has its own peak of memory and starts with nothing in any cache of the library's.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from ratchet.loop import Loop, load_loop
from ratchet.settings import Settings, load_settings
from ratchet.warehouse.connect import open_warehouse

AS_OF = datetime(2014, 1, 1)
_FACTS = "(select loop, departure_date from ops.build_scope)"
_FEATURES = "(select loop, departure_date from ops.build_scope where includes_features)"


def _quiet(_: str) -> None:
    return None


def peak_megabytes() -> float:
    """The largest resident size of this process so far, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found.group(1)) / 1024 if found else float("nan")


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    """Add the block's wall seconds to `into`."""
    started = time.perf_counter()
    yield
    into[name] = into.get(name, 0.0) + time.perf_counter() - started


def _run_dbt(settings: Settings, loop: Loop, into: dict[str, float], *more: str) -> None:
    from ratchet.stages.dbt_environment import run_dbt

    # The data tests are timed apart: bare SQL has none.
    with timed(into, "dbt"):
        run_dbt(settings, ["--quiet", "run", "--selector", loop.loop, *more])


def _start_up(settings: Settings, into: dict[str, float]) -> None:
    """What dbt costs before its first statement: reading the project and its state, selecting nothing."""
    from ratchet.stages.dbt_environment import run_dbt

    run_dbt(settings, ["--quiet", "list", "--select", "int_feeds_landed"])  # imports dbt itself
    with timed(into, "dbt start-up"):
        run_dbt(settings, ["--quiet", "list", "--select", "int_feeds_landed"])


def build(settings: Settings, loop: Loop, *, gate: bool, tests: bool, full: bool = False) -> dict[str, float]:
    """Collect, build, judge (or pass) and publish what is dirty; seconds of each part."""
    from benchmarks.history import pass_features
    from ratchet.stages.build import collect, judge_features
    from ratchet.stages.dbt_environment import run_dbt
    from ratchet.stages.publishing import publish

    told: dict[str, float] = {}
    _start_up(settings, told)
    with timed(told, "collect"):
        taken = collect(settings, loop, AS_OF, _quiet)
    assert taken is not None, "nothing is dirty: there is nothing to measure"
    told["dates"] = taken["dates"]
    _run_dbt(settings, loop, told, *(["--full-refresh"] if full else []))
    if tests:
        with timed(told, "tests"):
            run_dbt(settings, ["--quiet", "test", "--selector", loop.loop])
    with timed(told, "gate"):
        if gate:
            judge_features(settings, loop, AS_OF, _quiet)
        else:
            pass_features(settings, loop)
    if not gate:
        told["gate"] = 0.0
    with timed(told, "publish"):
        publish(settings, loop, AS_OF, _quiet)
    return told


def _models(settings: Settings) -> list[tuple[str, str, str, bool]]:
    """(relation, its bare twin, compiled SQL, whether only features) of each stored model, in order."""
    manifest = json.loads((settings.dbt_target_dir / "manifest.json").read_text(encoding="utf-8"))
    stored = {
        key: node
        for key, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "incremental"
    }
    order = TopologicalSorter({k: set(manifest["parent_map"][k]) for k in manifest["nodes"]})
    twins = {
        node["relation_name"]: node["relation_name"].replace(
            f'"{node["schema"]}"', f'"bare_{node["schema"]}"'
        )
        for node in stored.values()
    }
    found = []
    for key in order.static_order():
        if key not in stored:
            continue
        node = stored[key]
        compiled = settings.dbt_target_dir / "compiled" / "ratchet" / node["original_file_path"]
        sql = compiled.read_text(encoding="utf-8")
        for relation, twin in twins.items():
            sql = sql.replace(relation, twin)
        only_features = node["schema"] in ("intermediate", "build_features")
        found.append((node["relation_name"], twins[node["relation_name"]], sql, only_features))
    return found


def bare(settings: Settings, *, how: str) -> dict[str, float]:
    """The SQL that dbt compiled last, run by itself into tables of its own; seconds.

    `whole` and `range` create the tables, `replace` deletes the scope's dates from them and inserts.
    """
    models = _models(settings)
    assert len(models) >= 10, f"only {len(models)} models"
    told: dict[str, float] = {}
    with open_warehouse(settings, purpose="bare SQL") as wh:
        for relation, twin, _, _ in models:
            schema = twin.split(".")[-2].strip('"')
            wh.execute(f"create schema if not exists {schema}")
            if how == "range" and "intermediate" in relation:
                # Models look beyond the range in this one.
                wh.execute(f"create table if not exists {twin} as select * from {relation}")
        with timed(told, "bare"):
            for _, twin, sql, only_features in models:
                if how == "replace":
                    scope = _FEATURES if only_features else _FACTS
                    wh.execute(f"delete from {twin} where (loop, departure_date) in {scope}")
                    wh.execute(f"insert into {twin} {sql}")
                elif how == "range":
                    wh.execute(f"create or replace table {twin}_range as {sql}".replace('"_range', '_range"'))
                else:
                    wh.execute(f"create or replace table {twin} as {sql}")
        told["models"] = len(models)
        if how == "range":
            for _, twin, _, _ in models:
                wh.execute(f"drop table {twin}_range".replace('"_range', '_range"'))
    return told


def landing(settings: Settings, loop: Loop, kind: str, rows: int) -> dict[str, float]:
    """Write one file of `rows` rows and land it on one thread; rows a second of wall and of CPU."""
    from ratchet.landing.land import land_range

    day = date(2013, 5, 14)
    source, path = _file(settings, loop, kind, rows, day)
    with open_warehouse(settings, purpose="landing") as wh:
        if settings.engine == "duckdb":
            wh.execute("set threads = 1")
        cpu, wall = time.process_time(), time.perf_counter()
        report = land_range(loop, settings, wh, day, day, _quiet)
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


def main(arguments: list[str]) -> dict[str, float]:
    """Run the piece that `arguments` name."""
    from benchmarks import history

    settings = load_settings()
    loop = load_loop(settings.loops_dir / "flights.yml")
    name, *rest = arguments
    pieces: dict[str, Callable[[], dict[str, float]]] = {
        "fill": lambda: {"predictions": history.fill(settings, loop, int(rest[0]), _stderr)},
        "full": lambda: build(settings, loop, gate=False, tests=True),
        "day": lambda: _day(settings, loop, date.fromisoformat(rest[0])),
        "backfill": lambda: _backfill(settings, loop, int(rest[0])),
        "bare": lambda: bare(settings, how=rest[0]),
        "landing": lambda: landing(settings, loop, rest[0], int(rest[1])),
        "dag": lambda: dag_import(settings, rest[0]),
    }
    told = pieces[name]()
    return {**told, "peak": peak_megabytes()}


def _day(settings: Settings, loop: Loop, day: date) -> dict[str, float]:
    from benchmarks.history import arrive

    rows = arrive(settings, day)
    return {"rows": rows, **build(settings, loop, gate=True, tests=True)}


def _backfill(settings: Settings, loop: Loop, days: int) -> dict[str, float]:
    from benchmarks.history import LAST_NEW_DAY, make_dirty

    dirty = make_dirty(settings, LAST_NEW_DAY - timedelta(days=days - 1), LAST_NEW_DAY)
    return {"partitions": dirty, **build(settings, loop, gate=False, tests=False)}


def _stderr(line: str) -> None:
    sys.stderr.write(f"  {line}\n")


if __name__ == "__main__":
    answer = main(sys.argv[1:])
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
