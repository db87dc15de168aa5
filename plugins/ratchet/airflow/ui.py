"""Ratchet's place in Airflow's UI: the entry of the navigation, and the app behind it.

Every process of Airflow imports the plugin, and few of them serve pages: the app is made at its first request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from threading import Lock
from typing import Any

PREFIX = "/ratchet"
Message = MutableMapping[str, Any]
_making = Lock()


class PagesApp:
    """An ASGI app that is made when it is first asked."""

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        from starlette.concurrency import run_in_threadpool

        # Its imports take a second: not in the loop that answers everybody else.
        app = await run_in_threadpool(_app)
        await app(scope, receive, send)


def _app() -> Any:
    with _making:
        return _made()


@cache
def _made() -> Any:
    from ratchet.airflow.pages_app import build

    return build()


def fastapi_apps() -> list[dict[str, Any]]:
    """What Airflow mounts."""
    return [{"app": PagesApp(), "url_prefix": PREFIX, "name": "Ratchet"}]


def external_views() -> list[dict[str, Any]]:
    """The entry of Airflow's navigation, which shows the pages in a frame of the same origin."""
    return [
        {
            "name": "Ratchet",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "url_route": "ratchet",
            "icon": f"{PREFIX}/static/ratchet.svg",
            "nav_top_level": True,
        }
    ]
