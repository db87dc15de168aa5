"""`make bench-data`: what the data plane costs against bare SQL, on a history of SCALE prediction events.

Every ratio is taken within one run on one machine. Each piece runs in a process of its own (benchmarks/pieces.py) on
the same warehouse: a short history and a long one of SCALE. `--engine postgres` starts a server of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from benchmarks.history import FIRST_NEW_DAY, FLIGHTS_A_COPY, LAST_NEW_DAY, copies_as_full, copies_for
from benchmarks.report import Figure, Report, write_docs

ROOT = Path(__file__).parents[1]
BACKFILL_DAYS = 365
NEW_DAYS = [FIRST_NEW_DAY + timedelta(days=n) for n in range((LAST_NEW_DAY - FIRST_NEW_DAY).days + 1)]
#: By engine: predictions of the short history, and of the long one unless told.
SHORT = {"duckdb": 1_000_000, "postgres": FLIGHTS_A_COPY}
SCALE = {"duckdb": 10_000_000, "postgres": 1_000_000}
console = Console()


class Bench:
    """Runs pieces on one warehouse, with its state under `home`; on Postgres at `url`."""

    def __init__(self, home: Path, url: str = "") -> None:
        self.home, self.url = home, url
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)

    def piece(self, *arguments: str | int) -> dict[str, Any]:
        """What the piece measured.

        Raises:
            RuntimeError: it failed; what it said stands before.
        """
        words = [str(argument) for argument in arguments]
        console.print(f"  [dim]{self.home.name} {' '.join(words)} ...[/dim]")
        started = time.perf_counter()
        environment = {
            **os.environ,
            "RATCHET_HOME": str(self.home),
            "RATCHET_WAREHOUSE_PATH": str(self.home / "w.duckdb"),
            "RATCHET_WAREHOUSE_URL": self.url,
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.pieces", *words],
            env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} failed:\n{done.stdout[-3000:]}")
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        parts = ", ".join(f"{name} {value:,.1f}" for name, value in found.items())
        console.print(
            f"  [dim]{self.home.name} {' '.join(words)}: {time.perf_counter() - started:.0f} s ({parts})[/dim]"
        )
        return found


@contextmanager
def server(engine: str) -> Iterator[Callable[[], str]]:
    """Gives the address of a new warehouse whenever asked; empty on DuckDB, which needs none."""
    if engine == "duckdb":
        yield lambda: ""
        return
    from tests.engines import new_database, running_postgres

    with running_postgres() as address:
        yield lambda: new_database(address)


def _work(build: dict[str, Any]) -> float:
    """Seconds of a build without dbt's start-up and the data tests, which bare SQL has not."""
    return float(build["collect"] + build["dbt"] - build["dbt start-up"] + build["publish"])


def _day(build: dict[str, Any]) -> float:
    """Seconds of all of a day's build, gate and tests included."""
    return float(build["collect"] + build["dbt"] + build["tests"] + build["gate"] + build["publish"])


def _builds(report: Report, long: Bench, short: Bench, scale: int, short_scale: int) -> None:
    history = {}
    few = copies_for(short_scale)
    many = copies_for(scale) if long.url else copies_as_full(scale, few)
    for bench, copies in ((short, few), (long, many)):
        history[bench.home.name] = bench.piece("fill", copies)["predictions"]
    full = long.piece("full")
    whole = long.piece("bare", "whole")
    _add(
        report,
        "dbt start-up",
        full["dbt start-up"],
        "s",
        note="a run of one unchanged view: project, connection, schemas, artifacts; in no ratio but the day's",
    )
    _add(report, "full build: data tests", full["tests"], "s")
    _add(report, "full build: publishing copy", full["publish"], "s")
    _add(report, "full build: bare SQL", whole["bare"], "s", note=f"{history['long']:,} predictions")
    _add(
        report, "full build / bare SQL", _work(full) / whole["bare"], "times", 1.5,
        note="collecting, dbt without its start-up, publishing",
    )  # fmt: skip
    _add(report, "full build: peak memory", full["peak"], "MB")
    short.piece("full")
    days: dict[str, list[dict[str, Any]]] = {"short": [], "long": []}
    # In turns, so that a busy moment of the machine meets both histories.
    for day in NEW_DAYS:
        for name, bench in (("short", short), ("long", long)):
            days[name].append(bench.piece("day", day.isoformat()))
    cost = {name: statistics.median(_day(build) for build in found) for name, found in days.items()}
    _add(report, "one new day, short history", cost["short"], "s", note=f"{history['short']:,} predictions")
    _add(report, "one new day, long history", cost["long"], "s", note=f"median of {len(NEW_DAYS)} days")
    _add(report, "one new day, long / short", cost["long"] / cost["short"], "times", 1.2)
    last = days["long"][-1]
    day = min(long.piece("bare", "replace")["bare"] for _ in range(3))
    _add(
        report, "one new day: bare SQL", day, "s", note=f"{last['dates']} departure dates, delete and insert"
    )
    _add(
        report,
        "one new day: dbt / (bare SQL + start-up)",
        last["dbt"] / (day + last["dbt start-up"]),
        "times",
        3.0,
    )
    back = long.piece("backfill", BACKFILL_DAYS)
    once = long.piece("bare", "range")["bare"]
    one = statistics.median(_work(b) + b["dbt start-up"] for b in days["long"])
    _add(report, f"{BACKFILL_DAYS}-day backfill", _work(back), "s", note=f"{back['partitions']:,} partitions")
    _add(report, f"{BACKFILL_DAYS}-day backfill / one-shot bare SQL", _work(back) / once, "times", 2.0)
    _add(
        report, f"{BACKFILL_DAYS} daily builds / backfill",
        BACKFILL_DAYS * one / (_work(back) + back["dbt start-up"]), "times", 20.0, "higher",
        note=f"from the median of {len(NEW_DAYS)} daily builds, gate and tests in neither",
    )  # fmt: skip
    _add(report, f"{BACKFILL_DAYS}-day backfill: peak memory", back["peak"], "MB")


