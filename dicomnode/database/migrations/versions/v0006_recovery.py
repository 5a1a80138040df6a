"""A region's dose has its interval and its value corrected for partial volume. Rows of before have none.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NUMBERS = ("low_gy", "high_gy", "recovery", "recovered_gy", "recovered_sigma_gy")


def upgrade() -> None:
    """Add the columns."""
    for name in NUMBERS:
        op.add_column("organ_doses", sa.Column(name, sa.Float(53), nullable=True))
    op.add_column("organ_doses", sa.Column("recovery_limit", sa.Text(), nullable=True))


def downgrade() -> None:
    """Remove the columns."""
    for name in (*NUMBERS, "recovery_limit"):
        op.drop_column("organ_doses", name)
