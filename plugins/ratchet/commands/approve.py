"""`ratchet approve` and `ratchet reject`: answer a decision that waits for people."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.ledger.approvals import Answer, Identity
from ratchet.settings import load_settings

Decision = Annotated[str, typer.Argument(help="The decision's key, as `ratchet status` shows it.")]
By = Annotated[
    str | None,
    typer.Option("--by", help="Your name, as the loop file has it; the user of this machine if left out."),
]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the ledger.")]


def approve(decision: Decision, reason: Reason, by: By = None, loop: LoopName = "flights") -> None:
    """Say yes to a decision that waits; the next run of run_rollout carries it out once enough people have."""
    _answer(loop, decision, "approve", by, reason)


def reject(decision: Decision, reason: Reason, by: By = None, loop: LoopName = "flights") -> None:
    """Say no to a decision that waits: the rollout ends, the champion stays, the challenger retires."""
    _answer(loop, decision, "reject", by, reason)


def _answer(loop: str, decision: str, said: Answer, by: str | None, reason: str) -> None:
    from ratchet.stages.approvals import CannotAnswer, answer, not_recorded

    settings = load_settings()
    described = loop_named(settings, loop)
    if not reason.strip():
        raise stop("--reason is empty: say why, for those who read the ledger")
    user = getpass.getuser()
    identity: Identity = "operating system" if by in (None, user) else "claimed"
    try:
        answer(
            settings, described, decision, said, by=[by or user], reason=reason, identity=identity,
            actor=f"cli:{user}", log=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
        )  # fmt: skip
    except CannotAnswer as error:
        raise stop(str(error)) from None
    too_late = not_recorded(settings, described, decision, said, [by or user])
    if too_late:
        raise stop(f"your answer was not recorded: {too_late}")