def _landing(report: Report, bench: Callable[[str], Bench], scale: int, engine: str) -> None:
    for kind, target in (("parquet", 200_000), ("jsonl", 50_000)):
        made = bench(kind)
        found = made.piece("landing", kind, scale)
        told = f"{scale:,} rows, {found['megabytes']:,.0f} MB"
        if engine == "duckdb":
            _add(
                report, f"landing {kind}", found["rows a second and core"], "rows/s and core", target, "higher",
                note=f"{told}; {found['rows a second']:,.0f} rows/s of wall",
            )  # fmt: skip
        else:
            # The server's share of the work is in no count of this process's CPU.
            _add(report, f"landing {kind}", found["rows a second"], "rows/s", note=told)
        _add(report, f"landing {kind}: peak memory", found["peak"], "MB", 2_000)
        shutil.rmtree(made.home)


def _dags(report: Report, home: Path) -> None:
    bench = Bench(home / "dags")
    files = sorted(path.name for path in (ROOT / "dags").glob("*.py"))
    assert len(files) >= 7, files
    found = {
        name: min((bench.piece("dag", name) for _ in range(2)), key=lambda f: f["file"]) for name in files
    }
    slowest = max(found, key=lambda name: found[name]["file"])
    _add(
        report, "import of the slowest DAG file", found[slowest]["file"], "s", 1.0,
        note=f"{slowest}, of {len(files)}; beyond airflow.sdk and cosmos, {found[slowest]['airflow and cosmos']:.1f} s",
    )  # fmt: skip
    _add(report, "DAG files that load or start dbt", sum(f["dbt"] for f in found.values()), "", 0)


def _add(
    report: Report,
    name: str,
    value: float,
    unit: str,
    target: float | None = None,
    better: str = "lower",
    note: str = "",
) -> None:
    report.add(Figure(name, float(value), unit, target, better, note), console)


def main(
    scale: Annotated[
        int, typer.Option(help="Prediction events of the long history; 0: 10 million, on Postgres 1 million.")
    ] = 0,
    engine: Annotated[
        Literal["duckdb", "postgres"], typer.Option(help="Engine of the warehouse.")
    ] = "duckdb",
    keep: Annotated[bool, typer.Option(help="Keep the warehouses under var/bench.")] = False,
    only: Annotated[str, typer.Option(help="builds, landing or dags; empty: all.")] = "",
    home: Annotated[Path, typer.Option(help="Where the warehouses lie while it runs.")] = ROOT
    / "var"
    / "bench",
    docs: Annotated[
        bool, typer.Option("--write-docs", help="Put the table into docs/benchmarks.md.")
    ] = False,
) -> None:
    """Measure, print the table, write var/bench/data-<engine>.json."""
    scale = scale or SCALE[engine]
    short = min(SHORT[engine], scale)
    report = Report("data plane", {"scale": scale, "engine": engine, "only": only})
    started = time.perf_counter()
    try:
        with server(engine) as address:
            if only in ("", "dags"):
                _dags(report, home)
            if only in ("", "landing"):
                _landing(report, lambda kind: Bench(home / "landing" / kind, address()), scale, engine)
            if only in ("", "builds"):
                long, other = Bench(home / "long", address()), Bench(home / "short", address())
                _builds(report, long, other, scale, short)
    finally:
        if not keep:
            for name in ("dags", "landing", "long", "short"):
                shutil.rmtree(home / name, ignore_errors=True)
    console.print(f"measured for {(time.perf_counter() - started) / 60:.0f} minutes", highlight=False)
    code = report.finish(home / f"data-{engine}.json", console)
    if docs:
        write_docs(report, ROOT / "docs" / "benchmarks.md", engine)
    raise typer.Exit(code)


if __name__ == "__main__":
    typer.run(main)
