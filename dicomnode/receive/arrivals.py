"""What the receiver hands over, and to whom. ``node`` supplies the keeper and the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Protocol

from dicomnode.errors import DicomnodeError


class NotStored(DicomnodeError):
    """An object could not be kept or recorded now; the sender is told to try again (0xA700)."""


class Disposition(Enum):
    """What the ledger found when it recorded an arrival."""

    NEW = "new"
    DUPLICATE = "duplicate"
    """Same SOP Instance UID, same bytes: already there."""
    CONFLICT = "conflict"
    """Same SOP Instance UID, other bytes: both are kept, a person decides."""


class Kept(Protocol):
    """One file in the store."""

    @property
    def file_sha256(self) -> str:
        """Digest of the whole file; its name in the store."""

    @property
    def data_set_sha256(self) -> str:
        """Digest of the bytes after the file meta group: the data set as it came over the wire."""

    @property
    def size_bytes(self) -> int:
        """Size of the file."""


@dataclass(frozen=True)
class Measured:
    """Digests and size of a file, taken while it was written (a ``Kept``)."""

    file_sha256: str
    data_set_sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Arrival:
    """One object as it came: the receipt that is committed before Success is answered."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    kept: Kept
    calling_ae: str
    called_ae: str
    peer_address: str
    peer_subject: str
    association: str
    received_at: datetime


@dataclass(frozen=True)
class Incident:
    """Something a person should know about a peer.

    Attributes
    ----------
    kind : one of association-refused, tls-failed, malformed, too-slow, aborted, over-limit, not-stored,
        conflict, commitment-failed
    peer_address : address of the peer
    calling_ae : its AE title with control characters removed, empty before it told one
    sentence : what happened, without patient data
    sop_instance_uid : the object concerned, empty if none
    association : identifier of the association
    happened_at : aware, UTC
    repeated : how many like it (kind and address) were not told of since the last one
    """

    kind: str
    peer_address: str
    calling_ae: str
    sentence: str
    sop_instance_uid: str
    association: str
    happened_at: datetime
    repeated: int = 0


class Keeper(Protocol):
    """The store, as the receiver sees it."""

    def adopt(self, temporary: Path, measured: Kept) -> Kept:
        """Make ``temporary`` part of the store: fsync it, rename it, fsync its folder. Raises OSError.

        ``measured`` holds the digests taken while the file was written, so that it is not read again.
        """


class Ledger(Protocol):
    """The record, as the receiver sees it. Every method is called from several threads and raises
    ``DicomnodeError`` (such as ``NotStored``) or ``OSError`` where the database is not available."""

    def record(self, arrival: Arrival) -> Disposition:
        """Commit the receipt and its audit event durably, then return."""

    def incident(self, incident: Incident) -> None:
        """Commit an incident."""

    def holds(self, sop_class_uid: str, sop_instance_uid: str) -> bool:
        """True only if this instance is recorded and its file is really there (storage commitment)."""
