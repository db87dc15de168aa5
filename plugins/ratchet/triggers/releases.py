"""May a change of what serves take effect on this day? The loop file's weekdays and freezes.

Going back is never held up: a release calendar protects users from what is new, not from its end.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ratchet.loop_governance import WEEKDAYS

if TYPE_CHECKING:
    from ratchet.loop import Loop

#: What brings something new to users, or begins to.
RELEASES = frozenset({"advance", "promote", "bootstrap", "start"})


def release_block(loop: Loop, action: str, as_of: datetime) -> str | None:
    """Why `action` has to wait at `as_of` (UTC, naive), or None.

    The day is the local one of the moment from which the change would hold.
    """
    if action not in RELEASES:
        return None
    day = as_of.replace(tzinfo=UTC).astimezone(ZoneInfo(loop.timezone)).date()
    for freeze in loop.releases.freeze:
        if freeze.first <= day <= freeze.last:
            return f"{day} lies in the freeze {freeze.first} to {freeze.last}: {freeze.reason}"
    weekday = WEEKDAYS[day.weekday()]
    if weekday not in loop.releases.weekdays:
        return f"{day} is a {weekday}; releases are on {', '.join(loop.releases.weekdays)}"
    return None
