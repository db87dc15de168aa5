"""`ratchet forget USER`: a person's rows, texts and receipts go, and landing keeps them from coming back."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings


def forget(
    user: Annotated[
        str, typer.Argument(help="The person's id, as their feedback has it; or u_… from a table.")
    ],
    loop: LoopName = "flights",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it can't be undone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Forget a person: landed rows and files, quarantine, facts, receipts, their part in training data."""
    from ratchet.landing.partition import LandingError
    from ratchet.stages.dbt_environment import BuildFailed
    from ratchet.stages.forget import NobodyNamed
    from ratchet.stages.forget import forget as stage
    from ratchet.stages.snapshots import SnapshotChanged
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    described = loop_named(settings, loop)
    if not yes and not typer.confirm(f"Forget this person in loop {loop}? It can't be undone", default=False):
        raise stop("nothing was done")

    def say(line: str) -> None:
        if not as_json:
            console.print(line, markup=False, highlight=False)

    # dbt writes the command line of its process into its log and results.
    sys.argv = [*sys.argv[:1], "forget"]
    try:
        (done,) = stage(settings, described, [user], say)
    except (NobodyNamed, WarehouseError, LandingError, BuildFailed, SnapshotChanged) as error:
        raise stop(f"{error}\nIt goes on where it was when the command is run again.") from None
    if as_json:
        sys.stdout.write(json.dumps(done, indent=2, sort_keys=True) + "\n")
        return
    console.print(_table(done))
    for address in done["left"]:
        console.print(f"kept by its owner, outside of the landing folder: {address}", markup=False)
    if done["retrain"]:
        console.print(f"a retrain is asked for: {done['retrain']}", markup=False)


def _table(done: dict[str, Any]) -> Table:
    table = Table(title=f"forgotten: {done['person']}", title_justify="left")
    table.add_column("what")
    table.add_column("gone", justify="right")
    for name, rows in done["removed"].items():
        table.add_row(f"rows of {name}", str(rows))
    for source, rows in done["files"].items():
        table.add_row(f"rows of files of {source}", str(rows))
    for grave in done["snapshots"]:
        what = "deleted" if grave["replaced_by"] is None else f"now {grave['replaced_by'][:12]}"
        table.add_row(f"rows of snapshot {grave['snapshot_id'][:12]}, {what}", str(grave["rows"]))
    for model in done["models"]:
        table.add_row(
            f"rows that version {model['version']} learned from ({done['policy']})", str(model["rows"])
        )
    table.add_row("units that no training learns from any more", str(done["units_left_out"]))
    return table
