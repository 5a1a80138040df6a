"""Sends the objects of one revision to one peer over one association, in order. No retry in here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from dicomnode.delivery.association import NoAssociation, NoContext, association, scrub
from dicomnode.delivery.outbox import Item
from dicomnode.delivery.policy import (
    CONTEXT_REFUSED,
    FAULT_TABLE,
    FILE_AWAY,
    NO_ANSWER,
    OBJECT_UNREADABLE,
    WAITING,
    Answer,
    Fault,
    classify,
)
from dicomnode.delivery.settings import PeerSettings


class By(StrEnum):
    """Who or what an answer comes from."""

    PEER = "peer"
    SILENCE = "silence"
    """The object was sent, and no answer came."""
    FILE = "file"
    ASSOCIATION = "association"
    CHAIN = "chain"


@dataclass(frozen=True)
class Answered:
    """What became of one object at one try. ``status``: the DICOM status as four hexadecimal digits, or
    a word; ``comment``: what the peer or the system said, scrubbed."""

    item: Item
    by: By
    answer: Answer
    status: str
    comment: str = ""

    @property
    def counted(self) -> bool:
        """The try counts against the object's own limits; a fault of the association does not."""
        return self.by in (By.PEER, By.SILENCE, By.FILE)


def send(peer: PeerSettings, items: Sequence[Item]) -> Iterator[Answered]:
    """Send ``items`` in their order; yields one answer per item, each as soon as it is known.

    The caller records each answer before it asks for the next, so that a crash loses at most one. An
    object whose predecessor (position one less) was not taken is not offered. The bytes are those of the
    file, at every try; only for a peer that takes nothing but Implicit VR Little Endian are they
    transcoded, which changes no value and no UID.
    """
    ready: list[tuple[Item, str]] = []
    broken: dict[int, Answered] = {}
    for item in items:
        syntax, refusal = _inspect(item)
        if refusal is None:
            ready.append((item, syntax))
        else:
            broken[item.delivery_id] = refusal
    if not ready:
        yield from (broken[item.delivery_id] for item in items)
        return
    try:
        with association(peer, contexts_for(ready)) as assoc:
            syntaxes = {item.delivery_id: syntax for item, syntax in ready}
            yield from _send_all(assoc, peer, items, syntaxes, broken)
    except NoAssociation as why:
        answer = FAULT_TABLE[why.fault]
        for item in items:
            yield broken.get(item.delivery_id) or Answered(
                item, By.ASSOCIATION, answer, why.fault.value, why.detail
            )
    except NoContext as why:
        for item in items:
            yield broken.get(item.delivery_id) or Answered(
                item, By.PEER, CONTEXT_REFUSED, "no context", why.status
            )


def contexts_for(ready: Sequence[tuple[Item, str]]) -> list[PresentationContext]:
    """One context per SOP class and syntax, so that the peer's choice is seen exactly, and for an
    uncompressed object Implicit VR Little Endian as the fall-back that every peer must take (PS3.5 10.1)."""
    wanted: dict[tuple[str, str], None] = {}
    for item, syntax in ready:
        wanted[item.sop_class_uid, syntax] = None
        if syntax == ExplicitVRLittleEndian:
            wanted[item.sop_class_uid, str(ImplicitVRLittleEndian)] = None
    return [build_context(sop_class, syntax) for sop_class, syntax in wanted]


def _inspect(item: Item) -> tuple[str, Answered | None]:
    """Transfer syntax of the file, or why it must not leave: what is sent is what was made."""
    try:
        if _sha256(item.path) != item.file_sha256:
            return "", Answered(
                item, By.FILE, OBJECT_UNREADABLE, "file", "its digest is not the recorded one"
            )
        meta = read_file_meta_info(item.path)
    except OSError as fault:
        return "", Answered(item, By.FILE, FILE_AWAY, "file", scrub(fault.strerror or fault))
    except InvalidDicomError:
        return "", Answered(item, By.FILE, OBJECT_UNREADABLE, "file", "it is not DICOM")
    if (
        meta.get("MediaStorageSOPInstanceUID") != item.sop_instance_uid
        or meta.get("MediaStorageSOPClassUID") != item.sop_class_uid
    ):
        return "", Answered(item, By.FILE, OBJECT_UNREADABLE, "file", "it holds another object")
    return str(meta.get("TransferSyntaxUID", "")), None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _send_all(
    assoc: Association,
    peer: PeerSettings,
    items: Sequence[Item],
    syntaxes: dict[int, str],
    broken: dict[int, Answered],
) -> Iterator[Answered]:
    not_taken: set[int] = set()
    lost = False
    for number, item in enumerate(items, start=1):
        if item.delivery_id in broken:
            answered = broken[item.delivery_id]
        elif item.position - 1 in not_taken:
            answered = Answered(item, By.CHAIN, WAITING, "waiting")
        elif lost or not assoc.is_established:
            answered = _not_reached(item)
        else:
            answered = _store(assoc, peer, item, syntaxes[item.delivery_id], number)
        # Without an answer to this one nothing more can be sent here, whatever the state machine says yet.
        lost = lost or answered.by is By.SILENCE
        if not answered.answer.stored:
            not_taken.add(item.position)
        yield answered


def _not_reached(item: Item) -> Answered:
    return Answered(item, By.ASSOCIATION, FAULT_TABLE[Fault.ABORTED], Fault.ABORTED.value, "before its turn")


def _store(assoc: Association, peer: PeerSettings, item: Item, syntax: str, number: int) -> Answered:
    accepted = {
        str(context.transfer_syntax[0])
        for context in assoc.accepted_contexts
        if context.abstract_syntax == item.sop_class_uid
    }
    # The response's time runs from the moment the object is handed to the sending thread.
    transfer_s = item.path.stat().st_size / (1024 * peer.slowest_kb_per_s)
    assoc.dimse_timeout = peer.response_timeout_s + transfer_s
    message_id = number % 65536 or 1
    if syntax in accepted:
        source: Path | Dataset = item.path
    elif syntax == ExplicitVRLittleEndian and ImplicitVRLittleEndian in accepted:
        source = dcmread(item.path)
    else:
        return Answered(
            item, By.PEER, CONTEXT_REFUSED, "no context", f"accepted: {', '.join(accepted) or 'none'}"
        )
    try:
        status = assoc.send_c_store(source, msg_id=message_id)
    except RuntimeError:
        # The peer broke off between the last answer and this object.
        return _not_reached(item)
    if "Status" not in status:
        return Answered(item, By.SILENCE, NO_ANSWER, "no answer")
    comment = scrub(status.get("ErrorComment", ""))
    code = int(status.Status)
    return Answered(item, By.PEER, classify(code), f"{code:04X}", comment)
