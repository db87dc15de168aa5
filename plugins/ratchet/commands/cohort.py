"""`ratchet cohort`: which cohorts are excluded from what serves the others, and letting one go."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Cohorts that are excluded, and their release.")


@app.command(name="list")
def list_cohorts(loop: LoopName = "flights") -> None:
    """Each excluded cohort: who serves it, instead of whom, why, and what the newest look knows of it."""
    from ratchet.stages.admitting import left_out
    from ratchet.stages.records import ledger_of

    settings = load_settings()
    found = left_out(ledger_of(settings).entries(loop_named(settings, loop).loop))
    table = Table("cohort", "served by", "instead of", "why", "known by now")
    for item in found:
        known = "nothing"
        if item.known is not None and item.known["value"] is not None:
            enough = "enough evidence" if item.known["is_enough"] else "not enough evidence"
            known = f"gain {item.known['value']:+.4f} on {item.known['units']} units: {enough}"
        table.add_row(item.cohort, f"version {item.served_by}", f"version {item.instead_of}", item.why, known)
    console.print(table if found else "no cohort is excluded")


@app.command()
def release(
    cohort: Annotated[str, typer.Argument(help="dimension=value, as `ratchet cohort list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")],
    loop: LoopName = "flights",
    by: Annotated[
        str | None, typer.Option("--by", help="Who decides this; the user of this machine if left out.")
    ] = None,
) -> None:
    """Let an excluded cohort have what serves the others, from the next scoring run on."""
    from ratchet.ledger.approvals import Identity
    from ratchet.stages.admitting import NotExcluded
    from ratchet.stages.admitting import release as stage

    settings = load_settings()
    if not reason.strip():
        raise stop("--reason is empty: say why, for those who read the ledger")
    user = getpass.getuser()
    identity: Identity = "operating system" if by in (None, user) else "claimed"
    try:
        stage(
            settings, loop_named(settings, loop), cohort, reason=reason, actor=by or user, identity=identity,
            log=lambda line: console.print(line, markup=False, highlight=False),
        )  # fmt: skip
    except NotExcluded as error:
        raise stop(str(error)) from None
