"""Apply the trigger policy to a health record, and do what an urgent tier does first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ratchet.certificate.judges import judge_trigger
from ratchet.incidents.signals import signals_of
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, fold
from ratchet.ledger.trainings import learned_until, spent_in_month
from ratchet.loop import Loop
from ratchet.loop_triggers import Budget
from ratchet.monitoring.health import last_mature_day
from ratchet.published import publish, read
from ratchet.settings import Settings
from ratchet.stages.monitor import NotMeasured
from ratchet.stages.provenance import judging
from ratchet.stages.records import ledger_of
from ratchet.triggers.policy import TriggerFacts
from ratchet.triggers.releases import release_block

Log = Callable[[str], None]
KEPT_DECISIONS = 60
CPU = Budget(per_month=1.0)  # what is counted where the loop file sets no budget


class NotDecided(RuntimeError):
    """There is no trigger entry for this as-of: run decide_retrain first."""


def facts_of(
    settings: Settings,
    loop: Loop,
    entries: Sequence[Entry],
    state: LoopState,
    health: dict[str, Any],
    as_of: datetime,
) -> TriggerFacts:
    """What the decision at `as_of` rests on besides health and history."""
    signals = signals_of(loop, health)
    general, urgent = loop.triggers.budget or CPU, loop.triggers.urgent.budget or loop.triggers.budget or CPU
    return TriggerFacts(
        alerts={s.name: s.evidence for s in signals if s.state == "alert"},
        unused=tuple(sorted({s.feature for s in signals if s.feature and s.importance == 0})),
        new_labels=_new_labels(settings, loop, entries, state, as_of),
        general=spent_in_month(entries, as_of, general.unit),
        urgent=spent_in_month(entries, as_of, urgent.unit, "urgent"),
        freeze=frozen(loop, as_of),
    )


def frozen(loop: Loop, as_of: datetime) -> str | None:
    """Why nothing is released at `as_of` for a freeze; weekdays only hold back the offering."""
    every_day = loop.model_copy(
        update={
            "releases": loop.releases.model_copy(
                update={"weekdays": type(loop.releases).model_fields["weekdays"].default}
            )
        }
    )
    return release_block(every_day, "start", as_of)


def _new_labels(
    settings: Settings, loop: Loop, entries: Sequence[Entry], state: LoopState, as_of: datetime
) -> int | None:
    """Labels of closed windows that the champion was not fitted on; None where nobody counted."""
    maturity = read(settings, loop.loop, "label_maturity")
    learned = None if state.champion_version is None else learned_until(entries, state.champion_version)
    if maturity is None or learned is None:
        return None
    until = last_mature_day(loop, as_of).isoformat()
    return sum(
        int(day["n_in_window"]) for day in maturity["days"] if learned < day["departure_date"] <= until
    )


def decide(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Apply the trigger policy to the health record of `as_of`; the key of the request it opened, or None.

    Raises:
        NotMeasured: there is no health record of `as_of`.
    """
    ledger = ledger_of(settings)
    key = f"trigger:{as_of.isoformat()}"
    known = ledger.find(loop.loop, key)
    if known is None:
        entries = ledger.entries(loop.loop)
        state = fold(entries)
        record = next((e for e in entries if e.key == f"health:{as_of.isoformat()}"), None)
        if record is None:
            raise NotMeasured(f"no health record of loop {loop.loop} for {as_of}: run measure_health first")
        newest = max((e.as_of for e in entries if e.kind == "trigger"), default="")
        if as_of.isoformat() < newest:
            raise NotMeasured(f"triggers were decided as of {newest}: the past asks for no retrain")
        facts = facts_of(settings, loop, entries, state, record.payload, as_of)
        decision = judge_trigger(loop, record.payload, state, as_of, facts)
        known = ledger.append(
            loop=loop.loop,
            kind="trigger",
            key=key,
            as_of=as_of,
            payload={
                "tier": decision.tier,
                "action": decision.action,
                "reason": decision.reason,
                "evidence": decision.evidence,
                "first": decision.first,
                "facts": facts.to_json(),
                "without_target": loop.triggers.urgent.without_target,
                "gate_limits": dict(loop.triggers.urgent.gate_limits) if decision.tier == "urgent" else {},
                "after": entries[-1].hash,
                "health": record.hash,
                "terms": loop.model_dump(mode="json", include={"triggers"}),
                "made": judging(settings, loop),
            },
        )
    publish_triggers(settings, loop, as_of)
    told = known.payload
    log(f"{told['action']}{' ' + told['tier'] if told['tier'] else ''}: {told['reason']}")
    return {
        "action": told["action"],
        "tier": told["tier"],
        "request": key if told["action"] == "request" else None,
        "first": told.get("first", "none"),
    }


