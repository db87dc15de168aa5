"""`make bench-judge`: the decision tables by simulation, our rule beside the naive one, and how fast we judge.

RUNS experiments a row, on the product's own statistics; every share is printed with its limit, which allows for the
simulation's own error (two standard errors). Rules without a target are shown for comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.judge_effects import amounts, guardrails, late, promotion
from benchmarks.judge_offline import offline
from benchmarks.judge_safety import clusters, cohorts, flights, rollback, sample_ratio, skewed
from benchmarks.judge_tables import ROOT, Rows
from benchmarks.judge_training import judging, training
from benchmarks.judge_whole import oracles, speed, whole
from benchmarks.report import Report, write_docs

console = Console()

TABLES: dict[str, Callable[[int], Rows]] = {
    "promotion": promotion,
    "amounts": amounts,
    "late": late,
    "guardrails": guardrails,
    "rollback": rollback,
    "cohorts": cohorts,
    "sample_ratio": sample_ratio,
    "clusters": clusters,
    "skewed": skewed,
    "offline": offline,
    "whole": whole,
    "speed": speed,
}


def _chosen(only: str, runs: int, home: Path) -> Iterator[tuple[str, Callable[[], Rows]]]:
    everything: dict[str, Callable[[], Rows]] = {
        **{name: partial(table, runs) for name, table in TABLES.items()},
        "flights": partial(flights, max(1000, runs // 10), home),
        "oracles": partial(oracles, home),
        "judging": judging,
        "training": partial(training, home / "training"),
    }
    wanted = [name for name in only.split(",") if name] or list(everything)
    for name in wanted:
        if name not in everything:
            raise typer.BadParameter(f"there is no table {name!r}; there are {', '.join(everything)}")
        yield name, everything[name]


def main(
    runs: Annotated[int, typer.Option(min=500, help="Simulated experiments a row.")] = 10_000,
    only: Annotated[str, typer.Option(help="Tables to make, comma between them; empty: all.")] = "",
    docs: Annotated[
        bool, typer.Option("--write-docs", help="Put the table into docs/benchmarks.md.")
    ] = False,
) -> None:
    """Simulate, print the tables, write var/bench/judge.json."""
    home = ROOT / "var" / "bench"
    report = Report("the judge", {"runs": runs, "only": only})
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    for name, table in _chosen(only, runs, home):
        with Progress(*columns, console=console, transient=True) as progress:
            progress.add_task(f"{name}: {runs:,} experiments a row")
            rows = table()
        for figure in rows:
            report.add(figure, console)
    missed = report.finish(home / "judge.json", console)
    if docs:
        write_docs(report, ROOT / "docs" / "benchmarks.md", "judge")
    raise typer.Exit(missed)


if __name__ == "__main__":
    typer.run(main)
