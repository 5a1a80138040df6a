"""The noun of the audit trail: one event in the terms of DICOM PS3.15 A.5."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum

from dicomnode.audit.codes import Code
from dicomnode.model.text import printable


class Outcome(IntEnum):
    """EventOutcomeIndicator, PS3.15 A.5.1.1."""

    SUCCESS = 0
    MINOR = 4
    SERIOUS = 8
    MAJOR = 12


@dataclass(frozen=True)
class Party:
    """A peer of the network: AE title, address and certificate subject as they were seen."""

    ae_title: str
    address: str = ""
    subject: str = ""


@dataclass(frozen=True)
class Participant:
    """ActiveParticipant: a person or a process that took part."""

    user_id: str
    requestor: bool = False
    role: Code | None = None
    ae_title: str = ""
    address: str = ""
    name: str = ""


@dataclass(frozen=True)
class ParticipantObject:
    """ParticipantObjectIdentification. ``type_code`` 1 person, 2 system object; ``role`` PS3.15
    A.5.1.2.2 (1 patient, 3 report, 13 security resource, 20 job)."""

    id: str
    id_type: Code
    type_code: int = 2
    role: int = 3
    name: str = ""
    sop_classes: Mapping[str, int] = field(default_factory=dict)
    """SOP Class UID -> number of instances."""
    instances: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """What happened.

    Attributes
    ----------
    kind : our name of it, e.g. "instance-received"
    event_id, type_code : coded as PS3.15 A.5.3 says
    action : C, R, U, D or E
    outcome : Outcome
    sentence : EventOutcomeDescription; what happened, for a person
    participants, objects : in the terms of A.5
    patient_id, series_instance_uid, sop_instance_uid, cycle_id, peer, actor : what a query may look for
    detail : further facts, JSON values
    """

    kind: str
    event_id: Code
    action: str
    participants: tuple[Participant, ...]
    objects: tuple[ParticipantObject, ...] = ()
    outcome: Outcome = Outcome.SUCCESS
    type_code: Code | None = None
    sentence: str = ""
    patient_id: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    cycle_id: str = ""
    peer: str = ""
    actor: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)

    def body(self) -> str:
        """Canonical JSON: sorted keys, no spaces, ASCII only, so that its bytes never depend on a
        database or a locale."""
        return json.dumps(plain(vars(self)), sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(value: object) -> object:
    """``value`` in JSON's types: texts scrubbed, times in UTC, numbers that JSON lacks as text."""
    if isinstance(value, str):
        return printable(str(value))
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Mapping):
        return {str(plain(str(key))): plain(item) for key, item in value.items()}
    if isinstance(value, Code | Participant | ParticipantObject):
        return {key: plain(item) for key, item in vars(value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [plain(item) for item in items]
    return plain(str(value))


def instant(at: datetime) -> str:
    """``at`` in UTC as fixed text of 27 characters. Raises ValueError where it has no zone."""
    if at.tzinfo is None:
        raise ValueError("a time without a zone cannot be recorded")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
