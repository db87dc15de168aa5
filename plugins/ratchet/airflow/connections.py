"""Airflow's connections behind the names in a loop file: into the settings, for the code that knows no Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from ratchet.connections import ConnectionMissing
from ratchet.loop import Loop
from ratchet.settings import Settings

# What Airflow calls the kind of a connection, and the scheme that the client of such an address expects.
_SCHEMES = {
    "postgres": "postgresql+psycopg2",
    "postgresql": "postgresql+psycopg2",
    "mysql": "mysql+pymysql",
    "mssql": "mssql+pymssql",
    "sqlite": "sqlite",
    "redis": "redis",
}
# Extras that are the provider's own and mean nothing to a client.
_OWN_EXTRAS = frozenset({"url", "ssl", "db", "cursor"})


def url_of(connection: Any, extra: Mapping[str, Any], airflow_uri: str) -> str:
    """The URL of an Airflow connection: its extra `url` as it stands, else one made of its fields.

    Kinds that are no database and no Redis keep Airflow's own form, `airflow_uri`.
    """
    if extra.get("url"):
        return str(extra["url"])
    kind = (connection.conn_type or "").lower().replace("-", "_")
    if kind not in _SCHEMES:
        return airflow_uri
    scheme = _SCHEMES[kind]
    if kind == "sqlite":
        return f"sqlite:///{connection.host or ''}"
    if kind == "redis" and extra.get("ssl"):
        scheme = "rediss"
    login = quote(connection.login, safe="") if connection.login else ""
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    at = "@" if login or password else ""
    port = f":{connection.port}" if connection.port else ""
    name = connection.schema or (str(extra["db"]) if kind == "redis" and "db" in extra else "")
    options = {key: value for key, value in extra.items() if key not in _OWN_EXTRAS}
    query = f"?{urlencode(options)}" if options else ""
    return f"{scheme}://{login}{password}{at}{connection.host or ''}{port}/{quote(str(name), safe='')}{query}"


def with_connections(settings: Settings, loop: Loop) -> Settings:
    """The settings with every connection that the loop's sources name: Airflow's, else the environment's.

    Raises:
        ConnectionMissing: Airflow could not be asked.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.sdk.log import mask_secret

    found = dict(settings.connections)
    for name in sorted({source.connection for source in loop.sources.values() if source.connection}):
        try:
            asked = Connection.get(name)
            found[name] = url_of(asked, asked.extra_dejson, asked.get_uri())
        except AirflowNotFoundException:
            continue  # the environment may have it; connection_url says so if it does not
        except Exception as failed:
            # The message of a secrets backend may quote an address.
            raise ConnectionMissing(
                f"Airflow could not be asked for connection {name} ({type(failed).__name__})"
            ) from None
    for url in found.values():
        mask_secret(url)
        if (password := urlsplit(url).password) is not None:
            mask_secret(unquote(password))
    return replace(settings, connections=found)


async def url_in_triggerer(name: str, settings: Settings) -> str:
    """The URL of connection `name` for code in the triggerer's event loop, where only awaited calls may ask.

    Raises:
        ConnectionMissing: neither Airflow nor the environment has it.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    from ratchet.connections import connection_url

    try:
        connection = await Connection.async_get(name)
    except AirflowNotFoundException:
        return connection_url(name, settings)
    return url_of(connection, await connection.aextra_dejson(), await connection.aget_uri())
