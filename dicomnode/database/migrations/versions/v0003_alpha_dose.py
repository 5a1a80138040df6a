"""The part of a region's dose that alpha particles gave has a column. Rows of before keep it in their
calculation's parameters only.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("organ_doses", sa.Column("alpha_gy", sa.Float(53), nullable=True))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("organ_doses", "alpha_gy")
