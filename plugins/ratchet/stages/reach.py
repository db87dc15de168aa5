"""Which departure dates a set of received partitions can change. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from ratchet.loop import Loop
from ratchet.stages.jobs import last_complete_day

#: Sources whose rows are facts about predictions; they change no feature.
FACT_SOURCES = frozenset({"predictions", "served_features", "feedback", "telemetry"})


def reach_of(
    loop: Loop, dirty: Iterable[tuple[str, date]], first_known: date, last_known: date, as_of: datetime
) -> list[date]:
    """The dates of facts and features to rebuild for `dirty` (source, received date), in order.

    A row received on day r can amend facts of departures up to `amend_days` before r, and a feature that looks
    back `lookback_days` from a departure after r. A change of a reference source reaches every known date.
    The day that is not over at the as-of is built as far as it is known; later ones are left out.

    Args:
        first_known, last_known: first and last departure date of the landed schedule.
    """
    dirty = list(dirty)
    if not dirty:
        return []
    last = min(last_known, last_complete_day(loop, as_of) + timedelta(days=1))
    if any(source in loop.sources and loop.sources[source].reference for source, _ in dirty):
        first = first_known
    else:
        days = [day for _, day in dirty]
        facts_only = all(source in FACT_SOURCES for source, _ in dirty)
        first = max(min(days) - timedelta(days=loop.reach.amend_days), first_known)
        ahead = loop.reach.ahead_days if facts_only else loop.reach.lookback_days
        last = min(max(days) + timedelta(days=ahead), last)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
