"""Ask a person in Airflow whether a decision may be carried out, and read what they said.

The operator's task succeeds whatever the person answers, and when nobody does: what counts is the answer, which
`read_answer` writes to the ledger. `ratchet approve` and `ratchet reject` leave the same entries.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ratchet.airflow.loops import loop_named
from ratchet.settings import load_settings

if TYPE_CHECKING:
    from ratchet.ledger.approvals import Answer
    from ratchet.loop import Loop

APPROVE, REJECT = "Approve", "Reject"
FORM = {"reason": Param("", type="string", description="Why; it is kept in the ledger.")}

_log = logging.getLogger("ratchet.task")


class ApprovalRequest(HITLOperator):
    """Puts the decision that waits before those who may answer it; silence is a no.

    Skips when nobody has to be asked: nothing waits, enough people said yes already, or another run asks.
    """

    template_fields = ("subject", "body", "decided")

    def __init__(self, *, loop: str, decided: Any, turn: int, timeout_hours: int, **kwargs: Any) -> None:
        super().__init__(
            subject=f"{loop}: a decision waits",
            options=[APPROVE, REJECT],
            defaults=[REJECT],
            response_timeout=timedelta(hours=timeout_hours),
            execution_timeout=None,
            **kwargs,
        )
        self.loop = loop
        self.decided = decided
        self.turn = turn

    def execute(self, context: Any) -> Any:
        """Say what is decided and why, to whom, and wait."""
        from ratchet.stages.approvals import ask

        run = f"{context['dag'].dag_id}/{context['run_id']}"
        found = ask(load_settings(), loop_named(self.loop), self.decided["decision"], self.turn, run)
        if found is None:
            raise AirflowSkipException("nobody has to be asked: the decision is settled, or another run asks")
        decision, stands = found
        data = decision.payload
        self.subject = (
            f"{self.loop}: {data['action']} version {data['challenger_version']} from {data['stage']}?"
        )
        self.body = "\n".join(
            [
                f"{decision.key}, {stands.told()}",
                "",
                *(f"- {reason}" for reason in data["reasons"]),
                "",
                f"`ratchet decision show {decision.key}` has the evidence.",
            ]
        )
        self.assigned_users = [
            {"id": name, "name": name} for name in stands.people if name not in stands.approved_by
        ]
        self.response_timeout = timedelta(hours=data["approval"]["timeout_hours"])
        return super().execute(context)


@task
def read_answer(loop_name: str, decided: dict[str, Any], answered: dict[str, Any]) -> str:
    """Write what the person said to the ledger; without a person nobody answered in time, which is a no."""
    from ratchet.stages.approvals import CannotAnswer, answer, decision_of, run_out

    settings, loop = load_settings(), loop_named(loop_name)
    user = answered.get("responded_by_user")
    if user is None:
        entry, until = decision_of(settings, loop, decided["decision"])
        return run_out(settings, loop, entry, until, _log.info).told()
    # A display name can be chosen; the id is what the login gives.
    names = [user["id"]] if loop.approvals.authenticated else [user["id"], user["name"]]
    said: Answer = "approve" if answered["chosen_options"] == [APPROVE] else "reject"
    reason = str((answered.get("params_input") or {}).get("reason") or "answered in Airflow")
    try:
        return answer(
            settings, loop, decided["decision"], said, by=names, reason=reason,
            actor=f"airflow:{user['id']}", log=_log.info, identity="airflow",
        ).told()  # fmt: skip
    except CannotAnswer as error:
        raise AirflowFailException(str(error)) from None


def asking(loop: Loop, decided: Any) -> list[Any]:
    """The tasks that ask for as many answers as a decision of `loop` may need, in order; none when all is automatic."""
    rules = [rule for rule in map(loop.approvals.rule, ("advance", "promote")) if rule is not None]
    steps: list[Any] = []
    for turn in range(1, loop.approvals.most_people + 1):
        asked = ApprovalRequest(
            task_id=f"ask_approval_{turn}", loop=loop.loop, decided=decided, turn=turn,
            timeout_hours=max(rule.timeout_hours for rule in rules), params=FORM,
            trigger_rule="none_failed",
        )  # fmt: skip
        answered = read_answer.override(task_id=f"read_answer_{turn}")(loop.loop, decided, asked.output)
        steps += [asked, answered]
    return steps
