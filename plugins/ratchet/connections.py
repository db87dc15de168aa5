"""The address behind a connection's name. A loop file says the name; the address holds a secret and is kept apart.

What must stay out of here: Airflow's connections (ratchet.airflow.connections puts them into the settings), and
any message that shows an address.
"""

from __future__ import annotations

import re

from ratchet.settings import Settings

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,30}://")


class ConnectionMissing(LookupError):
    """A loop file names a connection that nobody gave, or one that is no address; the message says how to give it."""


def connection_url(name: str, settings: Settings) -> str:
    """The URL of the connection `name`. A secret: it goes to the client that connects, and nowhere else.

    Raises:
        ConnectionMissing: no such connection, or its value has no scheme.
    """
    if not _NAME.fullmatch(name):
        raise ConnectionMissing(
            f"{name!r} is no connection name; use lower-case letters, digits and underscores"
        )
    url = settings.connections.get(name)
    ways = (
        f"make an Airflow connection with the id {name}, or set RATCHET_CONNECTION_{name.upper()} to its URL"
    )
    if not url:
        raise ConnectionMissing(f"connection {name} is not known here: {ways}")
    if not _SCHEME.match(url):
        raise ConnectionMissing(f"connection {name} holds no URL (scheme://...): {ways}")
    return url
