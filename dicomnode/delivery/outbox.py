"""What the sender sees of the outbox. The corridor (node) implements it with the archive and the audit
trail, so that each change and its event are one transaction; delivery itself knows no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from dicomnode.delivery.commitment import CommitmentReport
from dicomnode.delivery.policy import Answer
from dicomnode.errors import DicomnodeError


class OutboxUnavailable(DicomnodeError):
    """The outbox cannot be reached just now (its database is away); the sender waits and goes on."""


@dataclass(frozen=True)
class Item:
    """One object for one peer, leased to this sender.

    Attributes
    ----------
    delivery_id, attempt : the outbox row, and which try this is (1, 2, ...)
    revision_id, role, position : what it is and its place in the sending order
    sop_class_uid, sop_instance_uid, file_sha256, path : the file, the same at every try
    queued_at : when the object came to be (timezone-aware); its age ends the retries
    """

    delivery_id: int
    attempt: int
    revision_id: str
    role: str
    position: int
    sop_class_uid: str
    sop_instance_uid: str
    file_sha256: str
    path: Path
    queued_at: datetime


@dataclass(frozen=True)
class Decision:
    """What one try changes in the outbox row.

    ``state`` is QUEUED, SENT, SENT_WITH_WARNING or PARKED. ``counted`` is False where the association
    failed, not the object: the try does not count against the object's limits. ``status`` is the DICOM status
    in hexadecimal, the fault of the association, or "no answer". ``alert`` is a sentence for a person, or
    empty. ``comment`` may come from the peer: show it, never log it.
    """

    state: Literal["QUEUED", "SENT", "SENT_WITH_WARNING", "PARKED"]
    status: str
    comment: str
    next_try_at: datetime | None
    counted: bool
    answer: Answer
    alert: str = ""


@dataclass(frozen=True)
class Unconfirmed:
    """Objects of one revision, sent to one peer, whose commitment is due to be asked for.

    ``asked`` counts the requests so far: at the peer's ``commitment_tries`` they are looked up instead.
    """

    revision_id: str
    asked: int
    items: tuple[Item, ...]


class OutboxProtocol(Protocol):
    """Each call is one transaction, with its audit event. May raise OutboxUnavailable."""

    def claim(self, peer: str, now: datetime, limit: int) -> Sequence[Item]:
        """Lease the objects of one revision that are due at ``peer``, in sending order."""

    def renew(self, items: Sequence[Item], now: datetime) -> int:
        """Lengthen the lease of objects that still wait for their turn in the association; how many may
        still leave (none where their revision was held or superseded meanwhile)."""

    def record(self, item: Item, decision: Decision, now: datetime) -> bool:
        """Write what became of a try; False where the lease was lost meanwhile (nothing is written)."""

    def release_expired(self, now: datetime) -> int:
        """Put back what a dead sender had leased; how many. (At its start the corridor also puts back
        what a sender of the same name held when it was killed.)"""

    def unconfirmed(self, peer: str, now: datetime, timeout_h: float, tries: int) -> Sequence[Unconfirmed]:
        """Sent objects never asked about, or asked about more than ``timeout_h`` ago."""

    def commitment_asked(self, asked: Unconfirmed, transaction_uid: str, now: datetime) -> None:
        """Note the transaction BEFORE the request leaves: a report may arrive at once."""

    def commitment_reported(self, report: CommitmentReport, now: datetime) -> None:
        """Note a report, of whatever peer, on whatever association."""

    def commitment_checked(self, asked: Unconfirmed, found: frozenset[str], now: datetime) -> None:
        """Note which SOP Instance UIDs a query found after no report came; a person is told."""

    def alert(self, peer: str, sentence: str, now: datetime) -> None:
        """Something about ``peer`` a person has to know, not about one object."""

    def went_wrong(self, name: str, sentence: str, now: datetime) -> None:
        """A step for the peer ``name`` failed here; `status` says so until one goes well."""

    def went_well(self, name: str) -> None:
        """It goes well again."""
