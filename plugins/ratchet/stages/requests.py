"""Close a retrain request by hand."""

from __future__ import annotations

from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of, state_of


class NoOpenRequest(RuntimeError):
    """There is nothing to close."""


def close(settings: Settings, loop: Loop, reason: str) -> str:
    """Record that the open request is closed, and why; what was closed, in words.

    Raises:
        NoOpenRequest: no request is open.
    """
    request = state_of(settings, loop).request
    if request is None:
        raise NoOpenRequest(f"no retrain request of loop {loop.loop} is open")
    ledger_of(settings).append(
        loop=loop.loop,
        kind="request_closed",
        key=f"closed:{request.key}",
        as_of=request.as_of,
        payload={"request": request.key, "reason": reason},
        actor="on-call",
    )
    return f"closed {request.tier} request {request.key}: {reason}"
