"""Who contributed to a decision: how many answers and labels it rests on, by source. Counts only, never an id.

The numbers come from the sums that the records keep, so they are those that were judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ratchet.certificate.contents import LOOKS, Sums, recorded
from ratchet.certificate.evidence import Section
from ratchet.ledger.chain import Entry

#: What a column of the arms' sums counts, and the source that it came from.
_OF_ARMS = (
    ("n_ratings", "feedback", "ratings of served predictions"),
    ("n_tickets", "feedback", "tickets about served predictions"),
    ("n_asked", "telemetry", "times somebody was asked for a rating"),
    ("n_labelled", "outcomes", "outcomes of units that one of both served"),
)


def contributions(entries: Sequence[Entry], entry: Entry) -> list[tuple[str, str, int]]:
    """(source, what, how many) of what a look rests on, and the labels that the new model learned from."""
    if entry.kind not in LOOKS:
        return []
    upto = [other for other in entries if other.seq <= entry.seq]
    found = [
        (source, what, count)
        for column, source, what in _OF_ARMS
        if (count := _sum(recorded(upto, entry.payload["experiment_id"]), column)) is not None
    ]
    started = next((e for e in upto if e.hash == entry.payload.get("started")), None)
    request = None if started is None else started.payload.get("request")
    training = next((e for e in upto if e.kind == "training" and e.payload.get("request") == request), None)
    if training is not None and isinstance(training.payload.get("train_rows"), int):
        found.append(
            ("outcomes", "labels that the new model was first fitted on", training.payload["train_rows"])
        )
    return found


def section(entries: Sequence[Entry], entry: Entry) -> Section:
    """The contributions as a table."""
    rows = [(source, what, f"{count:,}") for source, what, count in contributions(entries, entry)]
    return Section("Rests on contributions", ("source", "what", "how many"), tuple(rows))


def _sum(sums: Sums, column: str) -> int | None:
    """The column's sum over days and arms, where a table of arms has it."""
    for table in sums.tables.values():
        if "arm" in table.columns and column in table.columns:
            at = table.columns.index(column)
            return sum(_whole(row[at]) for rows in table.rows.values() for row in rows)
    return None


def _whole(value: Any) -> int:
    return 0 if value is None else int(value)
