"""From received instances to indexed series: parsed in a worker, written here.

Nothing was decoded before the sender got its answer. Here each new instance is parsed, away from the
node, with memory and time limits; what cannot be parsed is quarantined and stays in the store.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicomnode.audit import events, trail
from dicomnode.audit.about import About
from dicomnode.casebook import administrations, corrections
from dicomnode.cycle.gather import summarise
from dicomnode.database.items import apart, one_item
from dicomnode.database.tables import Instance, Series
from dicomnode.errors import ItemFault, Refused
from dicomnode.model import Administration
from dicomnode.model.series import Differences, InstanceHeader, Role, SeriesSummary
from dicomnode.model.text import printable, shortened

HEADER = TypeAdapter(InstanceHeader)
SUMMARY = TypeAdapter(SeriesSummary)
LARGEST_HEADER_BYTES = 1_000_000
"""Of one header as JSON; the longest of real objects, an RTSTRUCT over a whole body, has some 100 kB."""


@dataclass(frozen=True)
class Parsed:
    """What a worker read from one instance; ``refusal`` where it could not."""

    instance_id: int
    header: InstanceHeader | None
    administrations: tuple[Administration, ...] = ()
    refusal: str = ""
    differences: Differences | None = None
    """From the object that came before under its UID, where one did."""


def parse(
    files: Sequence[tuple[int, Path]], zone: str, beside: Mapping[int, Path] = MappingProxyType({})
) -> list[Parsed]:
    """Read the headers of stored files, and compare those that contradict an object with it (``beside``: its
    file). Runs in a worker; touches no database."""
    from dicomnode.dicom.header.differences import differences

    site = ZoneInfo(zone)
    results = []
    for instance_id, path in files:
        try:
            parsed = _parsed(instance_id, path, site)
            if instance_id in beside:
                parsed = replace(parsed, differences=differences(beside[instance_id], path))
            results.append(parsed)
        except Refused as refusal:
            results.append(Parsed(instance_id, None, refusal=str(refusal)))
    return results


def _parsed(instance_id: int, path: Path, site: ZoneInfo) -> Parsed:
    from dicomnode.dicom.header.administration import read_administrations
    from dicomnode.dicom.header.headers import read_header

    header = read_header(path, site)
    told: tuple[Administration, ...] = ()
    if header.role is Role.ADMINISTRATION:
        told, doubts = read_administrations(path, site)
        header = replace(header, findings=(*header.findings, *doubts))
    size = len(HEADER.dump_json(header))
    if size > LARGEST_HEADER_BYTES:
        raise Refused(
            f"what its header says takes {size} bytes, and {LARGEST_HEADER_BYTES} are kept of one object",
            uid=header.sop_instance_uid, remedy="Have the sender look at it: it refers to too much",
        )  # fmt: skip
    return Parsed(instance_id, header, told)


_TO_BE_READ = (Instance.state == "RECEIVED") | (
    (Instance.state == corrections.CONFLICT) & Instance.differences.is_(None)
)


def unparsed(session: Session, limit: int, besides: Iterable[int]) -> list[tuple[int, str]]:
    """Instances not indexed yet: (row, digest of the file), oldest first."""
    query = select(Instance.id, Instance.file_sha256).where(_TO_BE_READ)
    skip = set(besides)
    if skip:
        query = query.where(Instance.id.not_in(skip))
    return [(i, d) for i, d in session.execute(query.order_by(Instance.id).limit(limit))]


def oldest_unparsed(session: Session) -> datetime | None:
    """When the oldest instance came that is not indexed yet."""
    return session.scalar(select(func.min(Instance.received_at)).where(_TO_BE_READ))


def record(session: Session, parsed: Sequence[Parsed], here: str, now: datetime) -> set[str]:
    """Write what workers read, within the caller's transaction. Returns the patients concerned."""
    touched = enter(session, parsed, here, now)
    return {patient for uid in sorted(touched) for patient in keep(session, sum_up(session, uid), here)}


