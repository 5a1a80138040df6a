"""What people leave out of a cycle, and when they took it back; how objects under one UID differ.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create table and column."""
    op.create_table(
        "left_out",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cycle_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.Column("undone_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name="fk_left_out_cycle_id"),
        sa.PrimaryKeyConstraint("id", name="pk_left_out"),
    )
    op.create_index("ix_left_out_cycle_id", "left_out", ["cycle_id"])
    op.add_column("instances", sa.Column("differences", sa.Text(), nullable=True))


def downgrade() -> None:
    """Remove table and column."""
    op.drop_column("instances", "differences")
    op.drop_table("left_out")
