"""`make bench-monitor`: what monitoring takes beside Evidently and NannyML, when it is silent and when it is not.

The peers run on the same rows in the same run; every figure is printed with its target. SCALE multiplies the rows of
the one that shows that memory stays flat.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.judge_tables import ROOT
from benchmarks.monitor_delay import delay
from benchmarks.monitor_judged import Rows, cbpe, noise, planted, year
from benchmarks.monitor_pages import pages
from benchmarks.monitor_peers import ask
from benchmarks.report import Figure, Report, write_docs
from ratchet.loop import load_loop

console = Console()
ROWS = 1_000_000


def _piece(name: str, home: Path, *arguments: str) -> dict[str, Any]:
    """What one piece measured, in a process of its own.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    command = [sys.executable, "-m", "benchmarks.monitor_pieces", name, str(home), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def drift(home: Path, peers: bool) -> Rows:
    """A million rows against a million of all features (20 or so), all distances."""
    home.mkdir(parents=True, exist_ok=True)
    _piece("prepare", home, str(ROWS))
    # A second is short: the middle one of three.
    both, stored = (
        sorted((_piece(name, home) for _ in range(3)), key=lambda one: one["seconds"])[1]
        for name in ("both", "stored")
    )
    columns = len(load_loop(ROOT / "loops" / "flights.yml").features.columns)
    if stored["rows"] != ROWS or stored["features"] != columns:
        raise RuntimeError(f"the report looked at {stored['rows']:.0f} rows of {stored['features']} features")
    rows = [
        Figure(
            "drift report against a stored profile",
            stored["seconds"],
            "s",
            1,
            note=f"{stored['megabytes']:.0f} MB",
        ),
        Figure(
            "drift report of both sides",
            both["seconds"],
            "s",
            note="JS, KS on bins, PSI, chi-square, each day against the others",
        ),
        Figure("its memory", both["megabytes"], "MB", 1000),
    ]
    if peers:
        computed = {"evidently": "JS, PSI, KS or chi-square", "nannyml": "JS, KS or chi-square"}
        for peer, least in (("evidently", 30), ("nannyml", 10)):
            theirs = ask(home, peer, "drift", {})
            rows.append(
                Figure(
                    f"drift report: times as fast as {peer}", theirs["seconds"] / both["seconds"], "times", least,
                    "higher", f"{theirs['seconds']:.1f} s, {theirs['megabytes']:.0f} MB; {computed[peer]}",
                )
            )  # fmt: skip
    return rows


def memory(home: Path, scale: int) -> Rows:
    """The report over `scale` million rows beside that over a tenth of them."""
    small, large = home / "small", home / "large"
    fewer = max(1, scale // 10)
    for where, rows in ((small, fewer * ROWS), (large, scale * ROWS)):
        where.mkdir(parents=True, exist_ok=True)
        _piece("prepare", where, str(rows), *(() if where == small else ("second",)))
        # The profile of a model that was trained on the smaller one's first span; all the rows are reported on.
        if where == small:
            _piece("profile", small)
        else:
            _piece("adopt", large, str(small))
    one, many = _piece("stored", small), _piece("stored", large)
    return [
        Figure(
            f"memory of {scale} million rows against {fewer} million", many["megabytes"] / one["megabytes"], "times", 2,
            note=f"{many['megabytes']:.0f} MB in {many['seconds']:.1f} s; {one['megabytes']:.0f} MB",
        )
    ]  # fmt: skip


def _tables(home: Path, runs: int, scale: int, peers: bool) -> dict[str, Callable[[], Rows]]:
    made: dict[str, Callable[[], Rows]] = {
        "drift": partial(drift, home / "monitor", peers),
        "memory": partial(memory, home / "monitor", scale),
        "noise": partial(noise, runs),
        "year": partial(year, home / "monitor"),
        "cbpe": partial(cbpe, home / "monitor"),
        "planted": partial(planted, load_loop(ROOT / "loops" / "flights.yml")),
        "pages": pages,
        "delay": partial(delay, home / "delay"),
    }
    if not peers:
        made.pop("cbpe")
    return made


def _chosen(only: str, tables: dict[str, Callable[[], Rows]]) -> Iterator[tuple[str, Callable[[], Rows]]]:
    for name in [n for n in only.split(",") if n] or list(tables):
        if name not in tables:
            raise typer.BadParameter(f"there is no table {name!r}; there are {', '.join(tables)}")
        yield name, tables[name]


def main(
    runs: Annotated[int, typer.Option(min=5, help="Simulated 60 days each.")] = 30,
    scale: Annotated[
        int, typer.Option(min=1, help="Million rows of the large report; the small one has a tenth.")
    ] = 100,
    only: Annotated[str, typer.Option(help="Tables to make, comma between them; empty: all.")] = "",
    peers: Annotated[bool, typer.Option(help="Install and run Evidently and NannyML.")] = True,
    home: Annotated[Path, typer.Option(help="Where rows and the peers' environments are.")] = ROOT
    / "var"
    / "bench",
    docs: Annotated[
        bool, typer.Option("--write-docs", help="Put the table into docs/benchmarks.md.")
    ] = False,
) -> None:
    """Measure, print the table, write var/bench/monitor.json."""
    report = Report("monitoring", {"runs": runs, "scale": scale, "only": only})
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    for name, table in _chosen(only, _tables(home, runs, scale, peers)):
        with Progress(*columns, console=console, transient=True, refresh_per_second=1) as progress:
            progress.add_task(name)
            rows = table()
        for figure in rows:
            report.add(figure, console)
    missed = report.finish(home / "monitor.json", console)
    if docs:
        write_docs(report, ROOT / "docs" / "benchmarks.md", "monitor")
    raise typer.Exit(missed)


if __name__ == "__main__":
    typer.run(main)
