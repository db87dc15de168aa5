"""Refuse to empty the table: triggers for each row do not see a `truncate`."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """SQLite has no truncate."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "create trigger ledger_refuse_truncate before truncate on ledger_entries "
            "for each statement execute function ledger_refuse()"
        )


def downgrade() -> None:
    """There is no way back: the ledger is the audit trail."""
    raise NotImplementedError("the ledger is never dropped by a migration; archive the database instead")
