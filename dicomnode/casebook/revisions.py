"""Revisions: one computed answer for a cycle, started, finished, released and superseded.

A revision's identity follows from its cycle, its number and the digest of its inputs, and the instant
written into its objects is that of its row. So a revision interrupted at any point is repeated under the
same UIDs, with the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dicomnode import __version__
from dicomnode.archive import outbox
from dicomnode.audit import codes, events, trail
from dicomnode.audit.about import About
from dicomnode.calculation.job import Job, Outcome
from dicomnode.casebook import proof
from dicomnode.casebook.course import (
    changes_sums,
    course_before,
    superseded,
    tell_later_cycles,
)
from dicomnode.casebook.lifecycle import Happening, State
from dicomnode.casebook.plans import job_of, look_at
from dicomnode.casebook.state import about, change, current_revision, finding_row
from dicomnode.config import Config
from dicomnode.database.tables import (
    Calculation,
    CycleRow,
    Delivery,
    FindingRow,
    OrganDoseRow,
    Result,
    Revision,
)
from dicomnode.delivery.settings import expanded, roles_for
from dicomnode.model import Finding, Severity

STOPPED = ("HELD", "SUPERSEDED")
MOST_ATTEMPTS = 2
"""A worker that dies is tried once more; a revision that kills its worker twice is held."""


def start(session: Session, row: CycleRow, config: Config, now: datetime) -> Job | None:
    """READY -> COMPUTING: make (or find again) the revision, and return its job; None where it is held."""
    seen = look_at(session, row, config)
    if seen is None or seen.plan.administration is None:
        change(session, row, Happening.DATA_CHANGED, [], config.node.name, now)
        return None
    plan = seen.plan
    latest = current_revision(session, row.id)
    if latest is not None and is_unfinished(latest, row.inputs_digest):
        revision = latest
        job = job_of(session, row, plan, revision.number, revision.created_at)
    else:
        job = job_of(session, row, plan, latest.number + 1 if latest else 1, now)
        revision = Revision(
            id=job.revision_id,
            cycle_id=row.id,
            number=job.number,
            state="COMPUTING",
            inputs_digest=row.inputs_digest,
            created_at=now,
            attempts=0,
            last_input_at=max(s.last_received_at for s in plan.series()),
        )
        session.add(revision)
    revision.state, revision.attempts = "COMPUTING", revision.attempts + 1
    change(session, row, Happening.STARTED, [], config.node.name, now)
    facts = {"version": __version__, "config_digest": config.digest(), "inputs_digest": row.inputs_digest}
    which = about(row, revision.id)
    started = events.calculation_started(config.node.name, which, step="revision", facts=facts)
    trail.append(session, started)
    session.flush()
    return job.model_copy(
        update={
            "doubts": seen.doubts,
            "supersedes": superseded(session, revision),
            "earlier": course_before(session, row, seen.plan.administration, seen.administrations),
        }
    )


def is_unfinished(revision: Revision, inputs_digest: str) -> bool:
    """Whether this revision is to be computed (again): of its objects none has ever been queued."""
    return (
        revision.inputs_digest == inputs_digest
        and revision.state in ("COMPUTING", "HELD")
        and revision.released_at is None
    )


def interrupted(
    session: Session, row: CycleRow, why: str, config: Config, now: datetime, *, counted: bool = True
) -> None:
    """The computation did not end: once more, or hold. ``counted``: it may be its own fault (its worker
    died), as against a node that stopped."""
    revision = current_revision(session, row.id)
    if not counted and revision is not None:
        revision.attempts -= 1
    if counted and revision is not None and revision.attempts >= MOST_ATTEMPTS:
        failed(session, row, f"{why}, {revision.attempts} times: look at the log, then release", config, now)
    elif State(row.state) is State.COMPUTING:
        change(session, row, Happening.INTERRUPTED, [why], config.node.name, now)


def failed(session: Session, row: CycleRow, why: str, config: Config, now: datetime) -> None:
    """The computation cannot be done; a person has to look."""
    revision = current_revision(session, row.id)
    if revision is not None:
        revision.state = "FAILED"
    if State(row.state) is State.COMPUTING:
        change(session, row, Happening.FAILED, [why], config.node.name, now)
    which = about(row, revision.id if revision is not None else "")
    _ended(session, which, False, why, config)


def finish(session: Session, job: Job, outcome: Outcome, config: Config, now: datetime) -> None:
    """Write everything that a computation brought, and take the cycle to its next state."""
    row = session.get(CycleRow, job.cycle_id)
    revision = session.get(Revision, job.revision_id)
    if row is None or revision is None or revision.state != "COMPUTING":
        return
    _write(session, row, job, outcome, config, now)
    holds = [f.sentence for f in outcome.verdict.holds]
    _ended(
        session,
        about(row, revision.id),
        not holds,
        "; ".join(holds),
        config,
        proof.digests(session, revision.id),
    )
    if State(row.state) is not State.COMPUTING or row.inputs_digest != revision.inputs_digest:
        revision.state = "SUPERSEDED"  # inputs changed meanwhile: kept on record, never sent
        return
    if holds:
        revision.state = "HELD"
        change(session, row, Happening.DOUBT, holds, config.node.name, now)
        return
    revision.state = "CHECKED"
    change(session, row, Happening.PASSED, [], config.node.name, now)
    change(session, row, Happening.QUEUED, [], config.node.name, now)
    release(session, row, revision, config, now)


def _write(
    session: Session, row: CycleRow, job: Job, outcome: Outcome, config: Config, now: datetime
) -> None:
    for table in (FindingRow, OrganDoseRow, Result):  # of an attempt that was held before anything left
        session.execute(delete(table).where(table.revision_id == job.revision_id))
    tia = {c.region: c for c in outcome.curves}
    for step in outcome.steps:
        session.add(
            Calculation(
                revision_id=job.revision_id,
                step=step.name,
                engine=step.engine,
                version=__version__,
                config_digest=config.digest(),
                seed=step.seed,
                parameters=_canonical(dict(step.parameters)),
                inputs=_canonical(job.model_dump(mode="json") if step.name == "read" else {}),
                data_digests=_canonical(dict(step.data_digests)),
                outputs=_canonical(dict(step.outputs)),
                started_at=step.started_at,
                ended_at=step.ended_at,
                outcome="DONE",
            )
        )
    session.add_all(finding_row(f, job.cycle_id, job.revision_id, now) for f in outcome.verdict.findings)
    for organ in outcome.organs:
        curve = tia.get(organ.region)
        session.add(
            OrganDoseRow(
                revision_id=job.revision_id,
                region=organ.region,
                mean_gy=organ.mean_gy,
                sigma_gy=organ.sigma_gy,
                d2_gy=organ.d2_gy,
                d50_gy=organ.d50_gy,
                d98_gy=organ.d98_gy,
                max_gy=organ.max_gy,
                volume_ml=organ.volume_ml,
                mass_g=organ.mass_g,
                tia_mbq_s=organ.tia_mbq_s,
                sigma_tia_mbq_s=curve.sigma_tia_mbq_s if curve else 0.0,
                tia_method=curve.method if curve else "",
                bed_gy=organ.bed_gy,
                eqd2_gy=organ.eqd2_gy,
                alpha_gy=organ.alpha_gy,
                low_gy=organ.low_gy,
                high_gy=organ.high_gy,
                recovery=organ.recovery,
                recovered_gy=organ.recovered_gy,
                recovered_sigma_gy=organ.recovered_sigma_gy,
                recovery_limit=organ.recovery_limit or None,
            )
        )
    for product in outcome.products:
        session.add(
            Result(
                revision_id=job.revision_id,
                role=product.role,
                sop_class_uid=product.sop_class_uid,
                sop_instance_uid=product.sop_instance_uid,
                file_sha256=product.file_sha256,
                created_at=now,
            )
        )
        which = replace(about(row, job.revision_id), sop_instance_uid=product.sop_instance_uid)
        made = events.result_created(config.node.name, which, role=product.role, sha256=product.file_sha256)
        trail.append(session, made)
    session.flush()


def _ended(
    session: Session,
    which: About,
    succeeded: bool,
    message: str,
    config: Config,
    rows: proof.Digests | None = None,
) -> None:
    facts = {} if rows is None else {"revision_id": which.revision_id, "rows": rows}
    ended = events.calculation_ended(
        config.node.name, which, step="revision", succeeded=succeeded, message=message, facts=facts
    )
    trail.append(session, ended)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def release(session: Session, row: CycleRow, revision: Revision, config: Config, now: datetime) -> None:
    """Put the revision's objects into the outbox and supersede the one before, in one transaction."""
    revision.state, revision.released_at = "RELEASED", now
    results = session.scalars(select(Result).where(Result.revision_id == revision.id)).all()
    made = [result.role for result in results]
    plan = {peer.name: expanded(roles_for(peer), made) for peer in config.delivery.peers}
    queued = outbox.enqueue(session, revision.id, results, plan, now)
    _tell_missing(session, row, revision, queued.missing, config, now)
    for old in session.scalars(
        select(Revision).where(Revision.cycle_id == row.id, Revision.number < revision.number)
    ):
        if old.state != "SUPERSEDED":
            outbox.withdraw(session, old.id, f"superseded by revision {revision.number}", now)
            old.state, old.superseded_by = "SUPERSEDED", revision.id
    if changes_sums(session, revision):
        tell_later_cycles(session, row, config, now)


