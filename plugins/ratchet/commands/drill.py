"""`ratchet drill`: rehearse what one hopes never to need."""

from __future__ import annotations

from datetime import datetime

import typer

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Rehearsals.")


@app.callback()
def _group() -> None:
    """Rehearsals."""


@app.command()
def rollback(loop: LoopName = "flights") -> None:
    """Roll back on a shadow with the real models, and say how long it took; nothing that serves is touched."""
    from ratchet.published import read
    from ratchet.stages.drill_rollback import drill
    from ratchet.stages.records import state_of

    settings = load_settings()
    described = loop_named(settings, loop)
    built, since = read(settings, loop, "partitions"), state_of(settings, described).serving_as_of
    if since is None:
        raise stop(f"loop {loop} has no champion: there is nothing to roll back")
    as_of = since if built is None else max(since, datetime.fromisoformat(built["as_of"]))
    found = drill(settings, described, as_of, lambda line: console.print(line, markup=False, highlight=False))
    if found["outcome"] == "failed":
        raise stop("the rollback would not work today: docs/runbooks/rollback.md says what to do")
    if found["outcome"] == "passed":
        parts = ", ".join(
            f"{name.replace('_', ' ')} {value:.1f} s" for name, value in found["seconds"].items()
        )
        console.print(
            f"version {found['from']} to version {found['to']}: {parts}; {found['scored']} units scored",
            markup=False,
            highlight=False,
        )