def enter(session: Session, parsed: Sequence[Parsed], here: str, now: datetime) -> set[str]:
    """Index each object, or put it into quarantine; the fault of one is nothing to the others.

    Returns the series that have grown.
    """
    touched: set[str] = set()
    for result in parsed:
        row = session.get(Instance, result.instance_id)
        if row is None or row.state not in ("RECEIVED", corrections.CONFLICT):
            continue
        problem = result.refusal or _contradiction(row, result.header)
        if not problem and result.header is not None:
            try:
                with apart(session):
                    _index(session, row, result, here, now)
                touched |= {result.header.series_instance_uid, *corrections.series_beside(session, row)}
                continue
            except ItemFault as fault:
                problem = f"it was read and could not be recorded: {fault}; have its sender look at it"
        _quarantine(session, row, problem, here)
    session.flush()
    return touched


def _index(session: Session, row: Instance, result: Parsed, here: str, now: datetime) -> None:
    assert result.header is not None
    row.series_instance_uid = result.header.series_instance_uid
    row.header = HEADER.dump_json(result.header).decode()
    if row.state == corrections.CONFLICT:
        corrections.keep_differences(row, result.differences)
        return
    row.state = "INDEXED"
    _keep_administrations(session, result, here, now)


def _quarantine(session: Session, row: Instance, problem: str, here: str) -> None:
    row.state, row.reason = "QUARANTINED", shortened(printable(problem))
    about = About(sop_instance_uid=row.sop_instance_uid, sop_class_uid=row.sop_class_uid)
    trail.append(session, events.instance_quarantined(here, about, reason=row.reason))
    _next_in_its_place(session, row)


def _next_in_its_place(session: Session, quarantined: Instance) -> None:
    """A corrected object that came before its faulty predecessor was read is no contradiction of it."""
    same_uid = select(Instance).where(Instance.sop_instance_uid == quarantined.sop_instance_uid)
    others = session.scalars(same_uid.where(Instance.id != quarantined.id).order_by(Instance.id)).all()
    if any(other.state in ("RECEIVED", "INDEXED") for other in others):
        return
    for other in others:
        if other.state == "CONFLICT":
            other.state, other.reason = "RECEIVED", ""
            return


def set_aside(session: Session, instance_id: int, problem: str, here: str) -> None:
    """Put an object that is not indexed yet into quarantine: the work role does not survive it."""
    row = session.get(Instance, instance_id)
    if row is not None and row.state == "RECEIVED":
        _quarantine(session, row, problem, here)


def _contradiction(row: Instance, header: InstanceHeader | None) -> str:
    """The command set named one object; the data set must be that object."""
    if header is None:
        return ""
    if header.sop_instance_uid != row.sop_instance_uid:
        return "SOPInstanceUID of the data set differs from that of the C-STORE command: ask the sender"
    if header.sop_class_uid != row.sop_class_uid:
        return "SOPClassUID of the data set differs from that of the C-STORE command: ask the sender"
    if not header.series_instance_uid:
        return "SeriesInstanceUID is empty: it can be put beside no other; have the sender correct it"
    if not header.patient_id:
        return "PatientID is empty: no cycle can be made without it; correct the object and send it again"
    return ""


def _keep_administrations(session: Session, result: Parsed, here: str, now: datetime) -> None:
    assert result.header is not None
    for told in result.administrations:
        told = replace(told, source=result.header.sop_instance_uid)
        administrations.record(session, result.header.patient_id, told, here, now)


@dataclass(frozen=True)
class SummedUp:
    """A series from the headers of all its objects; ``fault`` where they cannot be summed up."""

    series_uid: str
    summary: SeriesSummary | None = None
    objects: int = 0
    patient_name: str = ""
    first_received_at: datetime | None = None
    fault: str = ""


