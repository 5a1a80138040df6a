"""Storage commitment (PS3.4 Annex J), the asking side: the peer confirms that it keeps our objects.

The request carries a fresh transaction UID each time (dcm4chee refuses one that it has seen). The report
comes on the same association, or later on one that the peer opens to us: to the receiver's port, which
calls :func:`take_report`, or to a :class:`CommitmentListener`.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicomnode.delivery.association import Handler, association, scrub, server_context
from dicomnode.delivery.settings import ListenerSettings, PeerSettings
from dicomnode.errors import Inconsistent, MissingAttribute, Refused, Unsupported

# PS3.4 J.3.3.1.1: all stored; J.3.3.1.2: at least one is not.
_ALL_STORED, _SOME_FAILED = 1, 2


@dataclass(frozen=True)
class Reference:
    """One object named by its class and instance UID."""

    sop_class_uid: str
    sop_instance_uid: str


class Remedy(StrEnum):
    """What to do about an object that the peer does not confirm."""

    SEND_AGAIN = "send-again"
    ASK_AGAIN = "ask-again"
    PERSON = "person"


# PS3.3 C.14.1.1 Failure Reason.
FAILURE_REASONS: dict[int, tuple[Remedy, str]] = {
    0x0110: (Remedy.ASK_AGAIN, "processing failure at the peer"),
    0x0112: (Remedy.SEND_AGAIN, "the peer does not have the object"),
    0x0119: (Remedy.PERSON, "the peer has the object under another SOP class"),
    0x0122: (Remedy.PERSON, "the peer does not commit to this SOP class"),
    0x0131: (Remedy.ASK_AGAIN, "the peer has seen this transaction before"),
    0x0213: (Remedy.ASK_AGAIN, "resource limitation at the peer"),
}


@dataclass(frozen=True)
class NotCommitted:
    """One object that the peer does not confirm, and why (``code`` is None where it gave no reason)."""

    reference: Reference
    code: int | None
    remedy: Remedy
    sentence: str


@dataclass(frozen=True)
class CommitmentReport:
    """What a peer said about one transaction."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[NotCommitted, ...]


@dataclass(frozen=True)
class Asked:
    """Answer to one request: ``status`` 0000 means that a report will come; None means no answer."""

    transaction_uid: str
    status: int | None
    comment: str = ""

    @property
    def accepted(self) -> bool:
        return self.status == 0


TakeReport = Callable[[CommitmentReport], None]


def new_transaction_uid() -> str:
    """A UID never used before (2.25 and a random UUID, PS3.5 B.2)."""
    return str(generate_uid(prefix=None))


