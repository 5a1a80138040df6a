"""The state of a cycle that a person is shown, as one digest: a decision is bound to it."""

from __future__ import annotations

import hashlib
import json

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicomnode.casebook.state import current_revision
from dicomnode.database.tables import AdministrationRow, CycleRow, Delivery, FindingRow, TimePointRow
from dicomnode.errors import Refused

FEWEST = 8
"""Characters of an identifier or digest that a person has to give at least."""


def state_shown(session: Session, row: CycleRow) -> str:
    """SHA-256 of everything that a person judges a cycle by: state and reasons, inputs, administration,
    time points, revision, findings, what was accepted, and what a peer did not take."""
    revision = current_revision(session, row.id)
    of_now = ["", revision.id if revision is not None else ""]
    findings = select(FindingRow.rule, FindingRow.severity, FindingRow.subject, FindingRow.sentence).where(
        FindingRow.cycle_id == row.id, FindingRow.revision_id.in_(of_now)
    )
    points = select(
        TimePointRow.label, TimePointRow.emission_series_uid, TimePointRow.ct_series_uid,
        TimePointRow.structure_series_uids,
    ).where(TimePointRow.cycle_id == row.id)  # fmt: skip
    parked = (
        select(Delivery.peer, func.count())
        .where(Delivery.revision_id == of_now[1], Delivery.state == "PARKED")
        .group_by(Delivery.peer)
    )
    shown = {
        "cycle": [row.id, row.state, row.reasons, row.inputs_digest, row.administration_id, row.accepted],
        "revision": [revision.id, revision.number, revision.state] if revision is not None else [],
        "findings": sorted(map(list, session.execute(findings))),
        "time_points": sorted(map(list, session.execute(points))),
        "parked": sorted(map(list, session.execute(parked))),
    }
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode("ascii")).hexdigest()


def administration_shown(row: AdministrationRow) -> str:
    """SHA-256 of an administration as a person is shown it."""
    shown = [
        row.id,
        row.patient_id,
        row.nuclide,
        row.activity_mbq,
        row.administered_at.isoformat(),
        row.source,
    ]
    return hashlib.sha256(json.dumps(shown).encode("ascii")).hexdigest()


def refuse_unseen(session: Session, row: CycleRow, seen: str) -> None:
    """Raises Refused where the cycle is no longer as the person saw it; ``seen`` is a digest of
    ``state_shown`` or at least ``FEWEST`` characters of it."""
    refuse_other(f"cycle {row.id}", state_shown(session, row), seen)


def refuse_other(what: str, now: str, seen: str) -> None:
    """Raises Refused where ``now`` is not the digest that was seen."""
    if len(seen) < FEWEST:
        raise Refused(
            f"the decision does not say which state of {what} was seen",
            attribute="seen",
            value=seen,
            remedy=f"`dicomnode show` prints it as `state shown`; give at least {FEWEST} characters",
        )
    if not now.startswith(seen):
        raise Refused(
            f"{what} has changed since it was looked at",
            attribute="seen",
            value=seen[:FEWEST],
            remedy="Look at it again, then decide",
        )
