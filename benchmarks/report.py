"""Figures against targets: a table for a person, JSON for a machine, an exit code for both."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured number. `target` is the limit; without one it is told for its own sake.

    `better` says on which side of the target the number must lie.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    better: str = "lower"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target. What is no number meets nothing."""
        if self.target is None:
            return None
        if not math.isfinite(self.value):
            return False
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


@dataclass
class Report:
    """The figures of one run, in the order in which they were measured."""

    title: str
    settings: dict[str, str | int | float]
    figures: list[Figure] = field(default_factory=list)

    def add(self, figure: Figure, console: Console) -> None:
        """Keep a figure and say it at once."""
        self.figures.append(figure)
        console.print(
            f"  {figure.name}: {figure.value:,.2f} {figure.unit} {_verdict(figure)}", highlight=False
        )

    def finish(self, path: Path, console: Console) -> int:
        """Print the table, write the JSON; 0 when every target was met, 1 when one was missed or none was set."""
        table = Table(title=self.title, title_justify="left")
        for name in ("figure", "measured", "target", ""):
            table.add_column(name, justify="right" if name in ("measured", "target") else "left")
        for figure in self.figures:
            name = f"{figure.name}\n[dim]{figure.note}[/dim]" if figure.note else figure.name
            table.add_row(name, f"{figure.value:,.2f} {figure.unit}", _limit(figure), _verdict(figure))
        console.print(table)
        judged = [figure for figure in self.figures if figure.target is not None]
        met = sum(bool(figure.met) for figure in judged)
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "title": self.title,
            "settings": self.settings,
            "machine": machine(),
            "commit": commit(),
            "figures": [{**asdict(figure), "met": figure.met} for figure in self.figures],
        }
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        console.print(f"written to {path}", highlight=False)
        console.print(f"targets: {met} of {len(judged)} met", highlight=False)
        return 0 if judged and met == len(judged) else 1


def machine() -> dict[str, str | int | float | None]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "load": round(os.getloadavg()[2], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("duckdb", "dbt-core", "pandas", "pyarrow")},
    }


def commit() -> str:
    """The checkout's commit; unknown outside of one."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def markdown(report: Report) -> str:
    """The figures as a table of a page, with what they were measured on."""
    on, judged = machine(), [figure for figure in report.figures if figure.target is not None]
    told = ", ".join(f"{name} {value}" for name, value in report.settings.items() if value)
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, {told}; {on['cores']} cores, {on['memory_gb']} GB, "
        f"{on['load']} processes at once on average over the last quarter of an hour; duckdb {on['duckdb']}, "
        f"dbt {on['dbt-core']}. Targets: {sum(bool(figure.met) for figure in judged)} of {len(judged)} met.",
        "",
        "| figure | measured | target | | |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for figure in report.figures:
        lines.append(
            f"| {figure.name} | {_number(figure.value)} {figure.unit} | {_limit(figure)} | {_verdict(figure)} "
            f"| {figure.note} |"
        )
    return "\n".join(lines)


def write_docs(report: Report, page: Path, section: str) -> None:
    """Put the table between the page's marks `<!-- measured: section -->` and `<!-- end: section -->`.

    Raises:
        ValueError: the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    first, last = f"<!-- measured: {section} -->", f"<!-- end: {section} -->"
    if text.count(first) != 1 or text.count(last) != 1:
        raise ValueError(f"{page} must hold {first} and {last} once each, with the table between them")
    head, rest = text.split(first)
    page.write_text(f"{head}{first}\n{markdown(report)}\n{last}{rest.split(last)[1]}", encoding="utf-8")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def _limit(figure: Figure) -> str:
    sign = "<=" if figure.better == "lower" else ">="
    return "" if figure.target is None else f"{sign} {figure.target:,g}"


def _verdict(figure: Figure) -> str:
    return {None: "", True: "met", False: "missed"}[figure.met]
