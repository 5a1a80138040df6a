"""Two objects under one SOP Instance UID: what differs, whom it concerns, and the choice of a person.

A PACS that corrects a Patient ID and sends the scan again keeps the UIDs. The first object stays in use, the
second waits; the cycles of both patients are held until a person says which of the two is right.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from dicomnode.audit import events, trail
from dicomnode.audit.about import About, Person
from dicomnode.casebook.house import House
from dicomnode.check import rules
from dicomnode.cycle.gather import CyclePlan
from dicomnode.database.tables import Instance, Series
from dicomnode.errors import Refused
from dicomnode.model import Finding
from dicomnode.model.series import Differences, InstanceHeader

CONFLICT, NOT_CHOSEN = "CONFLICT", "NOT_CHOSEN"
HEADER = TypeAdapter(InstanceHeader)
IDENTITY = frozenset({
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDs",
    "OtherPatientNames", "OtherPatientIDsSequence", "PatientBirthName", "PatientBirthTime",
    "IssuerOfPatientIDQualifiersSequence", "AccessionNumber", "StudyID", "ReferringPhysicianName",
    "PatientAge", "PatientComments", "AdmissionID", "OriginalAttributesSequence", "InstanceCoercionDateTime",
    "SpecificCharacterSet",
})  # fmt: skip
"""Attributes that a correction of the patient touches (PS3.3 C.7.1.1, C.7.2.1, C.12.1)."""
SHOWN = 6
"""Differing attributes that a sentence names."""


def came_before(session: Session, ids: Collection[int]) -> dict[int, str]:
    """Of those among ``ids`` that contradict an object: the digest of that object's file."""
    first, second = aliased(Instance), aliased(Instance)
    query = (
        select(second.id, first.file_sha256)
        .join(first, first.sop_instance_uid == second.sop_instance_uid)
        .where(second.id.in_(ids), second.state == CONFLICT, first.state.in_(("INDEXED", "RECEIVED")))
        .where(first.purged_at.is_(None))
    )
    return dict(session.execute(query).all())


def keep_differences(row: Instance, found: Differences | None) -> None:
    """Write what a comparison found (nothing where the first object's file is gone)."""
    row.differences = json.dumps(asdict(found) if found else None)


def series_beside(session: Session, row: Instance) -> set[str]:
    """Series of the other objects under the UID of one."""
    others = select(Instance.series_instance_uid).where(
        Instance.sop_instance_uid == row.sop_instance_uid, Instance.id != row.id
    )
    return set(session.scalars(others)) - {""}


def patients_beside(session: Session, series_uid: str) -> set[str]:
    """Patients that the objects of a series name which are not in use."""
    rows = select(Instance.header).where(
        Instance.series_instance_uid == series_uid, Instance.state.in_((CONFLICT, NOT_CHOSEN))
    )
    return {HEADER.validate_json(h).patient_id for h in session.scalars(rows.distinct())}


@dataclass(frozen=True)
class Contradicted:
    """Objects of one series that came again with other content, and in what they differ."""

    series_uid: str
    description: str
    modality: str
    objects: int
    newest_uid: str
    keywords: tuple[str, ...]
    same_pixels: bool
    patients: tuple[str, str]
    acquired_at: datetime | None

    @property
    def told(self) -> tuple[str, int, str, str, str]:
        """What the rules say of it."""
        of = "object" if self.objects == 1 else "objects"
        named = f"{self.objects} {of} of '{self.description}' ({self.modality})"
        return named, self.objects, self.what, self.series_uid, self.newest_uid

    @property
    def is_of_the_patient(self) -> bool:
        """Whether only attributes of the patient's identity differ: a correction, not another image."""
        return self.same_pixels and bool(self.keywords) and IDENTITY.issuperset(self.keywords)

    @property
    def what(self) -> str:
        """As a sentence says it, without the values: they may name the patient."""
        shown = ", ".join(self.keywords[:SHOWN]) or "what has not been compared yet"
        more = f" and {len(self.keywords) - SHOWN} more" if len(self.keywords) > SHOWN else ""
        if self.is_of_the_patient:
            return f"{shown}{more}; the pixels are the same, as in a correction of the patient"
        return f"{shown}{more}; {'the pixels are the same' if self.same_pixels else 'the pixels differ, too'}"


def contradicted(session: Session, uids: Collection[str] | None = None) -> list[Contradicted]:
    """Open contradictions (of these SOP Instance UIDs), one for each series and pair of patients."""
    first, second = aliased(Instance), aliased(Instance)
    query = (
        select(second, first.header)
        .join(first, first.sop_instance_uid == second.sop_instance_uid)
        .where(second.state == CONFLICT, first.state == "INDEXED")
        .order_by(second.id)
    )
    if uids is not None:
        query = query.where(second.sop_instance_uid.in_(uids))
    groups = defaultdict[tuple[str, str, str], list[tuple[Instance, InstanceHeader]]](list)
    for row, header in session.execute(query).all():
        before = HEADER.validate_json(header)
        after = HEADER.validate_json(row.header) if row.differences is not None else before
        groups[before.series_instance_uid, before.patient_id, after.patient_id].append((row, before))
    return [_summed_up(group, pair) for (_, *pair), group in groups.items()]


