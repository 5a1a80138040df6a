"""From received instances to indexed series: parsed in a worker, written here.

Nothing was decoded before the sender got its answer. Here each new instance is parsed, away from the
node, with memory and time limits; what cannot be parsed is quarantined and stays in the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicomnode.audit import events, trail
from dicomnode.audit.about import About
from dicomnode.casebook import administrations
from dicomnode.cycle.gather import summarise
from dicomnode.database.tables import Instance, Series
from dicomnode.errors import Refused
from dicomnode.model import Administration
from dicomnode.model.series import InstanceHeader, Role, SeriesSummary

HEADER = TypeAdapter(InstanceHeader)
SUMMARY = TypeAdapter(SeriesSummary)


@dataclass(frozen=True)
class Parsed:
    """What a worker read from one instance; ``refusal`` where it could not."""

    instance_id: int
    header: InstanceHeader | None
    administrations: tuple[Administration, ...] = ()
    refusal: str = ""


def parse(files: Sequence[tuple[int, Path]], zone: str) -> list[Parsed]:
    """Read the headers of stored files. Runs in a worker; touches no database."""
    from dicomnode.dicom.header.administration import read_administrations
    from dicomnode.dicom.header.headers import read_header

    site = ZoneInfo(zone)
    results = []
    for instance_id, path in files:
        try:
            header = read_header(path, site)
            told: tuple[Administration, ...] = ()
            if header.role is Role.ADMINISTRATION:
                told, doubts = read_administrations(path, site)
                header = replace(header, findings=(*header.findings, *doubts))
            results.append(Parsed(instance_id, header, told))
        except Refused as refusal:
            results.append(Parsed(instance_id, None, refusal=str(refusal)))
    return results


def unparsed(session: Session, limit: int, besides: Iterable[int]) -> list[tuple[int, str]]:
    """Instances not indexed yet: (row, digest of the file), oldest first."""
    query = select(Instance.id, Instance.file_sha256).where(Instance.state == "RECEIVED")
    skip = set(besides)
    if skip:
        query = query.where(Instance.id.not_in(skip))
    return [(i, d) for i, d in session.execute(query.order_by(Instance.id).limit(limit))]


def oldest_unparsed(session: Session) -> datetime | None:
    """When the oldest instance came that is not indexed yet."""
    return session.scalar(select(func.min(Instance.received_at)).where(Instance.state == "RECEIVED"))


def record(session: Session, parsed: Sequence[Parsed], here: str, now: datetime) -> set[str]:
    """Write what workers read, within the caller's transaction. Returns the patients concerned."""
    touched: set[str] = set()
    for result in parsed:
        row = session.get(Instance, result.instance_id)
        if row is None or row.state != "RECEIVED":
            continue
        problem = result.refusal or _contradiction(row, result.header)
        if problem or result.header is None:
            row.state, row.reason = "QUARANTINED", problem
            about = About(sop_instance_uid=row.sop_instance_uid, sop_class_uid=row.sop_class_uid)
            trail.append(session, events.instance_quarantined(here, about, reason=problem))
            _next_in_its_place(session, row)
            continue
        row.state, row.series_instance_uid = "INDEXED", result.header.series_instance_uid
        row.header = HEADER.dump_json(result.header).decode()
        touched.add(result.header.series_instance_uid)
        _keep_administrations(session, result, here, now)
    session.flush()
    return {_refresh(session, uid) for uid in sorted(touched)}


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


def _contradiction(row: Instance, header: InstanceHeader | None) -> str:
    """The command set named one object; the data set must be that object."""
    if header is None:
        return ""
    if header.sop_instance_uid != row.sop_instance_uid:
        return "SOPInstanceUID of the data set differs from that of the C-STORE command: ask the sender"
    if header.sop_class_uid != row.sop_class_uid:
        return "SOPClassUID of the data set differs from that of the C-STORE command: ask the sender"
    if not header.patient_id:
        return "PatientID is empty: no cycle can be made without it; correct the object and send it again"
    return ""


def _keep_administrations(session: Session, result: Parsed, here: str, now: datetime) -> None:
    assert result.header is not None
    for told in result.administrations:
        told = replace(told, source=result.header.sop_instance_uid)
        administrations.record(session, result.header.patient_id, told, here, now)


def _refresh(session: Session, series_uid: str) -> str:
    """Bring the row of a series up to date with all its instances; returns its patient."""
    rows = session.scalars(
        select(Instance).where(Instance.series_instance_uid == series_uid, Instance.state == "INDEXED")
    ).all()
    headers = [HEADER.validate_json(r.header) for r in rows]
    digests = {r.sop_instance_uid: r.file_sha256 for r in rows}
    last = max(r.received_at for r in rows)
    summary = summarise(headers, digests, last)
    series = session.get(Series, series_uid)
    if series is None:
        series = Series(series_instance_uid=series_uid, first_received_at=min(r.received_at for r in rows))
        session.add(series)
    series.study_instance_uid, series.patient_id = summary.study_uid, summary.patient_id
    series.patient_name, series.modality = headers[0].patient_name, summary.modality
    series.role, series.description = summary.role.value, summary.description
    series.frame_of_reference_uid = summary.frame_of_reference_uid
    series.acquired_at, series.instances = summary.acquired_at, len(rows)
    series.last_received_at, series.state = last, "OPEN"
    kept = json.loads(SUMMARY.dump_json(replace(summary, instances={})))
    series.summary = json.dumps(kept, sort_keys=True)
    return summary.patient_id


def summaries(session: Session, patient_id: str) -> list[SeriesSummary]:
    """Every series of a patient, with the digests of its instances."""
    result = []
    for row in session.scalars(
        select(Series).where(Series.patient_id == patient_id).order_by(Series.series_instance_uid)
    ):
        instances = dict(
            session.execute(
                select(Instance.sop_instance_uid, Instance.file_sha256)
                .where(Instance.series_instance_uid == row.series_instance_uid, Instance.state == "INDEXED")
                .order_by(Instance.sop_instance_uid)
            ).all()
        )
        summary = SUMMARY.validate_json(row.summary)
        result.append(replace(summary, instances=instances, last_received_at=row.last_received_at))
    return result
