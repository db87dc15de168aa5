"""`ratchet monitor staleness`: how quality falls with a model's age."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Measurements beside what serves.")


@app.callback()
def _group() -> None:
    """Measurements beside what serves."""


@app.command()
def staleness(
    loop: LoopName = "flights",
    as_of: Annotated[
        str,
        typer.Option(
            "--as-of", help="Only labels that were mature then (UTC); the newest build's if left out."
        ),
    ] = "",
) -> None:
    """Score former champions on recent days again, keep the sums, and show log loss against age."""
    from ratchet.published import read
    from ratchet.stages.staleness import NotBuilt, NothingToScore, curves, measure_staleness

    settings = load_settings()
    described = loop_named(settings, loop)
    built = read(settings, loop, "partitions")
    if not as_of and built is None:
        raise stop(f"nothing was built for loop {loop}: run its DAGs, or `ratchet replay`, first")
    try:
        moment = datetime.fromisoformat(as_of or str((built or {})["as_of"]))
    except ValueError:
        raise stop(f"--as-of {as_of!r} is no time; write it as 2013-06-30T00:00:00") from None
    try:
        found = measure_staleness(
            settings, described, moment, lambda line: console.print(line, markup=False, highlight=False)
        )
    except (NotBuilt, NothingToScore) as nothing:
        raise stop(str(nothing)) from None
    versions, ages = curves(settings, described, moment)
    console.print(_table("By version, newest 28 days", "version", versions))
    console.print(_table("By age, all days", "versions", ages))
    if found["refused"]:
        raise stop("; ".join(found["refused"]))


def _table(title: str, first: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for name in (first, "age, days", "days", "log loss", "above the youngest"):
        table.add_column(name)
    for row in rows:
        name = str(row["model_version"]) if "model_version" in row else str(row["versions"])
        table.add_row(
            name + (" (withdrawn)" if row.get("is_withdrawn") else ""), str(row["age_days"]), str(row["days"]),
            _limits(row.get("log_loss")), _limits(row["above_youngest"]),
        )  # fmt: skip
    return table


def _limits(found: dict[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return ""
    told = f"{found['value']:+.4f}" if "days" in found or found["value"] < 0 else f"{found['value']:.4f}"
    return told if found["low"] is None else f"{told} ({found['low']:.4f} to {found['high']:.4f})"