def sum_up(session: Session, series_uid: str) -> SummedUp:
    """Read every header of a series. Takes long for a long one: call it outside a write transaction."""
    rows = _indexed(session, series_uid)
    try:
        with one_item():
            headers = [HEADER.validate_json(r.header) for r in rows]
            digests = {r.sop_instance_uid: r.file_sha256 for r in rows}
            summary = summarise(headers, digests, max(r.received_at for r in rows))
    except ItemFault as fault:
        return SummedUp(series_uid, fault=str(fault))
    first = min(r.received_at for r in rows)
    return SummedUp(series_uid, summary, len(rows), headers[0].patient_name, first)


def keep(session: Session, found: SummedUp, here: str) -> set[str]:
    """Write the row of a series; returns the patients concerned: its own, whose it was before, and those that
    contradicting objects name. Where that cannot be, what came since the row was written last is put into
    quarantine."""
    before = session.get(Series, found.series_uid)
    concerned = corrections.patients_beside(session, found.series_uid)
    concerned |= {before.patient_id} if before else set()
    problem = found.fault
    if found.summary is not None:
        try:
            with apart(session):
                _write_series(session, found, found.summary)
            return {found.summary.patient_id, *concerned}
        except ItemFault as fault:
            problem = str(fault)
    rows = _indexed(session, found.series_uid)
    for row in rows[before.instances if before else 0 :] or rows:
        _quarantine(session, row, f"its series cannot be recorded with it: {problem}", here)
    session.flush()
    return concerned


def grown(session: Session, among: Collection[str] | None = None) -> dict[str, float]:
    """Series (of those ``among``) with more objects than their row says: how many times as many, infinite
    for a new one."""
    counted = select(Instance.series_instance_uid, func.count().label("number"))
    counted = counted.where(Instance.state == "INDEXED").group_by(Instance.series_instance_uid)
    if among is not None:
        counted = counted.where(Instance.series_instance_uid.in_(among))
    indexed = counted.subquery()
    found = session.execute(
        select(indexed.c.series_instance_uid, indexed.c.number, Series.instances)
        .outerjoin(Series, Series.series_instance_uid == indexed.c.series_instance_uid)
        .where((Series.instances.is_(None)) | (Series.instances != indexed.c.number))
    )
    return {uid: number / known if known else inf for uid, number, known in found}


def _indexed(session: Session, series_uid: str) -> Sequence[Instance]:
    indexed = select(Instance).where(Instance.series_instance_uid == series_uid, Instance.state == "INDEXED")
    return session.scalars(indexed.order_by(Instance.id)).all()


def _write_series(session: Session, found: SummedUp, summary: SeriesSummary) -> None:
    series = session.get(Series, found.series_uid)
    if series is None:
        series = Series(series_instance_uid=found.series_uid, first_received_at=found.first_received_at)
        session.add(series)
    series.study_instance_uid, series.patient_id = summary.study_uid, summary.patient_id
    series.patient_name, series.modality = found.patient_name, summary.modality
    series.role, series.description = summary.role.value, summary.description
    series.frame_of_reference_uid = summary.frame_of_reference_uid
    series.acquired_at, series.instances = summary.acquired_at, found.objects
    series.last_received_at, series.state = summary.last_received_at, "OPEN"
    kept = json.loads(SUMMARY.dump_json(replace(summary, instances={})))
    series.summary = json.dumps(kept, sort_keys=True)


def summaries(session: Session, patient_id: str) -> list[SeriesSummary]:
    """Every series of a patient, with the digests of its instances."""
    result = []
    for row in session.scalars(
        select(Series).where(Series.patient_id == patient_id).order_by(Series.series_instance_uid)
    ):
        objects = session.execute(
            select(Instance.sop_instance_uid, Instance.file_sha256, Instance.received_at)
            .where(Instance.series_instance_uid == row.series_instance_uid, Instance.state == "INDEXED")
            .order_by(Instance.sop_instance_uid)
        ).all()
        if not objects:  # all of it was set aside for objects of another series
            continue
        summary = SUMMARY.validate_json(row.summary)
        last = max((at for _, _, at in objects), default=row.last_received_at)  # the row may lag behind
        instances = {uid: digest for uid, digest, _ in objects}
        result.append(replace(summary, instances=instances, last_received_at=last))
    return result
