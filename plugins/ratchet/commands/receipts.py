"""`ratchet receipts show USER`: what a person was told about their feedback."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="What people are told about their feedback.")


@app.callback()
def receipts() -> None:
    """What people are told about their feedback."""


@app.command()
def show(
    user: Annotated[
        str, typer.Argument(help="The person's id, as their feedback has it; or u_… from a table.")
    ],
    loop: LoopName = "flights",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Every receipt of a person, and whether it was sent."""
    from ratchet.stages.receipts import receipts_of
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    try:
        person, found = receipts_of(settings, loop_named(settings, loop), user)
    except WarehouseError as error:
        raise stop(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps({"person": person, "receipts": found}, indent=2, sort_keys=True) + "\n")
        return
    if not found:
        raise stop(
            f"{person} has no receipt: none was due yet (`answer_feedback` writes them), or they asked to be forgotten"
        )
    for one in found:
        console.rule(f"{one['period_start']} to {one['period_end']}, {one['state']}", align="left")
        console.print(f"{one['subject']}\n\n{one['body']}", markup=False, highlight=False)
