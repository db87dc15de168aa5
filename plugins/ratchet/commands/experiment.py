"""`ratchet experiment run FILE`: recipes side by side on a snapshot, with nothing of it in reach of what serves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ratchet.certificate.evidence import interval, number
from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings

app = typer.Typer(
    no_args_is_help=True, help="The sandbox: recipes tried side by side. Changes nothing that serves."
)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


@app.callback()
def experiment() -> None:
    """The sandbox: recipes tried side by side. Changes nothing that serves."""


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="The experiment (YAML): a snapshot and candidates.")],
    loop: LoopName = "flights",
    as_json: AsJson = False,
) -> None:
    """Train and judge every candidate of the file, and compare them with the champion and with each other."""
    from ratchet.sandbox.spec import SpecError, load_spec
    from ratchet.stages.sandbox import folder
    from ratchet.stages.sandbox import run as stage
    from ratchet.stages.snapshots import SnapshotChanged
    from ratchet.training.recipe import TooLittleData

    settings = load_settings()
    described = loop_named(settings, loop)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        spec = load_spec(file, described)
        with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
            task = progress.add_task("candidates", total=len(spec.candidates) + 1)

            def step(name: str) -> None:
                progress.update(task, advance=1, description=f"{name} done")

            found = stage(settings, described, spec, lambda _: None, step)
    except (SpecError, SnapshotChanged, TooLittleData) as error:
        raise stop(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    _print(found)
    where = folder(settings, described, found["name"])
    console.print(f"{where}/result.json and {where}/page.html", markup=False, soft_wrap=True)


def _print(found: dict[str, Any]) -> None:
    title = f"experiment {found['name']} on snapshot {found['snapshot'][:12]} ({found['rows']:,} rows)"
    table = Table(title=title, title_justify="left")
    for heading in ("candidate", found["metric"], "features", "gates", "refused by"):
        table.add_column(heading, overflow="fold")
    for one in found["candidates"]:
        gates = one["verdict"] + ("" if one["champion_gates"] else ", without the champion's")
        refused = ", ".join(one.get("refused_by", [])) or (
            "; ".join(one["reasons"]) if one["verdict"] != "pass" else ""
        )
        cells = (
            one["name"],
            number(one["metrics"].get(found["metric"])),
            str(len(one["features"])),
            gates,
            refused,
        )
        table.add_row(*map(Text, cells))
    console.print(table)
    table = Table(title="paired, errors over days, corrected for how many were tried", title_justify="left")
    for heading in ("candidate", "against", "gain per unit", "days", ""):
        table.add_column(heading, overflow="fold")
    for one in found["comparisons"]:
        cells = (one["name"], one["reference"], interval(one), number(one["clusters"]), one["told"])
        table.add_row(*map(Text, cells))
    console.print(table)