def _tell_missing(
    session: Session,
    row: CycleRow,
    revision: Revision,
    missing: Sequence[tuple[str, str]],
    config: Config,
    now: datetime,
) -> None:
    """A peer that is to get what was not made: nobody may take silence for delivery."""
    for peer, role in missing:
        sentence = (
            f"{peer} is to get the object {role}, which revision {revision.number} does not have: compare "
            f"[[delivery.peers]] with what was configured when it was computed"
        )
        found = Finding("object-not-made", Severity.WARNING, sentence, subject=peer)
        session.add(finding_row(found, row.id, revision.id, now))
        detail = {"cycle_id": row.id, "revision_id": revision.id}
        told = events.security_alert(
            config.node.name, sentence=sentence, alert=codes.SOFTWARE_CONFIGURATION, detail=detail
        )
        trail.append(session, told)


def is_stopped(revision: Revision | None) -> bool:
    """Whether nothing of this revision may leave any more."""
    return revision is None or revision.state in STOPPED


def withdraw_stopped(session: Session, now: datetime) -> None:
    """What is queued (again) although its revision was held or superseded meanwhile stays here.

    Called in the transaction that puts objects back into the queue: they were on their way when the
    revision was stopped, so withdraw() did not find them.
    """
    stopped = (
        select(Revision.id, Revision.state)
        .join(Delivery, Delivery.revision_id == Revision.id)
        .where(Delivery.state == "QUEUED", Revision.state.in_(STOPPED))
        .distinct()
    )
    for revision_id, state in session.execute(stopped).all():
        outbox.withdraw(session, revision_id, f"its revision was {state.lower()} meanwhile", now)


def settle_deliveries(session: Session, config: Config, now: datetime) -> None:
    """RELEASED -> DELIVERED for every cycle of which all has arrived."""
    for row in session.scalars(select(CycleRow).where(CycleRow.state == State.RELEASED)):
        settle(session, row, config, now)


def settle(session: Session, row: CycleRow, config: Config, now: datetime) -> None:
    """RELEASED -> DELIVERED where every object of the current revision has arrived everywhere."""
    revision = current_revision(session, row.id)
    if row.state != State.RELEASED or revision is None:
        return
    committing = {p.name for p in config.delivery.peers if p.storage_commitment}
    if not config.delivery.peers or outbox.is_delivered(session, revision.id, committing):
        revision.state = "DELIVERED"
        change(session, row, Happening.ALL_DELIVERED, [], config.node.name, now)
