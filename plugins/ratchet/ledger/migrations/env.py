"""Alembic environment of the ledger; `ratchet.ledger.store.migrate` passes the connection."""

from __future__ import annotations

from alembic import context

from ratchet.ledger.schema import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, version_table="ledger_version")
with context.begin_transaction():
    context.run_migrations()
