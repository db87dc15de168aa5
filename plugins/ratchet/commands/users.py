"""`ratchet users`: who signs in to Airflow on `make up` and docker compose, as whom, and what they may answer."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from ratchet.commands.terminal import console, stop
from ratchet.settings import Settings, load_settings, process_environment
from ratchet.stages.accounts import AccountsUnusable, Login, accounts, login, passwords, unheard


def users(
    make: Annotated[
        bool, typer.Option("--make", help="Make the passwords that are missing, and show none.")
    ] = False,
) -> None:
    """The names, roles and passwords of Airflow's simple login, and whose decisions each may answer."""
    from ratchet.loop import LoopFileError, load_loops

    settings = load_settings()
    try:
        loops = load_loops(settings.loops_dir)
        found = login(settings, loops.values(), process_environment())
        kept = passwords(found.passwords_path, list(found.users))
    except (AccountsUnusable, LoopFileError, OSError) as error:
        raise stop(str(error)) from None
    if make:
        console.print(f"passwords of {len(kept)} users are in {found.passwords_path}", soft_wrap=True)
    else:
        show(settings, found, kept)


def show(settings: Settings, found: Login, kept: dict[str, str]) -> None:
    """Print who may do what, and which approver can't answer in Airflow."""
    from ratchet.loop import load_loops

    loops = load_loops(settings.loops_dir)
    table = Table("sign in as", "password", "role", "may answer decisions of")
    for one in accounts(found.users, loops):
        table.add_row(
            one.name, kept[one.name], one.role, ", ".join(one.answers) if one.may_answer else "none"
        )
    console.print(table, markup=False)
    for loop, person in unheard(found.users, loops):
        console.print(
            f"{person} may approve in loop {loop} and can't here: add {person}:user to the users, or answer with "
            "`ratchet approve`", markup=False, soft_wrap=True,
        )  # fmt: skip
