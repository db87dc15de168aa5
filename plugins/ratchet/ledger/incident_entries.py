"""What the ledger says of incidents so far."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from ratchet.incidents.judge import Incidents, Mute
from ratchet.ledger.chain import Entry


def last_state(entries: Sequence[Entry]) -> Incidents:
    """What was open after the last judgement."""
    entry = next((e for e in reversed(entries) if e.kind == "incident"), None)
    return Incidents() if entry is None else Incidents.from_json(entry.payload["state"])


def mutes_of(entries: Sequence[Entry]) -> list[Mute]:
    """The mutes so far; of two of one incident the later counts."""
    return [
        Mute(
            e.payload["incident"],
            date.fromisoformat(e.payload["until"]),
            e.payload["reason"],
            e.payload["by"],
        )
        for e in entries
        if e.kind == "incident_muted"
    ]
