"""The trigger behind the deferred sensors: looks at published summaries and the ledger, never at the warehouse."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

_log = logging.getLogger("ratchet.trigger")


class ConditionTrigger(BaseTrigger):
    """Fires when `condition` of `loop` holds, or at `deadline` (seconds since 1970) with what is missing.

    It logs the reason each time that it changes while the condition does not hold.
    """

    def __init__(
        self,
        loop: str,
        condition: str,
        wanted: dict[str, Any],
        poll_seconds: float,
        deadline: float | None = None,
    ) -> None:
        super().__init__()
        self.loop = loop
        self.condition = condition
        self.wanted = wanted
        self.poll_seconds = poll_seconds
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments that make this trigger again in the triggerer."""
        return (
            "ratchet.airflow.triggers.ConditionTrigger",
            {
                "loop": self.loop,
                "condition": self.condition,
                "wanted": self.wanted,
                "poll_seconds": self.poll_seconds,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every `poll_seconds`; one event, when the condition holds or the wait is over."""
        from ratchet.airflow.loops import loop_named
        from ratchet.airflow.windows import wanted_from
        from ratchet.settings import load_settings
        from ratchet.stages.conditions import check
        from ratchet.stages.jobs import JobClosed

        wanted = wanted_from(self.wanted)
        settings, loop, said = load_settings(), loop_named(self.loop), None
        while True:
            try:
                readiness = await asyncio.to_thread(check, settings, loop, self.condition, wanted)
            except JobClosed as closed:
                yield TriggerEvent({"closed": str(closed)})
                return
            if readiness.ready:
                yield TriggerEvent({"reason": readiness.reason})
                return
            if readiness.reason != said:
                said = readiness.reason
                _log.info("waiting: %s", said)
            if self.deadline is not None and time.time() >= self.deadline:
                yield TriggerEvent({"missing": readiness.reason})
                return
            await asyncio.sleep(self.poll_seconds)
