"""What the answers in the ledger amount to: does a decision stand, fall, or wait?

Pure. A decision that needs approval carries the rule it was made under (`approval` in its payload: by, count,
until), so that no later edit of the loop file loosens one that waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ratchet.ledger.chain import Entry

Answer = Literal["approve", "reject", "timeout"]
#: How it is known who answered: Airflow's login, this machine's, or a name that was given without proof.
Identity = Literal["airflow", "operating system", "claimed"]
Outcome = Literal["automatic", "waiting", "approved", "rejected", "timeout"]


@dataclass(frozen=True)
class Standing:
    """Where a decision's approval stands. `until` is when silence becomes a no."""

    outcome: Outcome
    approved_by: tuple[str, ...] = ()
    needed: int = 0
    people: tuple[str, ...] = ()
    until: datetime | None = None
    reason: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether a further answer would change nothing."""
        return self.outcome != "waiting"

    def told(self) -> str:
        """In words."""
        if self.outcome == "waiting":
            left = [name for name in self.people if name not in self.approved_by]
            so_far = f"approved by {', '.join(self.approved_by)}; " if self.approved_by else ""
            return (
                f"{so_far}waits for {self.needed - len(self.approved_by)} of {', '.join(left)}; a no if unanswered by "
                f"{self.until}"
            )
        return {
            "automatic": "needs no approval",
            "approved": f"approved by {', '.join(self.approved_by)}",
            "rejected": f"rejected: {self.reason}",
            "timeout": f"not answered by {self.until}: a no",
        }[self.outcome]


def standing(entries: Iterable[Entry], decision: Entry) -> Standing:
    """Where `decision` stands, from the answers that came after it; the first that settles it stands.

    Only people that the decision names count, each once; where it wants them authenticated, only by Airflow's login.
    """
    rule = decision.payload.get("approval")
    if rule is None:
        return Standing("automatic")
    people, needed = tuple(rule["by"]), int(rule["count"])
    until = datetime.fromisoformat(rule["until"])
    approved: list[str] = []
    for answer in answers(entries, decision.key):
        said, by = answer.payload["answer"], answer.payload["by"]
        if said == "timeout":
            return Standing("timeout", tuple(approved), needed, people, until)
        if by not in people or (rule.get("authenticated") and answer.payload.get("identity") != "airflow"):
            continue
        if said == "reject":
            return Standing(
                "rejected", tuple(approved), needed, people, until, f"{by}: {answer.payload['reason']}"
            )
        if said == "approve" and by not in approved:
            approved.append(by)
        if len(approved) >= needed:
            return Standing("approved", tuple(approved), needed, people, until)
    return Standing("waiting", tuple(approved), needed, people, until)


def answers(entries: Iterable[Entry], decision: str) -> Sequence[Entry]:
    """The answers to the decision of this key, in order."""
    return [e for e in entries if e.kind == "approval" and e.payload["decision"] == decision]
