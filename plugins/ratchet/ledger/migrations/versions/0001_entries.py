"""Create the entries, and refuse to change or delete one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

REFUSE = "the ledger is append-only"


def upgrade() -> None:
    """Create the table and the triggers that keep it append-only."""
    op.create_table(
        "ledger_entries",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("loop", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("as_of", sa.String(32), nullable=False),
        sa.Column("recorded_at", sa.String(40), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.UniqueConstraint("loop", "key", name="uq_ledger_entries_loop_key"),
    )
    op.create_index("ix_ledger_entries_loop_kind", "ledger_entries", ["loop", "kind"])
    dialect = op.get_bind().dialect.name
    if dialect == "sqlite":
        for verb in ("update", "delete"):
            op.execute(
                f"create trigger ledger_refuse_{verb} before {verb} on ledger_entries "
                f"begin select raise(abort, '{REFUSE}'); end"
            )
    elif dialect == "postgresql":
        op.execute(
            "create function ledger_refuse() returns trigger language plpgsql as "
            f"$$ begin raise exception '{REFUSE}'; end $$"
        )
        op.execute(
            "create trigger ledger_refuse_change before update or delete on ledger_entries "
            "for each row execute function ledger_refuse()"
        )


def downgrade() -> None:
    """There is no way back: the ledger is the audit trail."""
    raise NotImplementedError("the ledger is never dropped by a migration; archive the database instead")
