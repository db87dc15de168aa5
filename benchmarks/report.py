"""Figures against targets: a table for a person, JSON for a machine, an exit code for both."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, dataclass, field
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
            sign = "<=" if figure.better == "lower" else ">="
            limit = "" if figure.target is None else f"{sign} {figure.target:,.2f}"
            name = f"{figure.name}\n[dim]{figure.note}[/dim]" if figure.note else figure.name
            table.add_row(name, f"{figure.value:,.2f} {figure.unit}", limit, _verdict(figure))
        console.print(table)
        judged = [figure for figure in self.figures if figure.target is not None]
        met = sum(bool(figure.met) for figure in judged)
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "title": self.title,
            "settings": self.settings,
            "machine": {
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                **{name: version(name) for name in ("duckdb", "dbt-core", "pandas", "pyarrow")},
            },
            "figures": [{**asdict(figure), "met": figure.met} for figure in self.figures],
        }
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        console.print(f"written to {path}", highlight=False)
        console.print(f"targets: {met} of {len(judged)} met", highlight=False)
        return 0 if judged and met == len(judged) else 1


def _verdict(figure: Figure) -> str:
    return {None: "", True: "met", False: "missed"}[figure.met]
