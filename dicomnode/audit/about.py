"""What events are about, and who takes part: the pieces that ``dicomnode.audit.events`` is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dicomnode.audit import codes
from dicomnode.audit.codes import Code
from dicomnode.audit.event import Event, Participant, ParticipantObject, Party


@dataclass(frozen=True)
class Person:
    """Who acts: the identifier of a log-in, and the name as it is printed."""

    id: str
    name: str

    @property
    def said(self) -> str:
        """As sentences and reports name the person."""
        return self.name if self.name == self.id else f"{self.name} ({self.id})"


@dataclass(frozen=True)
class About:
    """The objects that an event is about; what is not known stays empty."""

    patient_id: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    cycle_id: str = ""
    revision_id: str = ""

    def keys(self) -> dict[str, str]:
        """The columns of the trail by which this is found."""
        return {
            "patient_id": self.patient_id,
            "series_instance_uid": self.series_instance_uid,
            "sop_instance_uid": self.sop_instance_uid,
            "cycle_id": self.cycle_id,
        }

    def objects(self) -> tuple[ParticipantObject, ...]:
        """The same as ParticipantObjects: study (or what is known of it), job, patient."""
        found = []
        uids = (self.sop_instance_uid,) if self.sop_instance_uid else ()
        classes = {self.sop_class_uid: 1} if self.sop_class_uid else {}
        for uid, kind in (
            (self.study_instance_uid, codes.STUDY_INSTANCE_UID),
            (self.series_instance_uid, codes.SERIES_INSTANCE_UID),
            (self.sop_instance_uid, codes.SOP_INSTANCE_UID),
        ):
            if uid:
                found.append(ParticipantObject(uid, kind, sop_classes=classes, instances=uids))
                break
        if self.cycle_id:
            found.append(ParticipantObject(self.cycle_id, codes.CYCLE_ID, role=20))
        if self.revision_id:
            found.append(ParticipantObject(self.revision_id, codes.REVISION_ID, role=20))
        if self.patient_id:
            found.append(ParticipantObject(self.patient_id, codes.PATIENT_NUMBER, type_code=1, role=1))
        return tuple(found)


def by_node(here: str, role: Code | None = None, *, requestor: bool = False) -> Participant:
    """Our own process."""
    return Participant(here, requestor, role, ae_title=here)


def by_peer(peer: Party, role: Code | None = None, *, requestor: bool = False) -> Participant:
    """A process of another node."""
    # UserID "for a process": what identifies it best, PS3.15 A.5.2.1.
    who = peer.subject or peer.ae_title or peer.address
    return Participant(who, requestor, role, peer.ae_title, peer.address)


def by_person(person: Person | str) -> Participant:
    """A person; text where only one name is known."""
    who = person if isinstance(person, Person) else Person(person, person)
    return Participant(who.id, requestor=True, name=who.name)


def made(
    kind: str, event_id: Code, action: str, participants: Sequence[Participant], about: About, **more: Any
) -> Event:
    """An event about ``about``; ``more`` are further fields of Event."""
    keyed: dict[str, Any] = {"objects": about.objects(), **about.keys(), **more}
    return Event(kind, event_id, action, tuple(participants), **keyed)
