"""What the archive holds of a patient, grouped afresh: plans of cycles, their doubts, and their jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicomnode.calculation.job import AdministrationJob, Job, LeftOutJob, SeriesFiles, TimePointJob
from dicomnode.casebook import administrations, corrections, left_out
from dicomnode.casebook.identity import revision_id
from dicomnode.casebook.intake import summaries
from dicomnode.casebook.twins import near_twins
from dicomnode.check import rules
from dicomnode.config import Config
from dicomnode.cycle.administration import Reconciled, from_objects, reconcile
from dicomnode.cycle.gather import CyclePlan, Gathering, TimePointPlan, gather
from dicomnode.cycle.patient import lies_as_its_ct, one_person
from dicomnode.database.tables import CycleRow, Instance, TimePointRow
from dicomnode.model import Administration, Finding
from dicomnode.model.series import SeriesSummary
from dicomnode.model.statements import at_time_point

NOT_YET_KNOWN = Administration("?", 1.0, datetime.fromisoformat("1970-01-01T00:00:00+00:00"))


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
    found = [
        *plan.findings,
        *_of_rows(session, plan, config),
        *_told_of(known, plan),
        *_agreement(plan),
        *plan.notes,
    ]
    return tuple(dict.fromkeys(_with_time_points(plan, found)))


def _agreement(plan: CyclePlan) -> Iterable[Finding]:
    """Whether the series of a cycle are of one person, who lay in the CT as in the emission."""
    labelled = [(f"T{n}", s) for n, p in enumerate(plan.time_points, start=1) for s in p.series()]
    yield from one_person(labelled)
    for number, point in enumerate(plan.time_points, start=1):
        yield from lies_as_its_ct(f"T{number}", point.emission, point.ct)


def _with_time_points(plan: CyclePlan, findings: Iterable[Finding]) -> Iterable[Finding]:
    """Findings on a series or an object of one time point begin with its label, T1 the first."""
    labels: dict[str, str] = {}
    for number, point in enumerate(plan.time_points, start=1):
        for series in point.series():
            labels |= dict.fromkeys((series.series_uid, *series.instances), f"T{number}")
    for finding in findings:
        label = labels.get(finding.subject)
        yield from at_time_point([finding], label) if label else [finding]


def _of_rows(session: Session, plan: CyclePlan, config: Config) -> Iterable[Finding]:
    yield from rules.administration_is_known(plan.administration)
    for point in plan.time_points:
        yield from rules.ct_is_there(point.ct is not None, config.cycle.without_ct, point.emission.series_uid)
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


def _told_of(known: Reconciled, plan: CyclePlan) -> Iterable[Finding]:
    """What is doubtful in what is known of a cycle's administration, or in what its own series say of it."""
    mine = {s.series_uid for s in plan.series()}
    for administration, found in known.doubts.items():
        yield from (f for f in found if administration == plan.administration or f.subject in mine)


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
    out = left_out.of_cycle(session, row.id)
    administration = plan.administration or NOT_YET_KNOWN
    points = tuple(_point_job(i, p) for i, p in enumerate(plan.time_points, start=1))
    job = Job(
        cycle_id=row.id,
        revision_id="",
        number=number,
        created_at=now,
        time_points=points,
        administration=AdministrationJob.of(administration),
        accepted=tuple((rule, subject) for rule, subject in json.loads(row.accepted)),
        left_out=tuple(LeftOutJob(kind=x.kind, subject=x.subject, by=x.by, because=x.because) for x in out),
    )
    return job.model_copy(update={"revision_id": revision_id(row.id, number, job.inputs_digest())})


def _point_job(number: int, point: TimePointPlan) -> TimePointJob:
    def files(series: SeriesSummary) -> SeriesFiles:
        return SeriesFiles(uid=series.series_uid, instances=dict(sorted(series.instances.items())))

    return TimePointJob(
        label=f"T{number}",
        emission=files(point.emission),
        emission_frame=point.emission.frame_of_reference_uid,
        ct=files(point.ct) if point.ct else None,
        ct_frame=point.ct.frame_of_reference_uid if point.ct else "",
        structures=tuple(files(s) for s in point.structures),
        uncertainty=files(point.uncertainty) if point.uncertainty else None,
    )
