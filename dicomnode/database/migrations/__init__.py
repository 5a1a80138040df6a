"""Alembic migrations of the archive. The Database runs them; there is no alembic.ini."""
