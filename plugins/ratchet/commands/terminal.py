"""What every command says and asks alike: the console, an error that ends it, and the loop by its name."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer
from rich.console import Console

from ratchet.loop import Loop, LoopFileError, load_loop
from ratchet.settings import Settings

console = Console()

LoopName = Annotated[str, typer.Option("--loop", help="Which loop.")]


def stop(message: str) -> typer.Exit:
    """Say on standard error what is wrong; to be raised, it ends the command with code 1."""
    Console(stderr=True).print(message, style="bold red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)


def loop_named(settings: Settings, name: str) -> Loop:
    """The loop of this name.

    Raises:
        typer.Exit: there is none, or its file is unusable.
    """
    known = sorted(path.stem for path in settings.loops_dir.glob("*.yml"))
    if name not in known:
        raise stop(f"there is no loop {name!r}; loops/ has: {', '.join(known)}")
    try:
        return load_loop(settings.loops_dir / f"{name}.yml")
    except LoopFileError as error:
        raise stop(str(error)) from None


def day_of(text: str, option: str) -> date:
    """The date that `option` was given.

    Raises:
        typer.Exit: it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise stop(f"{option} {text!r} is no date; give one that exists, as YYYY-MM-DD") from None
