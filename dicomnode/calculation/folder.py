"""DICOM files in folders, grouped into cycles as the node groups what it received."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from uuid import uuid5
from zoneinfo import ZoneInfo

from dicomnode.calculation import planning
from dicomnode.calculation.files import LooseFiles
from dicomnode.calculation.job import AdministrationJob, Course, EarlierOrgan, Job, Outcome
from dicomnode.check import rules
from dicomnode.config import Config
from dicomnode.cycle.administration import Reconciled, from_objects, reconcile, same
from dicomnode.cycle.gather import CyclePlan, gather, summarise
from dicomnode.errors import MissingAttribute, Refused
from dicomnode.model import Administration
from dicomnode.model.series import InstanceHeader, Role, SeriesSummary


@dataclass(frozen=True, eq=False)
class FoundCycle:
    """One cycle among the files: what the node would compute, and where its files lie.

    Attributes
    ----------
    patient_id : as the images state it
    job : series, administration and findings of the grouping (``job.doubts``)
    known : all administrations of the patient, in order of time
    files : the files of the job, by digest
    """

    patient_id: str
    job: Job
    known: tuple[Administration, ...]
    files: LooseFiles


@dataclass(frozen=True, eq=False)
class Found:
    """What files add up to.

    Attributes
    ----------
    cycles : of all patients, in order of their administration
    unused : Series Instance UID -> why the series belongs to no cycle
    unread : file -> why it cannot be read as DICOM
    """

    cycles: tuple[FoundCycle, ...]
    unused: Mapping[str, str]
    unread: Mapping[Path, str]


@dataclass
class _Instances:
    """What was read so far: the first object of each UID counts."""

    headers: dict[str, InstanceHeader]
    digests: dict[str, str]
    paths: dict[str, Path]
    reports: dict[str, list[Administration]]
    contradicted: set[str]
    unread: dict[Path, str]


def find_cycles(
    paths: Iterable[Path],
    config: Config,
    created_at: datetime,
    *,
    administered: Mapping[str, Sequence[Administration]] | None = None,
    accepted: Sequence[tuple[str, str]] = (),
) -> Found:
    """Group the DICOM files in folders into time points and cycles; only headers are read.

    Parameters
    ----------
    paths : files and folders; folders are searched to the bottom
    config : [cycle], [recon] and the zone of [node] decide, as in the node
    created_at : the instant that the objects made of the cycles will bear
    administered : Patient ID -> administrations that a person states; they come before all other sources
    accepted : (rule, subject) of findings that a person accepts

    Raises
    ------
    Refused : no file is there
    """
    found = _read(_files(paths), ZoneInfo(config.node.zone))
    files = LooseFiles({found.digests[uid]: path for uid, path in found.paths.items()})
    patients: dict[str, list[SeriesSummary]] = defaultdict(list)
    for one in _series(found.headers.values(), found.digests, created_at):
        patients[one.patient_id].append(one)
    cycles: list[FoundCycle] = []
    unused: dict[str, str] = {}
    for patient_id, series in sorted(patients.items()):
        stated = [*(administered or {}).get(patient_id, ())]
        known = reconcile(
            [*stated, *planning.configured_administrations(config, patient_id)],
            found.reports.get(patient_id, ()),
            from_objects(series),
            config.cycle,
        )
        grouped = gather(series, known.administrations, config.cycle, reconstruct=config.recon.reconstruct)
        unused |= {uid: sentence for uid, (_, sentence) in grouped.unused.items()}
        for plan in grouped.cycles:
            job = _job(plan, known, config, created_at, accepted, found.contradicted)
            cycles.append(FoundCycle(patient_id, job, known.administrations, files))
    cycles.sort(key=lambda c: (c.job.administration.at, c.job.cycle_id))
    return Found(tuple(cycles), unused, found.unread)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Every file below ``paths``, in order. Raises Refused for a path that is not there."""
    for path in paths:
        if not path.exists():
            raise Refused("there is no such file or folder", uid=str(path))
        yield from sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _read(paths: Iterable[Path], zone: ZoneInfo) -> _Instances:
    found = _Instances({}, {}, {}, defaultdict(list), set(), {})
    for path in dict.fromkeys(paths):
        try:
            header, told = _instance(path, zone)
        except Refused as refusal:
            found.unread[path] = str(refusal)
            continue
        uid, digest = header.sop_instance_uid, _digest(path)
        if uid in found.headers:
            found.contradicted |= {uid} if digest != found.digests[uid] else set()
            continue
        found.headers[uid], found.digests[uid], found.paths[uid] = header, digest, path
        found.reports[header.patient_id] += told
    if not found.headers:
        raise Refused("no DICOM object is among the files that were given",
                      remedy="Name the folders that hold the SPECT and CT of the patient")  # fmt: skip
    return found


