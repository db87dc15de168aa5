"""Days of a loop: local departure dates, and when they are over."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from ratchet.loop import Loop


def last_complete_day(loop: Loop, as_of: datetime) -> date:
    """The last departure date, in the loop's time zone, that is over at `as_of` (UTC)."""
    local = as_of.replace(tzinfo=UTC).astimezone(ZoneInfo(loop.timezone))
    return local.date() - timedelta(days=1)


def last_mature_day(loop: Loop, as_of: datetime) -> date:
    """The last departure date, local, whose outcome windows are all closed at `as_of` (UTC)."""
    return last_complete_day(loop, as_of - timedelta(hours=loop.label.maturity_hours))


def last_answered_day(loop: Loop, as_of: datetime) -> date:
    """The last departure date, local, about whose units no answer counts any more that comes after `as_of` (UTC)."""
    waits = max((rail.maturity_hours for rail in loop.guardrails if rail.metric == "rating"), default=168)
    return last_complete_day(loop, as_of - timedelta(hours=waits))


def end_of_day(loop: Loop, day: date) -> datetime:
    """The moment (UTC) at which `day` ends in the loop's time zone."""
    midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), tzinfo=ZoneInfo(loop.timezone))
    return midnight.astimezone(UTC).replace(tzinfo=None)
