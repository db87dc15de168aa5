"""How long past runs took, for estimates that people read. Nothing is decided by it."""

from __future__ import annotations

from ratchet.loop import Loop
from ratchet.published import publish, read
from ratchet.settings import Settings

SUMMARY = "timings"
#: Runs of each kind that are remembered.
KEPT = 30


def remember(settings: Settings, loop: Loop, what: str, units: int, seconds: float) -> None:
    """Keep that `what` took `seconds` for `units` (rows of a landing, dates of a build)."""
    if units <= 0:
        return
    known = read(settings, loop.loop, SUMMARY) or {}
    runs = [*known.get(what, []), {"units": units, "seconds": round(seconds, 3)}]
    publish(settings, loop.loop, SUMMARY, {**known, what: runs[-KEPT:]})


def estimate(settings: Settings, loop: Loop, what: str, units: int) -> float | None:
    """Seconds that `units` may take, from past runs' rate and never below the quickest; None without a past run."""
    runs = (read(settings, loop.loop, SUMMARY) or {}).get(what, [])
    if not runs:
        return None
    rate = sum(run["seconds"] for run in runs) / sum(run["units"] for run in runs)
    return max(min(run["seconds"] for run in runs), rate * units) if units else 0.0
