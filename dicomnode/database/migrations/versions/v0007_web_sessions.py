"""Sessions of the review page, and what was looked at in each.

Revision ID: 0007
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "web_sessions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("began_at", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_sessions")),
    )
    op.create_index(op.f("ix_web_sessions_person_id"), "web_sessions", ["person_id"])
    op.create_table(
        "web_looks",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["web_sessions.id"], name=op.f("fk_web_looks_session_id")),
        sa.PrimaryKeyConstraint("session_id", "subject", name=op.f("pk_web_looks")),
    )


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("web_looks")
    op.drop_table("web_sessions")
