"""Runs the migrations on the connection that ``Database`` hands over, inside its transaction.

The views are derived from the tables and hold nothing: they are dropped before the tables change and
made again from audit/views.sql when the newest revision is reached.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from dicomnode.database.migrations.views import create_views, drop_views
from dicomnode.database.tables import Base


def migrate(connection: Connection) -> None:
    """Bring the tables to the revision that was asked for, then the views."""
    drop_views(connection)
    context.configure(
        connection=connection, target_metadata=Base.metadata, transactional_ddl=True, compare_type=True
    )
    with context.begin_transaction():
        context.run_migrations()
    head = context.script.get_current_head()
    if context.get_context().get_current_revision() == head:
        create_views(connection)


migrate(context.config.attributes["connection"])
