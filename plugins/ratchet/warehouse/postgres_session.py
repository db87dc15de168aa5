"""A session of the warehouse on Postgres: how it is opened, what it is set to, which databases it refuses."""

from __future__ import annotations

from typing import Any

import psycopg2
import psycopg2.extras

from ratchet.settings import PostgresAddress, Settings
from ratchet.warehouse.protocol import WarehouseError

#: Longer than any statement that is alive: a build over years of events takes minutes.
STATEMENT_SECONDS = 4 * 3600
#: A session that died with its machine must not keep its locks for good.
IDLE_TRANSACTION_SECONDS = 3600


# Times are stored as UTC without zone; a session in another zone would shift every cast. Compiling a query costs more
# than these queries take. What is joined here are views over whole ranges: guessing few rows, Postgres would
# compare each with each.
_SESSION = (
    "set timezone = 'UTC'",
    "set datestyle = 'ISO'",
    "set intervalstyle = 'postgres'",
    "set bytea_output = 'hex'",
    "set client_encoding = 'UTF8'",
    "set jit = off",
    "set enable_nestloop = off",
    "set enable_mergejoin = off",
    "set work_mem = '64MB'",
)


def connected(address: PostgresAddress, settings: Settings, purpose: str) -> Any:
    """A connection that commits each statement by itself, named `purpose` for whoever asks who is there.

    Raises:
        psycopg2.OperationalError: the server does not answer or refuses; its message holds no password.
        WarehouseError: the database stores or orders text in a way that the warehouse must not depend on.
    """
    connection = psycopg2.connect(
        host=address.host,
        port=address.port,
        dbname=address.database,
        user=address.user,
        password=address.password,
        # Postgres keeps 63 bytes of a name.
        application_name=purpose.encode("ascii", "replace").decode()[:63],
        connect_timeout=10,
        keepalives_idle=60,
        **dict(address.tls),
    )
    connection.autocommit = True
    psycopg2.extras.register_default_json(connection, loads=lambda text: text)
    psycopg2.extras.register_default_jsonb(connection, loads=lambda text: text)
    psycopg2.extras.register_uuid(conn_or_curs=connection)
    with connection.cursor() as cursor:
        # A lock_timeout of zero would wait for ever.
        cursor.execute(
            f"{'; '.join(_SESSION)}; set lock_timeout = %s; set statement_timeout = %s; "
            "set idle_in_transaction_session_timeout = %s",
            (
                max(1, round(settings.lock_wait_seconds * 1000)),
                round((STATEMENT_SECONDS + settings.lock_wait_seconds) * 1000),
                IDLE_TRANSACTION_SECONDS * 1000,
            ),
        )
        cursor.execute("select current_setting('server_encoding') = 'UTF8' and 'Z' < 'a' and 'a-b' < 'aB'")
        if not cursor.fetchone()[0]:
            connection.close()
            raise WarehouseError(
                f"{address.name} orders or stores text its own way, and ties between versions would break by it; "
                "create it with: create database <name> encoding 'UTF8' lc_collate 'C' template template0"
            )
    return connection
