"""Storage commitment as SCP (PS3.4 J.3): we promise only what the ledger holds."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_role
from pynetdicom.dsutils import decode, encode

from dicomnode.dicom.header.dataset import PARSE_FAULTS
from dicomnode.errors import DicomnodeError
from dicomnode.receive.acceptance import (
    IMPLICIT_LE,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    STORAGE_COMMITMENT,
    is_uid,
)
from dicomnode.receive.arrivals import Ledger
from dicomnode.receive.incidents import Caller, IncidentDesk
from dicomnode.receive.settings import PeerSettings, ReceiveSettings

logger = logging.getLogger(__name__)

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_ACTION = 1
MAX_REQUEST_BYTES = 8 * 1024 * 1024
"""Some 50 000 references of 150 bytes."""

_MAX_WAITING_REPORTS = 16
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class CommitmentRequest:
    """Action information of an N-ACTION: (SOP class, SOP instance) pairs of one transaction."""

    transaction_uid: str
    references: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """An N-EVENT-REPORT; event type 1: all there, 2: some are not (PS3.4 J.3.3)."""

    event_type: int
    information: Dataset

    def encoded(self, transfer_syntax: str) -> bytes:
        """The event information in ``transfer_syntax``."""
        return bytes(encode(self.information, transfer_syntax == IMPLICIT_LE, True) or b"")


def read_request(encoded: bytes, transfer_syntax: str) -> CommitmentRequest | None:
    """The request in ``encoded``; None where it cannot be read or lacks what it must have."""
    try:
        information = decode(BytesIO(encoded), transfer_syntax == IMPLICIT_LE, True)
        transaction = str(information.TransactionUID)
        named = (
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in information.ReferencedSOPSequence
        )
        references = tuple(dict.fromkeys(named))  # named once or 40,000 times, it is looked at once
    except PARSE_FAULTS:
        return None
    usable = is_uid(transaction) and references and all(is_uid(uid) for pair in references for uid in pair)
    return CommitmentRequest(transaction, references) if usable else None


def answer(request: CommitmentRequest, ledger: Ledger) -> Report:
    """What is there and what is not."""
    there: list[Dataset] = []
    failed: list[Dataset] = []
    for sop_class, sop_instance in request.references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        reason = _failure(sop_class, sop_instance, ledger)
        if reason:
            item.FailureReason = reason
        (failed if reason else there).append(item)
    information = Dataset()
    information.TransactionUID = request.transaction_uid
    if there:
        information.ReferencedSOPSequence = there
    if failed:
        information.FailedSOPSequence = failed
    return Report(2 if failed else 1, information)


def _failure(sop_class: str, sop_instance: str, ledger: Ledger) -> int:
    try:
        return 0 if ledger.holds(sop_class, sop_instance) else NO_SUCH_INSTANCE
    except (DicomnodeError, OSError):
        return PROCESSING_FAILURE


class Reporter:
    """Delivers reports on associations of our own, where the requestor has left its association.

    Reports wait in memory only: a requestor that hears nothing asks again (PS3.4 J.3.3).
    """

    def __init__(self, settings: ReceiveSettings, desk: IncidentDesk) -> None:
        self._settings = settings
        self._desk = desk
        self._stopping = threading.Event()
        self._places = threading.BoundedSemaphore(_MAX_WAITING_REPORTS)

    def deliver(self, report: Report, caller: Caller) -> None:
        """Deliver in the background; an incident tells where it was not possible."""
        peer = _reachable(caller, self._settings)
        if peer is None:
            self._desk.tell("commitment-failed", caller, "it has released and has no commitment_host")
        elif not self._places.acquire(blocking=False):
            self._desk.tell("commitment-failed", caller, "too many reports wait for their requestors")
        else:
            threading.Thread(target=self._deliver, args=(report, caller, peer), daemon=True).start()

    def stop(self) -> None:
        """Give up what waits."""
        self._stopping.set()

    def _deliver(self, report: Report, caller: Caller, peer: PeerSettings) -> None:
        try:
            for _attempt in range(self._settings.commitment_attempts):
                if send_report(report, peer, self._settings):
                    return
                if self._stopping.wait(self._settings.commitment_retry_s):
                    return
            where = f"{peer.commitment_host}:{peer.commitment_port}"
            self._desk.tell("commitment-failed", caller, f"the report could not be delivered to {where}")
        finally:
            self._places.release()


def _reachable(caller: Caller, settings: ReceiveSettings) -> PeerSettings | None:
    titled = (peer for peer in settings.peers if peer.ae_title == caller.calling_ae)
    return next((peer for peer in titled if peer.commitment_host), None)


def send_report(report: Report, peer: PeerSettings, settings: ReceiveSettings) -> bool:
    """One attempt, on a new association in which we are the SCP (PS3.7 D.3.3.4). True if confirmed."""
    ae = AE(settings.ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = _TIMEOUT_S
    ae.add_requested_context(STORAGE_COMMITMENT)
    association = ae.associate(
        peer.commitment_host,
        peer.commitment_port,
        ae_title=peer.ae_title,
        ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)],
        tls_args=_client_tls(settings),
    )
    if not association.is_established:
        return False
    try:
        status, _reply = association.send_n_event_report(
            report.information, report.event_type, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
        )
    except ValueError:  # the context was not accepted
        return False
    finally:
        association.release()
    return "Status" in status and status.Status == 0


def _client_tls(settings: ReceiveSettings) -> tuple[ssl.SSLContext, None] | None:
    if settings.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # peers are known by address and certificate authority
    context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    context.load_verify_locations(settings.tls.ca)
    return context, None


def quiet_pynetdicom() -> None:
    """pynetdicom's standard log handlers print data sets; its errors are enough."""
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.ERROR)