def request_dataset(transaction_uid: str, references: Sequence[Reference]) -> Dataset:
    """Action Information of the request (PS3.4 table J.3-1)."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    dataset.ReferencedSOPSequence = [_reference_item(reference) for reference in references]
    return dataset


def _reference_item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item


def handle_report(dataset: Dataset, event_type: int) -> CommitmentReport:
    """Read a report (PS3.4 table J.3-2).

    Raises
    ------
    Unsupported : another event than 1 or 2
    MissingAttribute : no transaction UID, or a reference without its UIDs
    Inconsistent : "all stored" that lists failures, or an object both stored and failed
    """
    if event_type not in (_ALL_STORED, _SOME_FAILED):
        raise Unsupported(
            "a commitment report has event 1 or 2", attribute="EventTypeID", value=str(event_type)
        )
    transaction_uid = str(dataset.get("TransactionUID", "") or "")
    if not transaction_uid:
        raise MissingAttribute("a commitment report without its transaction", attribute="TransactionUID")
    committed = tuple(_read_reference(item) for item in dataset.get("ReferencedSOPSequence") or [])
    failed = tuple(_read_failure(item) for item in dataset.get("FailedSOPSequence") or [])
    if event_type == _ALL_STORED and failed:
        raise Inconsistent("event 1 says all stored, and failures are listed", attribute="FailedSOPSequence")
    both = {r.sop_instance_uid for r in committed} & {f.reference.sop_instance_uid for f in failed}
    if both:
        raise Inconsistent("an object is both stored and failed in one report", uid=min(both))
    return CommitmentReport(transaction_uid, committed, failed)


def _read_reference(item: Dataset) -> Reference:
    uid = str(item.get("ReferencedSOPInstanceUID", "") or "")
    if not uid:
        raise MissingAttribute("a reference names no object", attribute="ReferencedSOPInstanceUID")
    return Reference(str(item.get("ReferencedSOPClassUID", "") or ""), uid)


def _read_failure(item: Dataset) -> NotCommitted:
    reference = _read_reference(item)
    code = item.get("FailureReason")
    if code is None:
        return NotCommitted(reference, None, Remedy.PERSON, "not committed, no reason given")
    code = int(code)
    unknown = (Remedy.PERSON, f"not committed, reason {code:04X} is not in the standard")
    remedy, sentence = FAILURE_REASONS.get(code, unknown)
    return NotCommitted(reference, code, remedy, sentence)


def take_report(event: evt.Event, on_report: TakeReport) -> tuple[int, None]:
    """Handler for N-EVENT-REPORT, here and in the receiver: Success only after ``on_report`` returned.

    A report that cannot be read is answered with 0x0115 (invalid argument value). What ``on_report``
    raises leaves through pynetdicom, which answers 0x0110, so that the peer may try again.
    """
    try:
        report = handle_report(event.event_information, event.event_type)
    except Refused:
        return 0x0115, None
    on_report(report)
    return 0x0000, None


def ask(
    peer: PeerSettings, references: Sequence[Reference], transaction_uid: str, on_report: TakeReport
) -> Asked:
    """Ask ``peer`` to commit to ``references``; a report on this association goes to ``on_report``.

    The association stays open ``peer.commitment_wait_s`` for it, no longer: many peers report on an
    association of their own.

    Raises
    ------
    NoAssociation, NoContext
    """
    taken, answered = threading.Event(), threading.Event()

    def on_event(event: evt.Event) -> tuple[int, None]:
        try:
            return take_report(event, on_report)
        finally:
            taken.set()

    def on_sent(event: evt.Event) -> None:
        # The answer must be out before the association is released: the peer would report once more.
        if taken.is_set() and isinstance(event.pdu, P_DATA_TF):
            answered.set()

    context = build_context(StorageCommitmentPushModel, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    handlers: list[Handler] = [
        (evt.EVT_N_EVENT_REPORT, on_event),
        (evt.EVT_PDU_SENT, on_sent),
    ]
    with association(peer, [context], handlers) as assoc:
        status, _ = assoc.send_n_action(
            request_dataset(transaction_uid, references),
            1,  # PS3.4 J.3.2.1: Request Storage Commitment
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        if "Status" not in status:
            return Asked(transaction_uid, None)
        asked = Asked(transaction_uid, int(status.Status), scrub(status.get("ErrorComment", "")))
        if asked.accepted:
            answered.wait(peer.commitment_wait_s)
        return asked


class CommitmentListener:
    """A port of our own for reports; used where the receiver runs elsewhere or not at all.

    ``callers`` are the AE titles of the peers with storage commitment; others are rejected. An AE title
    is no proof of identity: what protects a record is that a report counts only with a transaction UID
    that we made and told to that peer alone.
    """

    def __init__(self, settings: ListenerSettings, callers: Sequence[str], on_report: TakeReport) -> None:
        self._settings = settings
        self._on_report = on_report
        _config.LOG_HANDLER_LEVEL = "none"
        self._ae = AE(ae_title=settings.ae_title)
        self._ae.require_called_aet = True
        self._ae.require_calling_aet = list(callers)
        self._ae.acse_timeout = settings.stall_timeout_s
        self._ae.maximum_associations = settings.max_associations
        self._ae.add_supported_context(
            StorageCommitmentPushModel,
            [ExplicitVRLittleEndian, ImplicitVRLittleEndian],
            scu_role=True,
            scp_role=True,
        )
        # The peer opens the association, yet it is the SCP of this class (role selection, J.3.3.1.3).

    def start(self) -> int:
        """Listen; returns the port."""
        wrapper = _LateHandshake(self._settings) if self._settings.tls is not None else None
        self._server = self._ae.start_server(
            (self._settings.host, self._settings.port),
            block=False,
            ssl_context=wrapper,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, self._bound),
                (evt.EVT_CONN_CLOSE, _give_back_place),
                (evt.EVT_N_EVENT_REPORT, take_report, [self._on_report]),
            ],
        )
        return int(self._server.server_address[1])

    def stop(self, grace_s: float = 5.0) -> None:
        """Take no more associations, let running ones end for ``grace_s``, then abort them."""
        self._server.shutdown()
        end = time.monotonic() + grace_s
        while self._server.active_associations and time.monotonic() < end:
            time.sleep(0.05)
        self._ae.shutdown()

    def _bound(self, event: evt.Event) -> None:
        sock = event.assoc.dul.socket.socket
        sock.settimeout(self._settings.stall_timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _give_back_place(event: evt.Event) -> None:
    """A peer that connects and closes without a word would keep its place until the ACSE time-out:
    pynetdicom's association thread goes on waiting for the request. None means "none came"."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


class _LateHandshake:
    """Stands in for an SSLContext: the handshake runs in the association's thread, with a limit, so that
    a silent peer does not keep the others from being accepted."""

    def __init__(self, settings: ListenerSettings) -> None:
        assert settings.tls is not None
        self._context = server_context(settings.tls)
        self._timeout_s = settings.stall_timeout_s

    def wrap_socket(self, sock: socket.socket, server_side: bool = True) -> socket.socket:
        sock.settimeout(self._timeout_s)
        return self._context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False)
