"""What trainings have cost, by month, from the ledger's entries. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ratchet.ledger.chain import Entry
from ratchet.triggers.policy import Spent

#: What one more training is expected to cost: the mean of so many last ones.
LAST = 3


def cost_of(entry: Entry, unit: str) -> float:
    """What a training entry says it cost; its seconds by the clock where no CPU time was recorded."""
    cost = entry.payload.get("cost") or {}
    value = cost.get(unit)
    return float(value if value is not None else cost.get("seconds", 0.0))


def spent_in_month(entries: Sequence[Entry], as_of: datetime, unit: str, tier: str | None = None) -> Spent:
    """What the trainings for requests of `as_of`'s month cost (of one tier if asked), and what one more may.

    A first champion's training counts: it cost as much. Months are of the trainings' as-of, UTC.
    """
    tiers = {e.key: e.payload["tier"] for e in entries if e.kind == "trigger"}
    trained = [e for e in entries if e.kind == "training"]
    mine = [e for e in trained if tier is None or tiers.get(e.payload["request"]) == tier]
    month = as_of.isoformat()[:7]
    last = trained[-LAST:]
    expected = sum(cost_of(e, unit) for e in last) / len(last) if last else None
    return Spent(sum(cost_of(e, unit) for e in mine if e.as_of[:7] == month), expected)


def learned_until(entries: Iterable[Entry], version: int) -> str | None:
    """The last departure date that `version` was fitted on, or None when no entry says so."""
    known = list(entries)
    request = next(
        (
            e.payload["request"]
            for e in reversed(known)
            if version in (e.payload.get("model_version"), e.payload.get("challenger_version"))
            and e.kind in ("bootstrap", "baseline", "rollout_started")
        ),
        None,
    )
    fitted = next((e for e in known if e.kind == "training" and e.payload["request"] == request), None)
    return None if fitted is None else fitted.payload.get("serving_train_end")
