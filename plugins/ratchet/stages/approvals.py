"""Answers of people to decisions that need them: from the command line, from Airflow, or none in time.

All leave the same ledger entry; what they amount to is `ratchet.ledger.approvals`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from ratchet.ledger.approvals import Answer, Identity, Standing, answers, standing
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.loop_governance import ApprovalRule
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of
from ratchet.stages.serving import effective_as_of

Log = Callable[[str], None]
DECISIONS = ("rollout_decision", "holdback_decision")
#: Who signs for what could not be judged, where the loop file asks nobody for a promotion.
UNSIGNED = ApprovalRule(by=("owner",), count=1, timeout_hours=72)


class CannotAnswer(RuntimeError):
    """The answer was not recorded: no such decision waits, or not for this person."""


def needed(loop: Loop, action: str, as_of: datetime, unsigned: Sequence[str] = ()) -> dict[str, Any] | None:
    """What the loop file wants for `action`, decided as of `as_of`, as the decision records it; None: nothing.

    What is `unsigned` (cohorts without enough evidence) needs the owner where the loop file asks nobody.
    """
    rule = loop.approvals.rule(action) or (UNSIGNED if unsigned else None)
    if rule is None:
        return None
    people = loop.approvals.people(rule, loop.owner.name)
    until = as_of + timedelta(hours=rule.timeout_hours)
    asked = {
        "by": list(people),
        "count": rule.count,
        "timeout_hours": rule.timeout_hours,
        "until": until.isoformat(),
    }
    return {**asked, "authenticated": True} if loop.approvals.authenticated else asked


def pending(entries: Sequence[Entry]) -> Entry | None:
    """The decision that is recorded and not carried out, or None."""
    state = fold(entries)
    undone = {trial.undone for trial in (state.rollout, state.holdback) if trial is not None}
    return next((e for e in reversed(entries) if e.kind in DECISIONS and e.key in undone), None)


def waiting(entries: Sequence[Entry]) -> tuple[Entry, Standing] | None:
    """The decision that waits for people, and where it stands."""
    decision = pending(entries)
    if decision is None:
        return None
    found = standing(entries, decision)
    return None if found.is_settled else (decision, found)


def answer(
    settings: Settings,
    loop: Loop,
    decision: str,
    said: Answer,
    *,
    by: Sequence[str],
    reason: str,
    actor: str,
    log: Log,
    identity: Identity = "claimed",
) -> Standing:
    """Record what a person says to a decision that waits; where it stands then. Saying it again changes nothing.

    `by` are the names that the person goes by; the one that the decision names counts. `identity` says how that is
    known; the ledger keeps it, and a decision that wants it authenticated takes Airflow's only. An answer to what
    somebody else has settled meanwhile changes nothing either.

    Raises:
        CannotAnswer: the ledger has no such decision, it does not wait, or `by` may not answer it.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    entry = next((e for e in entries if e.key == decision and e.kind in DECISIONS), None)
    if entry is None:
        found = waiting(entries)
        told = f"{found[0].key} does" if found else "none does"
        raise CannotAnswer(f"the ledger has no decision {decision!r} that may wait for an answer; {told}")
    now = standing(entries, entry)
    if now.outcome == "automatic":
        raise CannotAnswer(f"{decision} {now.told()}")
    if entry.payload["approval"].get("authenticated") and identity != "airflow":
        raise CannotAnswer(
            f"{decision} wants people whom Airflow knows (approvals.authenticated): answer it under Required actions"
        )
    name = next((name for name in by if name in now.people), None)
    if name is None:
        raise CannotAnswer(
            f"{by[0]!r} may not answer {decision}: the loop file names {', '.join(now.people)}"
        )
    too_late = overtaken(entries, entry)
    if too_late:
        log(f"nothing was recorded: {decision} {too_late}")
        return now
    ledger.append(
        loop=loop.loop, kind="approval", key=f"approval:{decision}:{said}:{name}",
        as_of=effective_as_of(read(settings, loop.loop, "partitions"), datetime.fromisoformat(entry.as_of)),
        actor=actor, payload={"decision": decision, "answer": said, "by": name, "reason": reason, "identity": identity},
    )  # fmt: skip
    after = standing(ledger.entries(loop.loop), entry)
    log(f"{name} says {said} to {decision}: {after.told()}")
    return after


def overtaken(entries: Sequence[Entry], decision: Entry) -> str:
    """Why an answer to `decision` would change nothing any more; empty while it waits."""
    now = standing(entries, decision)
    if now.is_settled:
        return f"waits no more: {now.told()}"
    waits = pending(entries)
    if waits is not None and waits.key == decision.key:
        return ""
    later = f"{waits.key} came after it" if waits else "its rollout went on or ended without it"
    return f"waits no more: {later}"


def not_recorded(settings: Settings, loop: Loop, decision: str, said: Answer, by: Sequence[str]) -> str:
    """Why the ledger has no such answer of one who goes by the names `by`; empty where it has it."""
    entries = ledger_of(settings).entries(loop.loop)
    for given in answers(entries, decision):
        if given.payload["answer"] == said and given.payload["by"] in by:
            return ""
    entry = next((e for e in entries if e.key == decision and e.kind in DECISIONS), None)
    return "" if entry is None else f"{decision} {overtaken(entries, entry)}"


def decision_of(settings: Settings, loop: Loop, decision: str) -> tuple[Entry, datetime]:
    """The decision of this key, and the moment from which silence is a no.

    Raises:
        CannotAnswer: the ledger has no such decision, or it needs nobody.
    """
    entry = ledger_of(settings).find(loop.loop, decision)
    if entry is None or entry.payload.get("approval") is None:
        raise CannotAnswer(f"the ledger has no decision {decision!r} that needs an answer")
    return entry, datetime.fromisoformat(entry.payload["approval"]["until"])


def expire(settings: Settings, loop: Loop, decision: Entry, as_of: datetime, log: Log) -> Standing:
    """Where `decision` stands at `as_of`; silence beyond its limit is recorded as a no."""
    ledger = ledger_of(settings)
    now = standing(ledger.entries(loop.loop), decision)
    if now.is_settled or now.until is None or as_of < now.until:
        return now
    return run_out(settings, loop, decision, as_of, log)


def run_out(settings: Settings, loop: Loop, decision: Entry, as_of: datetime, log: Log) -> Standing:
    """Record that nobody answered `decision` in time; where it stands (an answer that came before stands)."""
    ledger = ledger_of(settings)
    ledger.append(
        loop=loop.loop, kind="approval", key=f"approval:{decision.key}:timeout", as_of=as_of,
        payload={"decision": decision.key, "answer": "timeout", "by": "", "reason": "nobody answered in time"},
    )  # fmt: skip
    after = standing(ledger.entries(loop.loop), decision)
    log(f"{decision.key}: {after.told()}")
    return after


def ask(settings: Settings, loop: Loop, decision: str, turn: int, run: str) -> tuple[Entry, Standing] | None:
    """Note that `run` puts the decision before people for the `turn`-th answer; None when nobody has to be asked.

    One run asks; another that finds the same decision waiting leaves it to the first. Asking twice in one run is a
    retry.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    found = waiting(entries)
    if found is None or found[0].key != decision or len(found[1].approved_by) >= turn:
        return None
    asked = ledger.append(
        loop=loop.loop, kind="approval_asked", key=f"asked:{decision}:{turn}",
        as_of=datetime.fromisoformat(found[0].as_of), payload={"decision": decision, "turn": turn, "run": run},
    )  # fmt: skip
    return found if asked.payload["run"] == run else None
