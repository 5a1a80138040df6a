"""The tables of the archive (SQLAlchemy 2, typed declarative). Migrations create them; see migrations/.

Times are stored as UTC; ``original`` texts keep what an object said. JSON columns are canonical JSON
text (sorted keys), so that digests over them do not depend on the database.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC; SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables of the archive."""

    # Constraints have names so that a migration can change them on both databases.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, str: Text, float: Float(53)}


class Instance(Base):
    """One received object, exactly as it came. Several rows share a SOP Instance UID only where its
    bytes differed (``state`` CONFLICT)."""

    __tablename__ = "instances"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "sha256"),
        Index("ix_instances_state", "state"),
        Index("ix_instances_series", "series_instance_uid"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    """Digest of the data set's bytes as received (file meta excluded)."""
    file_sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Digest of the stored file; its name in the store."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    calling_ae: Mapped[str] = mapped_column(String(16))
    called_ae: Mapped[str] = mapped_column(String(16))
    peer_address: Mapped[str] = mapped_column(String(64))
    peer_subject: Mapped[str] = mapped_column(default="")
    association: Mapped[str] = mapped_column(String(36), default="")
    received_at: Mapped[datetime] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(String(12))
    """RECEIVED -> INDEXED | QUARANTINED (cannot be parsed or contradicts its command) -> DISMISSED
    (a person has seen to it) | CONFLICT -> NOT_CHOSEN (a person chose the other of the two)."""
    reason: Mapped[str] = mapped_column(default="")
    series_instance_uid: Mapped[str] = mapped_column(String(64), default="")
    header: Mapped[str] = mapped_column(default="{}")
    """InstanceHeader as JSON, filled when indexed."""
    differences: Mapped[str | None]
    """Of a CONFLICT: in what it differs from the object that came before, as JSON; NULL until compared."""
    purged_at: Mapped[datetime | None]
    """When retention removed the file; the row stays as the tombstone."""


class Series(Base):
    """One series and what became of it."""

    __tablename__ = "series"

    series_instance_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    patient_id: Mapped[str] = mapped_column(index=True)
    patient_name: Mapped[str]
    modality: Mapped[str] = mapped_column(String(16))
    role: Mapped[str] = mapped_column(String(16))
    frame_of_reference_uid: Mapped[str] = mapped_column(String(64), default="")
    description: Mapped[str] = mapped_column(default="")
    acquired_at: Mapped[datetime | None]
    instances: Mapped[int] = mapped_column(default=0)
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(String(12), index=True)
    """OPEN (still arriving), WAITING (complete, in no cycle yet), USED, UNUSED, REFUSED."""
    summary: Mapped[str] = mapped_column(default="{}")
    """SeriesSummary as JSON, without its instances."""
    reason_code: Mapped[str] = mapped_column(String(48), default="")
    reason: Mapped[str] = mapped_column(default="")


class AdministrationRow(Base):
    """An administration as learned from an object, the configuration or a person."""

    __tablename__ = "administrations"

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[str] = mapped_column(index=True)
    nuclide: Mapped[str] = mapped_column(String(16))
    radiopharmaceutical: Mapped[str] = mapped_column(default="")
    activity_mbq: Mapped[float]
    residual_mbq: Mapped[float] = mapped_column(default=0.0)
    administered_at: Mapped[datetime]
    source: Mapped[str]
    recorded_at: Mapped[datetime]
    withdrawn: Mapped[bool] = mapped_column(default=False)


class CycleRow(Base):
    """One administration and the time points that follow it: the unit of computation."""

    __tablename__ = "cycles"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    patient_id: Mapped[str] = mapped_column(index=True)
    nuclide: Mapped[str] = mapped_column(String(16))
    administration_id: Mapped[int | None] = mapped_column(ForeignKey("administrations.id"))
    state: Mapped[str] = mapped_column(String(12), index=True)
    state_since: Mapped[datetime]
    reasons: Mapped[str] = mapped_column(default="[]")
    """JSON list of sentences: why it is held, or what it waits for."""
    opened_at: Mapped[datetime]
    inputs_digest: Mapped[str] = mapped_column(String(64), default="")
    """Digest of every input last seen; another digest means that something changed."""
    accepted: Mapped[str] = mapped_column(default="[]")
    """JSON list of [rule, subject] that a person accepted when releasing."""
    released_by: Mapped[str] = mapped_column(default="")
    released_because: Mapped[str] = mapped_column(default="")


class TimePointRow(Base):
    """One emission series, its CT and structures, within a cycle."""

    __tablename__ = "time_points"
    __table_args__ = (UniqueConstraint("cycle_id", "emission_series_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    cycle_id: Mapped[str] = mapped_column(ForeignKey("cycles.id"), index=True)
    label: Mapped[str] = mapped_column(String(8))
    acquired_at: Mapped[datetime]
    hours: Mapped[float | None]
    emission_series_uid: Mapped[str] = mapped_column(String(64), index=True)
    ct_series_uid: Mapped[str] = mapped_column(String(64), default="", index=True)
    structure_series_uids: Mapped[str] = mapped_column(default="[]")


class LeftOutRow(Base):
    """A series, a time point or a region that a person leaves out of a cycle; undone rows stay."""

    __tablename__ = "left_out"

    id: Mapped[int] = mapped_column(primary_key=True)
    cycle_id: Mapped[str] = mapped_column(ForeignKey("cycles.id"), index=True)
    kind: Mapped[str] = mapped_column(String(12))
    """series, time-point or region."""
    subject: Mapped[str]
    """Series UID (of a time point that of its emission series), or the name of a region."""
    decided_by: Mapped[str]
    because: Mapped[str]
    decided_at: Mapped[datetime]
    undone_at: Mapped[datetime | None]


class Revision(Base):
    """One computed answer for a cycle; a later one supersedes it."""

    __tablename__ = "revisions"
    __table_args__ = (UniqueConstraint("cycle_id", "number"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    cycle_id: Mapped[str] = mapped_column(ForeignKey("cycles.id"), index=True)
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(12), index=True)
    """COMPUTING, CHECKED, RELEASED, DELIVERED, HELD, SUPERSEDED, FAILED."""
    inputs_digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    released_at: Mapped[datetime | None]
    last_input_at: Mapped[datetime | None]
    superseded_by: Mapped[str] = mapped_column(String(36), default="")
    attempts: Mapped[int] = mapped_column(default=0)


class Calculation(Base):
    """One run of the chain for a revision: everything needed to repeat it."""

    __tablename__ = "calculations"

    id: Mapped[int] = mapped_column(primary_key=True)
    revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"), index=True)
    step: Mapped[str] = mapped_column(String(24))
    engine: Mapped[str] = mapped_column(default="")
    version: Mapped[str] = mapped_column(String(64), index=True)
    config_digest: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(BigInteger, default=0)
    parameters: Mapped[str] = mapped_column(default="{}")
    inputs: Mapped[str] = mapped_column(default="{}")
    data_digests: Mapped[str] = mapped_column(default="{}")
    outputs: Mapped[str] = mapped_column(default="{}")
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(String(12), default="RUNNING")
    message: Mapped[str] = mapped_column(default="")
    replay_of: Mapped[int | None] = mapped_column(ForeignKey("calculations.id"))


class Result(Base):
    """One object made for a revision (RTDOSE, Parametric Map, SR, PDF, ...), kept in the store."""

    __tablename__ = "results"
    __table_args__ = (UniqueConstraint("revision_id", "role"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"), index=True)
    role: Mapped[str] = mapped_column(String(32))
    sop_class_uid: Mapped[str] = mapped_column(String(64), default="")
    sop_instance_uid: Mapped[str] = mapped_column(String(64), default="", index=True)
    file_sha256: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime]


class OrganDoseRow(Base):
    """Dose of one region in one revision."""

    __tablename__ = "organ_doses"
    __table_args__ = (UniqueConstraint("revision_id", "region"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"), index=True)
    region: Mapped[str] = mapped_column(index=True)
    mean_gy: Mapped[float]
    sigma_gy: Mapped[float]
    d2_gy: Mapped[float]
    d50_gy: Mapped[float]
    d98_gy: Mapped[float]
    max_gy: Mapped[float]
    volume_ml: Mapped[float]
    mass_g: Mapped[float]
    tia_mbq_s: Mapped[float]
    sigma_tia_mbq_s: Mapped[float]
    tia_method: Mapped[str] = mapped_column(default="")
    bed_gy: Mapped[float | None]
    eqd2_gy: Mapped[float | None]
    alpha_gy: Mapped[float | None]
    """Part of ``mean_gy`` that alpha particles gave, unweighted; NULL for nuclides without them."""
    low_gy: Mapped[float | None]
    high_gy: Mapped[float | None]
    """Interval (k = 2) of the true mean dose, the loss by partial volume in it; NULL where not known."""
    recovery: Mapped[float | None]
    recovered_gy: Mapped[float | None]
    recovered_sigma_gy: Mapped[float | None]
    """Mean dose corrected for partial volume; NULL where none may be stated."""
    recovery_limit: Mapped[str | None]


class FindingRow(Base):
    """One checked statement about a series, a cycle or a revision."""

    __tablename__ = "findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    cycle_id: Mapped[str] = mapped_column(String(36), default="", index=True)
    revision_id: Mapped[str] = mapped_column(String(36), default="", index=True)
    series_instance_uid: Mapped[str] = mapped_column(String(64), default="", index=True)
    rule: Mapped[str] = mapped_column(String(64), index=True)
    severity: Mapped[str] = mapped_column(String(8))
    sentence: Mapped[str]
    measured: Mapped[float | None]
    limit: Mapped[float | None]
    unit: Mapped[str] = mapped_column(default="")
    subject: Mapped[str] = mapped_column(default="")
    source: Mapped[str] = mapped_column(default="")
    found_at: Mapped[datetime]


class Delivery(Base):
    """One object for one peer: the outbox."""

    __tablename__ = "deliveries"
    __table_args__ = (UniqueConstraint("result_id", "peer"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    result_id: Mapped[int] = mapped_column(ForeignKey("results.id"), index=True)
    revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"), index=True)
    peer: Mapped[str] = mapped_column(index=True)
    position: Mapped[int] = mapped_column(default=0)
    """Order within the revision: a plan leaves before the dose that refers to it."""
    state: Mapped[str] = mapped_column(String(20), index=True)
    """QUEUED, SENDING, SENT, SENT_WITH_WARNING, COMMITTED, PARKED (no more tries; a person
    decides), GIVEN_UP (by a person)."""
    attempts: Mapped[int] = mapped_column(default=0)
    last_status: Mapped[str] = mapped_column(default="")
    last_comment: Mapped[str] = mapped_column(default="")
    last_tried_at: Mapped[datetime | None]
    next_try_at: Mapped[datetime | None] = mapped_column(index=True)
    lease_owner: Mapped[str] = mapped_column(default="")
    lease_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    transaction_uid: Mapped[str] = mapped_column(String(64), default="", index=True)
    commitment_asked_at: Mapped[datetime | None]
    commitment_attempts: Mapped[int] = mapped_column(default=0)
    committed_at: Mapped[datetime | None]


# SQLite numbers rows by its own INTEGER primary key; elsewhere the trail may outgrow 2^31 rows.
_Sequence = BigInteger().with_variant(Integer, "sqlite")


class EventRow(Base):
    """One event of the audit trail. Append-only: triggers refuse every change (see migrations/), and
    ``hash`` chains each row to the one before. ``dicomnode.audit.trail`` writes it. Every column beside
    ``seq``, ``prev_hash`` and ``hash`` repeats what ``at`` and ``body`` say, for the indices."""

    __tablename__ = "events"

    seq: Mapped[int] = mapped_column(_Sequence, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(27), index=True)
    """UTC as fixed text, 2026-01-31T12:00:00.000000Z: the hash must not depend on a session's zone."""
    kind: Mapped[str] = mapped_column(String(48), index=True)
    event_code: Mapped[str] = mapped_column(String(32).with_variant(String(16), "sqlite"))
    """SQLite never looks at the length, and its table was made with 16."""
    action: Mapped[str] = mapped_column(String(1))
    outcome: Mapped[int] = mapped_column(Integer)
    patient_id: Mapped[str] = mapped_column(index=True)
    series_instance_uid: Mapped[str] = mapped_column(index=True)
    sop_instance_uid: Mapped[str] = mapped_column(index=True)
    cycle_id: Mapped[str] = mapped_column(index=True)
    peer: Mapped[str] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(index=True)
    body: Mapped[str]
    prev_hash: Mapped[str] = mapped_column(String(64), unique=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)


class TroubleRow(Base):
    """Something that goes wrong now and that no other row shows: a person has to know of it. The row goes
    when it goes well again."""

    __tablename__ = "troubles"

    subject: Mapped[str] = mapped_column(primary_key=True)
    """What it is about: "role:work", "patient:...", "cycle:...", "peer:..."."""
    sentence: Mapped[str]
    since: Mapped[datetime]
    times: Mapped[int] = mapped_column(default=1)


class CheckpointRow(Base):
    """A head of the trail that was also written outside the database. Append-only."""

    __tablename__ = "checkpoints"

    id: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(_Sequence)
    hash: Mapped[str] = mapped_column(String(64))
    count: Mapped[int] = mapped_column(_Sequence)
    at: Mapped[str] = mapped_column(String(27))


class ExportPosition(Base):
    """How far the trail has been exported to one destination."""

    __tablename__ = "export_positions"

    destination: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(_Sequence)
    at: Mapped[str] = mapped_column(String(27))


class WebSession(Base):
    """One log-in at the review page. The cookie's secret is kept as its digest only."""

    __tablename__ = "web_sessions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the cookie."""
    person_id: Mapped[str] = mapped_column(index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64), default="")
    began_at: Mapped[datetime]
    used_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class WebLook(Base):
    """That a revision of a cycle was looked at in a session: its event is written once."""

    __tablename__ = "web_looks"

    session_id: Mapped[str] = mapped_column(ForeignKey("web_sessions.id"), primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    """Cycle and revision, or what else was looked at."""
