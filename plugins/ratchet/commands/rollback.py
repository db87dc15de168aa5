"""`ratchet rollback` and `ratchet withdraw`: put a former champion back, take a version out for good."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings

Reason = Annotated[str, typer.Option(help="Why; it is kept in the ledger.")]
By = Annotated[
    str | None, typer.Option("--by", help="Who decides this; the user of this machine if left out.")
]


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False)


def rollback(
    reason: Reason,
    loop: LoopName = "flights",
    to: Annotated[
        int | None, typer.Option("--to", help="Which version; the last good one if left out.")
    ] = None,
    leaving: Annotated[
        int | None,
        typer.Option("--from", help="The version that serves now; nothing is done if another one does."),
    ] = None,
    by: By = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do and change nothing.")
    ] = False,
) -> None:
    """Let a former champion serve from the next scoring run; ends a running rollout, withdraws what served."""
    from ratchet.stages.rollback import NoTarget, roll_back
    from ratchet.stages.serving import NothingServes

    settings = load_settings()
    if not reason.strip():
        raise stop("--reason is empty: say why, for those who read the ledger")
    try:
        done = roll_back(
            settings, loop_named(settings, loop), reason=reason, actor=by or getpass.getuser(), log=_say, to=to,
            leaving=leaving, is_dry=dry_run,
        )  # fmt: skip
    except (NoTarget, NothingServes) as error:
        raise stop(str(error)) from None
    ended = f", ending {', '.join(done['ended'])}" if done["ended"] else ""
    if done["again"]:
        verb = "would be finished" if done["dry"] else "is finished"
        _say(
            f"the rollback from version {done['from']} to version {done['to']} ({done['reason']}) {verb}; to go "
            "further back, ask once more"
        )
        return
    if done["dry"]:
        _say(f"would go from version {done['from']} to version {done['to']}{ended}; nothing was changed")
        return
    _say(
        f"version {done['serves']} serves from the next scoring run on (units due from {done['as_of']}), version "
        f"{done['from']} is withdrawn{ended}"
    )
    _say(
        f"{done['seconds']:.1f} s: {done['seconds_to_decide']:.1f} to find, load and record it, "
        f"{done['seconds_to_project']:.1f} for aliases and routing file"
    )


def withdraw(
    version: Annotated[int, typer.Option(help="The version.")],
    reason: Reason,
    loop: LoopName = "flights",
    by: By = None,
) -> None:
    """Take a version out for good: it never serves again, and a rollout that tries it ends."""
    from ratchet.stages.rollback import CannotWithdraw
    from ratchet.stages.rollback import withdraw as stage

    settings = load_settings()
    try:
        stage(
            settings,
            loop_named(settings, loop),
            version,
            reason=reason,
            actor=by or getpass.getuser(),
            log=_say,
        )
    except CannotWithdraw as error:
        raise stop(str(error)) from None
