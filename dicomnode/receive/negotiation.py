"""Association negotiation (PS3.8 9.3.2 to 9.3.4) with pynetdicom's PDU and presentation context classes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context, negotiate_as_acceptor

from dicomnode.receive.acceptance import (
    STORAGE_CLASSES,
    STORAGE_COMMITMENT,
    TRANSFER_SYNTAXES,
    VERIFICATION,
    printable,
)
from dicomnode.receive.wire import ASSOCIATE_RJ, ASSOCIATE_RQ, PeerMisbehaved

IMPLEMENTATION_CLASS_UID = "2.25.1377566302434632757882096884719537158"
"""From a UUID (PS3.5 B.2). It stays the same across versions: it is part of every stored file, and the
same object must make the same file."""
IMPLEMENTATION_VERSION_NAME = "DICOMNODE"

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

_MINIMUM_PEER_PDU_BYTES = 128
_SHOWN_CONTEXTS = 3
_FIXED_BYTES, _CONTEXT_ITEM = 68, 0x20
_MOST_CONTEXTS = 128
"""PS3.8 9.3.2.2: their IDs are the odd numbers from 1 to 255."""

# What pynetdicom's PDU classes raise for malformed bytes.
_MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, struct.error)


@dataclass(frozen=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class Proposal:
    """A decoded A-ASSOCIATE-RQ."""

    calling_ae: str
    called_ae: str
    protocol_version: int
    application_context: str
    max_pdu_bytes: int
    request: Any

    def offered(self) -> str:
        """The first few SOP classes and transfer syntaxes, for a person who wonders what was refused."""
        contexts = self.request.presentation_context_definition_list[:_SHOWN_CONTEXTS]
        return printable(
            "; ".join(f"{it.abstract_syntax} in {', '.join(it.transfer_syntax)}" for it in contexts)
        )


def read_titles(body: bytes) -> tuple[str, str]:
    """Called and calling AE title of an A-ASSOCIATE-RQ (PS3.8 table 9-11). Raises ``PeerMisbehaved`` also
    where it proposes more contexts than there are IDs: pynetdicom takes its time for each."""
    if len(body) < _FIXED_BYTES:
        raise PeerMisbehaved("malformed", "its request ends before its items")
    contexts, at = 0, _FIXED_BYTES
    while at + 4 <= len(body):
        contexts += body[at] == _CONTEXT_ITEM
        at += 4 + int.from_bytes(body[at + 2 : at + 4], "big")
    if contexts > _MOST_CONTEXTS:
        raise PeerMisbehaved("malformed", f"it proposes {contexts} presentation contexts")
    called, calling = body[4:20].decode("ascii", "replace"), body[20:36].decode("ascii", "replace")
    return called.strip(), calling.strip()


def read_proposal(body: bytes) -> Proposal:
    """Decode the body of an A-ASSOCIATE-RQ. Raises ``PeerMisbehaved``."""
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(struct.pack(">BxL", ASSOCIATE_RQ, len(body)) + body)
        request = pdu.to_primitive()
        peer_max_pdu_bytes = int(request.maximum_length_received or 0)
        proposal = Proposal(
            request.calling_ae_title.strip(),
            request.called_ae_title.strip(),
            pdu.protocol_version,
            str(request.application_context_name),
            peer_max_pdu_bytes,
            request,
        )
    except _MALFORMED as error:
        raise PeerMisbehaved("malformed", f"its request cannot be read ({type(error).__name__})") from error
    if 0 < peer_max_pdu_bytes < _MINIMUM_PEER_PDU_BYTES:
        raise PeerMisbehaved("malformed", f"peer takes PDUs of {peer_max_pdu_bytes} bytes only")
    return proposal


def accept(proposal: Proposal, max_pdu_bytes: int) -> tuple[bytes, dict[int, Context]]:
    """The A-ASSOCIATE-AC and the accepted contexts by their ID. Raises ``PeerMisbehaved``."""
    request = proposal.request
    try:
        results, _roles = negotiate_as_acceptor(request.presentation_context_definition_list, _supported())
        answer = A_ASSOCIATE()
        answer.application_context_name = APPLICATION_CONTEXT
        answer.calling_ae_title = request.calling_ae_title
        answer.called_ae_title = request.called_ae_title
        answer.result, answer.result_source = 0, 1
        answer.presentation_context_definition_results_list = results
        answer.user_information = _user_information(request, max_pdu_bytes)
        pdu = A_ASSOCIATE_AC()
        pdu.from_primitive(answer)
        encoded = bytes(pdu.encode())
    except _MALFORMED as error:
        raise PeerMisbehaved("malformed", f"its request cannot be used ({type(error).__name__})") from error
    accepted = {
        int(context.context_id): Context(str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in results
        if context.result == 0
    }
    return encoded, accepted


def reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ."""
    return struct.pack(">BxLxBBB", ASSOCIATE_RJ, 4, result, source, reason)


def _supported() -> list[Any]:
    classes = (VERIFICATION, STORAGE_COMMITMENT, *STORAGE_CLASSES)
    return [build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in classes]


def _user_information(request: Any, max_pdu_bytes: int) -> list[Any]:
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    items = [length, implementation, version]
    # Unanswered, some senders (dcm4che) go on with an unlimited window.
    if any(isinstance(item, AsynchronousOperationsWindowNegotiation) for item in request.user_information):
        window = AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = 1
        window.maximum_number_operations_performed = 1
        items.append(window)
    return items
