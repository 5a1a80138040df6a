"""The audit trail is append-only and linear: the database itself refuses everything else.

SQLite: triggers on INSERT, UPDATE and DELETE. INSERT OR REPLACE deletes without the DELETE trigger
unless recursive_triggers is on, so the INSERT trigger refuses a row that is already there.
PostgreSQL: the same by row, TRUNCATE by statement, all of them ENABLE ALWAYS so that
session_replication_role cannot switch them off; the INSERT trigger takes the trail's lock and
recomputes the hash.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

GENESIS = "0" * 64
# The same key as in audit/trail.py, where it is explained; a migration never changes.
LOCK = 0x64696175

_SQLITE_INSERT = f"""
CREATE TRIGGER events_chain BEFORE INSERT ON events
WHEN NEW.seq IS NOT COALESCE((SELECT MAX(seq) FROM events), 0) + 1
  OR NEW.prev_hash IS NOT COALESCE((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), '{GENESIS}')
  OR EXISTS (SELECT 1 FROM events WHERE seq = NEW.seq OR hash = NEW.hash OR prev_hash = NEW.prev_hash)
BEGIN SELECT RAISE(ABORT, 'audit trail: the row does not follow the last one'); END
"""

_SQLITE_CHECKPOINT = """
CREATE TRIGGER checkpoints_once BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit trail: checkpoints are append-only'); END
"""

_POSTGRESQL_INSERT = f"""
CREATE FUNCTION events_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  last_seq bigint := 0;
  last_hash text := '{GENESIS}';
BEGIN
  PERFORM pg_advisory_xact_lock({LOCK});
  SELECT seq, hash INTO last_seq, last_hash FROM events ORDER BY seq DESC LIMIT 1;
  IF NEW.seq IS DISTINCT FROM COALESCE(last_seq, 0) + 1
     OR NEW.prev_hash IS DISTINCT FROM COALESCE(last_hash, '{GENESIS}') THEN
    RAISE EXCEPTION 'audit trail: the row does not follow the last one'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  IF NEW.hash IS DISTINCT FROM encode(sha256(convert_to(concat_ws(
       chr(10), 'dicomnode-audit-1', NEW.seq, NEW.at, NEW.prev_hash, NEW.body), 'UTF8')), 'hex') THEN
    RAISE EXCEPTION 'audit trail: the hash is not that of the row'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$
"""

_POSTGRESQL_REFUSE = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'audit trail: % is append-only', TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END $$
"""


def upgrade() -> None:
    """Create the triggers."""
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def downgrade() -> None:
    """Remove the triggers; the trail can then be changed."""
    if op.get_bind().dialect.name == "sqlite":
        for table in ("events", "checkpoints"):
            op.execute(f"DROP TRIGGER {table}_no_update")
            op.execute(f"DROP TRIGGER {table}_no_delete")
        op.execute("DROP TRIGGER events_chain")
        op.execute("DROP TRIGGER checkpoints_once")
    else:
        op.execute("DROP FUNCTION events_chain() CASCADE")
        op.execute("DROP FUNCTION audit_refuse() CASCADE")


def _guard_sqlite() -> None:
    for table in ("events", "checkpoints"):
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'audit trail: {table} is append-only'); END"
            )
    op.execute(_SQLITE_INSERT)
    op.execute(_SQLITE_CHECKPOINT)


def _guard_postgresql() -> None:
    op.execute(_POSTGRESQL_INSERT)
    op.execute(_POSTGRESQL_REFUSE)
    # Without this a temporary table named events could stand in front of the real one.
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(f"ALTER FUNCTION events_chain() SET search_path = {schema}, pg_temp")
    op.execute(
        "CREATE TRIGGER events_chain BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_chain()"
    )
    op.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER events_chain")
    for table in ("events", "checkpoints"):
        _refuse(table, "change", "UPDATE OR DELETE", "ROW")
        _refuse(table, "truncate", "TRUNCATE", "STATEMENT")


def _refuse(table: str, name: str, verbs: str, per: str) -> None:
    trigger = f"{table}_no_{name}"
    op.execute(
        f"CREATE TRIGGER {trigger} BEFORE {verbs} ON {table} FOR EACH {per} EXECUTE FUNCTION audit_refuse()"
    )
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
