"""What the archive holds of a patient, grouped afresh: plans of cycles, their doubts, and their jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicomnode.calculation import planning
from dicomnode.calculation.job import Job, LeftOutJob
from dicomnode.casebook import administrations, corrections, left_out
from dicomnode.casebook.intake import summaries
from dicomnode.casebook.twins import near_twins
from dicomnode.check import rules
from dicomnode.config import Config
from dicomnode.cycle.administration import Reconciled, from_objects, reconcile
from dicomnode.cycle.gather import CyclePlan, Gathering, gather
from dicomnode.database.tables import CycleRow, Instance, TimePointRow
from dicomnode.model import Administration, Finding
from dicomnode.model.series import SeriesSummary


def gathered(
    session: Session, patient_id: str, config: Config
) -> tuple[list[SeriesSummary], Reconciled, Gathering]:
    """Everything the archive holds of a patient, grouped afresh."""
    series = summaries(session, patient_id)
    known = reconcile(
        administrations.told(session, patient_id, config, reports=False),
        administrations.told(session, patient_id, config, reports=True),
        from_objects(series),
        config.cycle,
    )
    return (
        series,
        known,
        gather(
            series,
            known.administrations,
            config.cycle,
            reconstruct=config.recon.reconstruct,
            left_out=left_out.of_patient(session, patient_id),
        ),
    )


def doubts_of(session: Session, plan: CyclePlan, known: Reconciled, config: Config) -> tuple[Finding, ...]:
    """Findings that need no pixels, each once."""
    return planning.findings_of_plan(plan, known, config, _of_rows(session, plan, config))


def _of_rows(session: Session, plan: CyclePlan, config: Config) -> Iterable[Finding]:
    """What the rows say: contradicting objects, files that retention removed, and scans that are missing."""
    uids = [uid for s in plan.series() for uid in s.instances]
    removed = 0
    for start in range(0, len(uids), 500):
        these = Instance.sop_instance_uid.in_(uids[start : start + 500])
        gone = select(func.count()).where(these, Instance.state == "INDEXED", Instance.purged_at.is_not(None))
        removed += session.scalar(gone) or 0
    yield from rules.files_are_here(removed)
    yield from corrections.findings(session, plan, config.cycle.cycle_window_d)
    have, expected = len(plan.time_points), config.cycle.expected_time_points - plan.points_left_out
    yield from rules.time_points_are_all_there(have, expected)
    if have < expected:
        yield from near_twins(session, plan, config.cycle.cycle_window_d)


@dataclass(frozen=True)
class Look:
    """What the archive holds of a cycle just now: its plan, what is doubtful in it, and all of the
    patient's administrations."""

    plan: CyclePlan
    doubts: tuple[Finding, ...]
    administrations: tuple[Administration, ...]


def look_at(session: Session, row: CycleRow, config: Config) -> Look | None:
    """The plan behind a row, made afresh from the archive; None where its series are gone."""
    mine = set(
        session.scalars(select(TimePointRow.emission_series_uid).where(TimePointRow.cycle_id == row.id))
    )
    _, known, gathering = gathered(session, row.patient_id, config)
    for plan in gathering.cycles:
        if mine & {t.emission.series_uid for t in plan.time_points}:
            return Look(plan, doubts_of(session, plan, known, config), known.administrations)
    return None


def job_of(session: Session, row: CycleRow, plan: CyclePlan, number: int, now: datetime) -> Job:
    """The job that would compute this plan now."""
    out = tuple(
        LeftOutJob(kind=x.kind, subject=x.subject, by=x.by, because=x.because)
        for x in left_out.of_cycle(session, row.id)
    )
    return planning.job_of(plan, row.id, number, now, json.loads(row.accepted), out)