def _instance(path: Path, zone: ZoneInfo) -> tuple[InstanceHeader, list[Administration]]:
    """Header of one object, and the administrations that it reports."""
    from dicomnode.dicom.header.administration import read_administrations
    from dicomnode.dicom.header.headers import read_header

    header = read_header(path, zone)
    if not header.patient_id:
        raise MissingAttribute(
            "no cycle can be made without it", attribute="PatientID", uid=header.sop_instance_uid,
            remedy="Give every patient's objects a number of their own",
        )  # fmt: skip
    if header.role is not Role.ADMINISTRATION:
        return header, []
    told, doubts = read_administrations(path, zone)
    source = header.sop_instance_uid
    return replace(header, findings=(*header.findings, *doubts)), [replace(a, source=source) for a in told]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _series(
    headers: Iterable[InstanceHeader], digests: Mapping[str, str], read_at: datetime
) -> list[SeriesSummary]:
    """Series in order of their UIDs, each with its instances in order of theirs, whoever the patient is: two
    patients in one series are a finding."""
    of: dict[str, list[InstanceHeader]] = defaultdict(list)
    for header in sorted(headers, key=lambda h: h.sop_instance_uid):
        of[header.series_instance_uid].append(header)
    return [summarise(members, digests, read_at) for _, members in sorted(of.items())]


def _job(
    plan: CyclePlan,
    known: Reconciled,
    config: Config,
    created_at: datetime,
    accepted: Sequence[tuple[str, str]],
    contradicted: set[str],
) -> Job:
    """The job of a cycle. Its identity follows from inputs, configuration and instant, so that two different
    answers never bear one UID."""
    inputs = planning.job_of(plan, "", 1, created_at).inputs_digest()
    decides = f"files/{inputs}/{config.digest()}/{sorted(accepted)}/{created_at.isoformat()}"
    cycle_id = str(uuid5(planning.REVISION, decides))
    mine = [uid for s in plan.series() for uid in s.instances]
    conflicts = [rules.conflicting_instance(uid) for uid in mine if uid in contradicted]
    doubts = planning.findings_of_plan(plan, known, config, conflicts)
    job = planning.job_of(plan, cycle_id, 1, created_at, accepted)
    return job.model_copy(update={"doubts": doubts})


def with_course(cycle: FoundCycle, before: Sequence[tuple[FoundCycle, Outcome]]) -> FoundCycle:
    """The cycle with what came before it: doses of the patient's earlier cycles that nothing holds, and the
    administrations of which there is no dose."""
    given = cycle.job.administration.noun()
    earlier = [
        (other.job.administration.noun(), outcome)
        for other, outcome in before
        if other.patient_id == cycle.patient_id and outcome.verdict.release
        if other.job.administration.at < given.at
    ]
    course = Course(
        organs=tuple(tuple(EarlierOrgan.of(o) for o in outcome.organs) for _, outcome in earlier),
        without_dose=tuple(
            AdministrationJob.of(a)
            for a in cycle.known
            if a.at < given.at and not any(same(a, counted) for counted, _ in earlier)
        ),
    )
    if course == Course():
        return cycle
    name = str(uuid5(planning.REVISION, f"{cycle.job.revision_id}/{course.model_dump_json()}"))
    return replace(cycle, job=cycle.job.model_copy(update={"earlier": course, "revision_id": name}))
