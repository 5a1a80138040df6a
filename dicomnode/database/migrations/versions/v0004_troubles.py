"""The code of every event fits its column (SQLite never looked), and what goes wrong now has a table.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the column, make the table."""
    _event_code(32)
    op.create_table(
        "troubles",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_troubles")),
    )


def downgrade() -> None:
    """Remove the table. The column stays wide: rows may need it, and none may be changed."""
    op.drop_table("troubles")


def _event_code(length: int) -> None:
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps texts of any length under every type
        op.alter_column("events", "event_code", type_=sa.String(length))
