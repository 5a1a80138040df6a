"""Every table of the archive.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def sequence() -> TypeEngine[int]:
    """SQLite numbers rows by its own INTEGER primary key."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "administrations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("nuclide", sa.String(length=16), nullable=False),
        sa.Column("radiopharmaceutical", sa.Text(), nullable=False),
        sa.Column("activity_mbq", sa.Float(precision=53), nullable=False),
        sa.Column("residual_mbq", sa.Float(precision=53), nullable=False),
        sa.Column("administered_at", TIME, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_administrations")),
    )
    op.create_index(op.f("ix_administrations_patient_id"), "administrations", ["patient_id"], unique=False)
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seq", sequence(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("count", sequence(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "events",
        sa.Column("seq", sequence(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.Column("kind", sa.String(length=48), nullable=False),
        sa.Column("event_code", sa.String(length=16), nullable=False),
        sa.Column("action", sa.String(length=1), nullable=False),
        sa.Column("outcome", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("cycle_id", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sa.UniqueConstraint("hash", name=op.f("uq_events_hash")),
        sa.UniqueConstraint("prev_hash", name=op.f("uq_events_prev_hash")),
    )
    op.create_index(op.f("ix_events_actor"), "events", ["actor"], unique=False)
    op.create_index(op.f("ix_events_at"), "events", ["at"], unique=False)
    op.create_index(op.f("ix_events_cycle_id"), "events", ["cycle_id"], unique=False)
    op.create_index(op.f("ix_events_kind"), "events", ["kind"], unique=False)
    op.create_index(op.f("ix_events_patient_id"), "events", ["patient_id"], unique=False)
    op.create_index(op.f("ix_events_peer"), "events", ["peer"], unique=False)
    op.create_index(op.f("ix_events_series_instance_uid"), "events", ["series_instance_uid"], unique=False)
    op.create_index(op.f("ix_events_sop_instance_uid"), "events", ["sop_instance_uid"], unique=False)
    op.create_table(
        "export_positions",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("seq", sequence(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_export_positions")),
    )
    op.create_table(
        "findings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cycle_id", sa.String(length=36), nullable=False),
        sa.Column("revision_id", sa.String(length=36), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.String(length=8), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("measured", sa.Float(precision=53), nullable=True),
        sa.Column("limit", sa.Float(precision=53), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("found_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
    )
    op.create_index(op.f("ix_findings_cycle_id"), "findings", ["cycle_id"], unique=False)
    op.create_index(op.f("ix_findings_revision_id"), "findings", ["revision_id"], unique=False)
    op.create_index(op.f("ix_findings_rule"), "findings", ["rule"], unique=False)
    op.create_index(
        op.f("ix_findings_series_instance_uid"), "findings", ["series_instance_uid"], unique=False
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("called_ae", sa.String(length=16), nullable=False),
        sa.Column("peer_address", sa.String(length=64), nullable=False),
        sa.Column("peer_subject", sa.Text(), nullable=False),
        sa.Column("association", sa.String(length=36), nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("purged_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint("sop_instance_uid", "sha256", name=op.f("uq_instances_sop_instance_uid_sha256")),
    )
    op.create_index(op.f("ix_instances_file_sha256"), "instances", ["file_sha256"], unique=False)
    op.create_index(op.f("ix_instances_received_at"), "instances", ["received_at"], unique=False)
    op.create_index("ix_instances_series", "instances", ["series_instance_uid"], unique=False)
    op.create_index(op.f("ix_instances_sop_instance_uid"), "instances", ["sop_instance_uid"], unique=False)
    op.create_index("ix_instances_state", "instances", ["state"], unique=False)
    op.create_table(
        "series",
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("frame_of_reference_uid", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("acquired_at", TIME, nullable=True),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("first_received_at", TIME, nullable=False),
        sa.Column("last_received_at", TIME, nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.String(length=48), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("series_instance_uid", name=op.f("pk_series")),
    )
    op.create_index(op.f("ix_series_last_received_at"), "series", ["last_received_at"], unique=False)
    op.create_index(op.f("ix_series_patient_id"), "series", ["patient_id"], unique=False)
    op.create_index(op.f("ix_series_state"), "series", ["state"], unique=False)
    op.create_index(op.f("ix_series_study_instance_uid"), "series", ["study_instance_uid"], unique=False)
    op.create_table(
        "cycles",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("nuclide", sa.String(length=16), nullable=False),
        sa.Column("administration_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("state_since", TIME, nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("inputs_digest", sa.String(length=64), nullable=False),
        sa.Column("accepted", sa.Text(), nullable=False),
        sa.Column("released_by", sa.Text(), nullable=False),
        sa.Column("released_because", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["administration_id"], ["administrations.id"], name=op.f("fk_cycles_administration_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cycles")),
    )
    op.create_index(op.f("ix_cycles_patient_id"), "cycles", ["patient_id"], unique=False)
    op.create_index(op.f("ix_cycles_state"), "cycles", ["state"], unique=False)
    op.create_table(
        "revisions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("cycle_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("inputs_digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("released_at", TIME, nullable=True),
        sa.Column("last_input_at", TIME, nullable=True),
        sa.Column("superseded_by", sa.String(length=36), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_revisions_cycle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        sa.UniqueConstraint("cycle_id", "number", name=op.f("uq_revisions_cycle_id_number")),
    )
    op.create_index(op.f("ix_revisions_cycle_id"), "revisions", ["cycle_id"], unique=False)
    op.create_index(op.f("ix_revisions_state"), "revisions", ["state"], unique=False)
    op.create_table(
        "time_points",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cycle_id", sa.String(length=36), nullable=False),
        sa.Column("label", sa.String(length=8), nullable=False),
        sa.Column("acquired_at", TIME, nullable=False),
        sa.Column("hours", sa.Float(precision=53), nullable=True),
        sa.Column("emission_series_uid", sa.String(length=64), nullable=False),
        sa.Column("ct_series_uid", sa.String(length=64), nullable=False),
        sa.Column("structure_series_uids", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_time_points_cycle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_time_points")),
        sa.UniqueConstraint(
            "cycle_id", "emission_series_uid", name=op.f("uq_time_points_cycle_id_emission_series_uid")
        ),
    )
    op.create_index(op.f("ix_time_points_ct_series_uid"), "time_points", ["ct_series_uid"], unique=False)
    op.create_index(op.f("ix_time_points_cycle_id"), "time_points", ["cycle_id"], unique=False)
    op.create_index(
        op.f("ix_time_points_emission_series_uid"), "time_points", ["emission_series_uid"], unique=False
    )
    op.create_table(
        "calculations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("revision_id", sa.String(length=36), nullable=False),
        sa.Column("step", sa.String(length=24), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("config_digest", sa.String(length=64), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("data_digests", sa.Text(), nullable=False),
        sa.Column("outputs", sa.Text(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("replay_of", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["replay_of"], ["calculations.id"], name=op.f("fk_calculations_replay_of")),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], name=op.f("fk_calculations_revision_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calculations")),
    )
    op.create_index(op.f("ix_calculations_revision_id"), "calculations", ["revision_id"], unique=False)
    op.create_index(op.f("ix_calculations_version"), "calculations", ["version"], unique=False)
    op.create_table(
        "organ_doses",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("revision_id", sa.String(length=36), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("mean_gy", sa.Float(precision=53), nullable=False),
        sa.Column("sigma_gy", sa.Float(precision=53), nullable=False),
        sa.Column("d2_gy", sa.Float(precision=53), nullable=False),
        sa.Column("d50_gy", sa.Float(precision=53), nullable=False),
        sa.Column("d98_gy", sa.Float(precision=53), nullable=False),
        sa.Column("max_gy", sa.Float(precision=53), nullable=False),
        sa.Column("volume_ml", sa.Float(precision=53), nullable=False),
        sa.Column("mass_g", sa.Float(precision=53), nullable=False),
        sa.Column("tia_mbq_s", sa.Float(precision=53), nullable=False),
        sa.Column("sigma_tia_mbq_s", sa.Float(precision=53), nullable=False),
        sa.Column("tia_method", sa.Text(), nullable=False),
        sa.Column("bed_gy", sa.Float(precision=53), nullable=True),
        sa.Column("eqd2_gy", sa.Float(precision=53), nullable=True),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], name=op.f("fk_organ_doses_revision_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organ_doses")),
        sa.UniqueConstraint("revision_id", "region", name=op.f("uq_organ_doses_revision_id_region")),
    )
    op.create_index(op.f("ix_organ_doses_region"), "organ_doses", ["region"], unique=False)
    op.create_index(op.f("ix_organ_doses_revision_id"), "organ_doses", ["revision_id"], unique=False)
    op.create_table(
        "results",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("revision_id", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], name=op.f("fk_results_revision_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results")),
        sa.UniqueConstraint("revision_id", "role", name=op.f("uq_results_revision_id_role")),
    )
    op.create_index(op.f("ix_results_file_sha256"), "results", ["file_sha256"], unique=False)
    op.create_index(op.f("ix_results_revision_id"), "results", ["revision_id"], unique=False)
    op.create_index(op.f("ix_results_sop_instance_uid"), "results", ["sop_instance_uid"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("result_id", sa.Integer(), nullable=False),
        sa.Column("revision_id", sa.String(length=36), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_status", sa.Text(), nullable=False),
        sa.Column("last_comment", sa.Text(), nullable=False),
        sa.Column("last_tried_at", TIME, nullable=True),
        sa.Column("next_try_at", TIME, nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=False),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("sent_at", TIME, nullable=True),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("commitment_asked_at", TIME, nullable=True),
        sa.Column("commitment_attempts", sa.Integer(), nullable=False),
        sa.Column("committed_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("fk_deliveries_result_id")),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], name=op.f("fk_deliveries_revision_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("result_id", "peer", name=op.f("uq_deliveries_result_id_peer")),
    )
    op.create_index(op.f("ix_deliveries_next_try_at"), "deliveries", ["next_try_at"], unique=False)
    op.create_index(op.f("ix_deliveries_peer"), "deliveries", ["peer"], unique=False)
    op.create_index(op.f("ix_deliveries_result_id"), "deliveries", ["result_id"], unique=False)
    op.create_index(op.f("ix_deliveries_revision_id"), "deliveries", ["revision_id"], unique=False)
    op.create_index(op.f("ix_deliveries_state"), "deliveries", ["state"], unique=False)
    op.create_index(op.f("ix_deliveries_transaction_uid"), "deliveries", ["transaction_uid"], unique=False)


def downgrade() -> None:
    """Remove the tables with all they hold. The files in the store stay."""
    op.drop_table("deliveries")
    op.drop_table("results")
    op.drop_table("organ_doses")
    op.drop_table("calculations")
    op.drop_table("time_points")
    op.drop_table("revisions")
    op.drop_table("cycles")
    op.drop_table("series")
    op.drop_table("instances")
    op.drop_table("findings")
    op.drop_table("export_positions")
    op.drop_table("events")
    op.drop_table("checkpoints")
    op.drop_table("administrations")
