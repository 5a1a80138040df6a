"""From the plan of a cycle to its job, and the findings that need no pixels: the same for the node and for
files in folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from dicomnode.calculation.job import AdministrationJob, Job, LeftOutJob, SeriesFiles, TimePointJob
from dicomnode.check import rules
from dicomnode.config import Config
from dicomnode.cycle.administration import Reconciled
from dicomnode.cycle.gather import CyclePlan, TimePointPlan
from dicomnode.cycle.patient import lies_as_its_ct, one_person
from dicomnode.cycle.photopeaks import photopeak_is_seen
from dicomnode.model import Administration, Finding
from dicomnode.model.series import SeriesSummary
from dicomnode.model.statements import at_time_point

REVISION = UUID("6f1f4d1e-7f3b-5c39-9d2b-0b8f6f1a8a11")
"""Name space of revisions; never change it."""

NOT_YET_KNOWN = Administration("?", 1.0, datetime.fromisoformat("1970-01-01T00:00:00+00:00"))


def job_of(
    plan: CyclePlan,
    cycle_id: str,
    number: int,
    created_at: datetime,
    accepted: Sequence[tuple[str, str]] = (),
    left_out: Sequence[LeftOutJob] = (),
) -> Job:
    """The job that would compute this plan; ``created_at`` is the instant that its objects will bear."""
    job = Job(
        cycle_id=cycle_id,
        revision_id="",
        number=number,
        created_at=created_at,
        time_points=tuple(_point_job(i, p) for i, p in enumerate(plan.time_points, start=1)),
        administration=AdministrationJob.of(plan.administration or NOT_YET_KNOWN),
        accepted=tuple((rule, subject) for rule, subject in accepted),
        left_out=tuple(left_out),
        recovery=True,
    )
    return job.model_copy(update={"revision_id": revision_id(cycle_id, number, job.inputs_digest())})


def revision_id(cycle_id: str, number: int, inputs_digest: str) -> str:
    """The same revision of the same inputs has the same identity, also after a crash."""
    return str(uuid5(REVISION, f"{cycle_id}/{number}/{inputs_digest}"))


def findings_of_plan(
    plan: CyclePlan, known: Reconciled, config: Config, of_files: Iterable[Finding]
) -> tuple[Finding, ...]:
    """What is doubtful before any pixel is read, each finding once.

    Parameters
    ----------
    known : all that is known of the patient's administrations
    of_files : what holds of the files themselves: contradicting objects, files that are gone
    """
    found = [
        *plan.findings,
        *rules.administration_is_known(plan.administration),
        *_cts(plan, config),
        *of_files,
        *_of_administration(known, plan),
        *_agreement(plan),
        *plan.notes,
    ]
    return tuple(dict.fromkeys(_with_time_points(plan, found)))


def _cts(plan: CyclePlan, config: Config) -> Iterable[Finding]:
    for point in plan.time_points:
        yield from rules.ct_is_there(point.ct is not None, config.cycle.without_ct, point.emission.series_uid)


def _of_administration(known: Reconciled, plan: CyclePlan) -> Iterable[Finding]:
    """What is doubtful in what is known of a cycle's administration, or in what its own series say of it."""
    mine = {s.series_uid for s in plan.series()}
    for administration, found in known.doubts.items():
        yield from (f for f in found if administration == plan.administration or f.subject in mine)


def _agreement(plan: CyclePlan) -> Iterable[Finding]:
    """Whether the series of a cycle are of one person, who lay in the CT as in the emission."""
    labelled = [(f"T{n}", s) for n, p in enumerate(plan.time_points, start=1) for s in p.series()]
    yield from one_person(labelled)
    for number, point in enumerate(plan.time_points, start=1):
        yield from lies_as_its_ct(f"T{number}", point.emission, point.ct)
        yield from photopeak_is_seen(f"T{number}", point.emission)


def _with_time_points(plan: CyclePlan, findings: Iterable[Finding]) -> Iterable[Finding]:
    """Findings on a series or an object of one time point begin with its label, T1 the first."""
    labels: dict[str, str] = {}
    for number, point in enumerate(plan.time_points, start=1):
        for series in point.series():
            labels |= dict.fromkeys((series.series_uid, *series.instances), f"T{number}")
    for finding in findings:
        label = labels.get(finding.subject)
        yield from at_time_point([finding], label) if label else [finding]


def configured_administrations(config: Config, patient_id: str) -> list[Administration]:
    """Administrations of a patient that the configuration states; a time without offset is the site's."""
    zone = ZoneInfo(config.node.zone)
    return [
        Administration(
            a.nuclide,
            a.activity_mbq,
            a.at if a.at.tzinfo else a.at.replace(tzinfo=zone),
            a.radiopharmaceutical,
            a.residual_mbq,
            "config",
        )
        for a in config.administration
        if a.patient_id == patient_id
    ]


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