def publish_triggers(settings: Settings, loop: Loop, as_of: datetime) -> None:
    """Publish the last decisions and what trainings have cost this month."""
    entries = ledger_of(settings).entries(loop.loop)
    budget = loop.triggers.budget
    unit = (budget or CPU).unit
    decisions = [
        {"as_of": e.as_of, **{name: e.payload.get(name) for name in ("tier", "action", "reason", "first")}}
        for e in entries
        if e.kind == "trigger"
    ]
    spent = spent_in_month(entries, as_of, unit)
    publish(
        settings,
        loop.loop,
        "triggers",
        {
            "as_of": as_of.isoformat(),
            "decisions": decisions[-KEPT_DECISIONS:],
            "spent": {
                "month": as_of.isoformat()[:7],
                "cost": spent.spent,
                "unit": unit,
                "expected": spent.expected,
                "budget": None if budget is None else budget.per_month,
            },
        },
    )


def fall_back(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Do what the decision of `as_of` says comes first: roll back, or let a constant serve. Twice is once.

    With nothing to go to, the model goes on and the ledger says so (kind `urgent_held`): an incident tells people.

    Raises:
        NotDecided: there is no decision of `as_of`.
    """
    from ratchet.stages.rollback import NoTarget, roll_back

    ledger = ledger_of(settings)
    decision = ledger.find(loop.loop, f"trigger:{as_of.isoformat()}")
    if decision is None:
        raise NotDecided(f"no trigger decision of loop {loop.loop} for {as_of}: run decide_retrain first")
    told = decision.payload
    if told.get("first", "none") == "none":
        return {"first": "none", "done": "nothing has to be done first"}
    entries = ledger.entries(loop.loop)
    health = next(e for e in entries if e.hash == told["health"])
    leaving = int(health.payload["model_version"])
    answered = next(
        (e for e in entries if e.payload.get("urgent") == decision.key or e.actor == decision.key), None
    )
    if answered is not None and fold(entries).champion_version != leaving:
        return {"first": told["first"], "done": f"{answered.key} stands"}
    reason = f"urgent: {told['reason']}"
    if told["first"] == "roll_back":
        try:
            done = roll_back(settings, loop, reason=reason, actor=decision.key, log=log, leaving=leaving)
            return {"first": "roll_back", "done": f"version {done['serves']} serves instead of {leaving}"}
        except NoTarget as none:
            missing = str(none)
    else:
        missing = "the loop file wants a constant"
    if told["first"] == "baseline" or told["without_target"] == "baseline":
        from ratchet.stages.baseline import serve_constant

        version = serve_constant(
            settings, loop, leaving=leaving, reason=reason, decision=decision.key, log=log
        )
        return {"first": "baseline", "done": f"version {version}, a constant, serves instead of {leaving}"}
    ledger.append(
        loop=loop.loop, kind="urgent_held", key=f"held:{decision.key}", as_of=as_of,
        payload={"urgent": decision.key, "version": leaving, "reason": missing},
    )  # fmt: skip
    log(f"version {leaving} goes on: {missing}")
    return {"first": told["first"], "done": f"held: {missing}"}