def open_ones(house: House) -> list[Contradicted]:
    """Every contradiction that waits for a person."""
    with house.database.read() as session:
        return contradicted(session)


def _summed_up(group: Sequence[tuple[Instance, InstanceHeader]], patients: Sequence[str]) -> Contradicted:
    found = [d for row, _ in group if (d := json.loads(row.differences or "null"))]
    newest, header = group[-1]
    return Contradicted(
        header.series_instance_uid,
        header.series_description,
        header.modality,
        len(group),
        newest.sop_instance_uid,
        tuple(dict.fromkeys(k for d in found for k in d["keywords"])),
        bool(found) and all(d["same_pixels"] for d in found),
        (patients[0], patients[1]),
        min((h.acquired_at for _, h in group if h.acquired_at is not None), default=None),
    )


def findings(session: Session, plan: CyclePlan, window_d: float) -> Iterator[Finding]:
    """What contradicts the objects of a cycle, and what waits for its patient under another one's name."""
    uids = [uid for s in plan.series() for uid in s.instances]
    for start in range(0, len(uids), 500):
        for one in contradicted(session, uids[start : start + 500]):
            yield rules.contradicting_objects(*one.told)
    for one in _waiting_for(session, plan.patient_id):
        if one.acquired_at is None or any(
            abs(p.acquired_at - one.acquired_at) <= timedelta(days=window_d) for p in plan.time_points
        ):
            yield rules.correction_waits(*one.told)


def _waiting_for(session: Session, patient_id: str) -> Iterable[Contradicted]:
    """Objects that name this patient and are held back, since another patient's are in use."""
    named = json.dumps(patient_id, ensure_ascii=False)
    rows = select(Instance.sop_instance_uid).where(
        Instance.state == CONFLICT, Instance.header.contains(f'"patient_id":{named}', autoescape=True)
    )
    uids = session.scalars(rows).all()
    found = [
        one for start in range(0, len(uids), 500) for one in contradicted(session, uids[start : start + 500])
    ]
    return [one for one in found if one.patients[1] == patient_id != one.patients[0]]


def choose(
    house: House, which: Literal["first", "second"], uids: Collection[str], by: Person, because: str
) -> str:
    """A person says which of two objects is right: that which came first, or the second, which takes its
    place. ``uids`` name objects, series or studies; empty: all that are open. A choice may be made again.

    Raises Refused where nothing of that name contradicts itself, and where the file is gone.
    """
    with house.database.write() as session:
        pairs = _pairs(session, uids)
        if not pairs:
            raise Refused(
                "no two objects came under such a UID", remedy="`dicomnode quarantine list` shows them"
            )
        for rows in pairs.values():
            kept = rows[0] if which == "first" else rows[-1]
            if kept.purged_at is not None:
                raise Refused("its file was removed", uid=kept.sop_instance_uid, remedy="Have it sent again")
            for row in rows:
                _set(session, row, row is kept, by, because)
    return f"of {len(pairs)} objects the {which} is used"


def _set(session: Session, row: Instance, kept: bool, by: Person, because: str) -> None:
    """The one kept is read again, so that series and patients are brought up to date as for a new one."""
    row.state, row.reason = (
        ("RECEIVED", "") if kept else (NOT_CHOSEN, f"{by.said} chose the other: {because}")
    )
    series = session.get(Series, row.series_instance_uid)
    if series is not None:
        series.instances = 0  # to be summed up again
    which = About(sop_instance_uid=row.sop_instance_uid, sop_class_uid=row.sop_class_uid)
    decision = "chosen" if kept else "not chosen"
    trail.append(session, events.quarantine_decided(by, which, decision=decision, because=because))


def _pairs(session: Session, uids: Collection[str]) -> dict[str, list[Instance]]:
    """SOP Instance UID -> the objects under it, in the order in which they came."""
    other = aliased(Instance)
    met = select(other.sop_instance_uid).where(
        other.state.in_((CONFLICT, NOT_CHOSEN)) if uids else other.state == CONFLICT
    )
    rows = select(Instance).where(
        Instance.sop_instance_uid.in_(met),
        Instance.state.in_(("INDEXED", "RECEIVED", CONFLICT, NOT_CHOSEN)),
    )
    pairs: dict[str, list[Instance]] = defaultdict(list)
    for row in session.scalars(rows.order_by(Instance.id)):
        pairs[row.sop_instance_uid].append(row)
    return {uid: found for uid, found in pairs.items() if not uids or _named(found, uids)}


def _named(rows: Iterable[Instance], uids: Collection[str]) -> bool:
    names: set[str] = set()
    for row in rows:
        names |= {row.sop_instance_uid, row.series_instance_uid}
        if row.header != "{}":
            names.add(HEADER.validate_json(row.header).study_instance_uid)
    return bool(names & set(uids))
