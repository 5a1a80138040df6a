"""What people leave out of a cycle: a series, a time point or a region, and when they took it back.

Revision ID: 0005
Revises: 0003
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
    """Create the table."""
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


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("left_out")
