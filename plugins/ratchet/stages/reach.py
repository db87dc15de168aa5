"""Which of the reached departure dates a build can build. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ratchet.loop import Loop

#: Sources whose rows are facts about predictions; they change no feature.
FACT_SOURCES = frozenset({"predictions", "feedback", "telemetry", "served_features"})


def last_buildable(loop: Loop, last_landed: date) -> date:
    """The last date (of the loop's zone) that has a prediction due before the end of `last_landed` (UTC)."""
    landed_until = datetime.combine(last_landed + timedelta(days=1), time.min, tzinfo=UTC)
    # A prediction due at the very end knows rows that have not landed.
    departs = landed_until + timedelta(hours=loop.prediction.lead_hours) - timedelta(microseconds=1)
    return departs.astimezone(ZoneInfo(loop.timezone)).date()


def buildable(loop: Loop, reached: dict[date, bool], last_landed: date) -> dict[date, bool]:
    """`reached` without the dates of which nothing can be known yet: they are reached again when they have come.

    Args:
        reached: departure dates, and whether their features change too.
        last_landed: the last received date (UTC) that has landed.
    """
    last = last_buildable(loop, last_landed)
    return {day: features for day, features in reached.items() if day <= last}
