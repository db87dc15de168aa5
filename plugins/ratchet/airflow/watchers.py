"""The trigger that watches a queue for an asset: an event when messages have come, and nothing is taken from it.

The messages are read by the run that the event starts. A watcher that is restarted, or runs twice, at worst starts
a run that finds nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

_log = logging.getLogger("ratchet.trigger")
_BLOCK_MILLISECONDS = 5_000
_LONGEST_PAUSE_SECONDS = 60.0


class StreamTrigger(BaseEventTrigger):
    """Fires when a Redis stream has messages that the group has not read; then at most once a gathering window.

    The window is RATCHET_SENSOR_POLL_SECONDS: messages that come in it are one event, hence one micro-batch.
    """

    def __init__(self, connection: str, stream: str, group: str) -> None:
        super().__init__()
        self.connection = connection
        self.stream = stream
        self.group = group

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments that make this trigger again in the triggerer; no address among them."""
        return (
            "ratchet.airflow.watchers.StreamTrigger",
            {"connection": self.connection, "stream": self.stream, "group": self.group},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """An event for each window in which messages came; waits out a queue that is not there."""
        import redis.asyncio

        from ratchet.airflow.connections import url_in_triggerer
        from ratchet.settings import load_settings

        settings = load_settings()
        seen: str | None = None
        pause = 1.0
        while True:
            try:
                url = await url_in_triggerer(self.connection, settings)
                client = redis.asyncio.Redis.from_url(
                    url, protocol=2, decode_responses=True, socket_connect_timeout=10, socket_timeout=30
                )
                async with client:
                    if seen is None:
                        seen = await self._read_by_the_group(client)
                    while True:
                        seen, has_news = await self._wait(client, seen, settings.sensor_poll_seconds)
                        pause = 1.0
                        if has_news:
                            yield TriggerEvent({"stream": self.stream, "last_id": seen})
            except Exception as failed:
                # The asset would never have an event again if this ended. Only the kind: a text may show the address.
                _log.warning(
                    "stream %s of connection %s can't be watched (%s); next try in %.0f s",
                    self.stream,
                    self.connection,
                    type(failed).__name__,
                    pause,
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _read_by_the_group(self, client: Any) -> str:
        """The id up to which the group has read and acknowledged; what comes after it is news."""
        if not await client.exists(self.stream):
            return "0-0"
        for group in await client.xinfo_groups(self.stream):
            if group["name"] == self.group:
                waiting = await client.xpending(self.stream, self.group)
                # Ids are exclusive here: one pending message makes everything from the start of it news.
                return "0-0" if waiting["pending"] else str(group["last-delivered-id"])
        return "0-0"

    async def _wait(self, client: Any, seen: str, window_seconds: float) -> tuple[str, bool]:
        """The newest id and whether there was news after `seen`, at the latest after the server's time to block."""
        found = await client.xread({self.stream: seen}, count=1, block=_BLOCK_MILLISECONDS)
        if found:
            await asyncio.sleep(window_seconds)
        elif not await client.exists(self.stream):
            return "0-0", False
        newest = str((await client.xinfo_stream(self.stream))["last-generated-id"])
        if not found and _order(newest) < _order(seen):
            return "0-0", False  # another stream of this name: it starts again
        return newest, bool(found)


def _order(key: str) -> tuple[int, int]:
    milliseconds, _, sequence = key.partition("-")
    return int(milliseconds), int(sequence)
