"""Opening an association to a peer, with every wait bounded, and naming what went wrong."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from dicomnode import __version__
from dicomnode.delivery.policy import FAULT_TABLE, Fault
from dicomnode.delivery.settings import PeerSettings, TlsSettings
from dicomnode.errors import ConfigError, DeliveryFailed
from dicomnode.model.text import printable, shortened

Handler = tuple[Any, Callable[..., Any]]

# PS3.8 D.1; what DCMTK, Orthanc and our receiver use too.
MAX_PDU_BYTES = 131072


class NoAssociation(DeliveryFailed):
    """The association was not established; ``fault`` says why."""

    def __init__(self, peer: str, fault: Fault, detail: str) -> None:
        self.fault, self.detail = fault, detail
        super().__init__(peer, f"{FAULT_TABLE[fault].sentence} ({detail})", "by its retry series")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.peer, self.fault, self.detail)


class NoContext(DeliveryFailed):
    """The peer accepted the association, but none of the presentation contexts."""


def scrub(text: object, limit: int = 200) -> str:
    """Text from the wire as one printable line of at most ``limit`` characters."""
    return shortened(printable(" ".join(str(text)[: 4 * limit].split())), limit)


def client_context(tls: TlsSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer, both sides with certificates (PS3.15 B, BCP 195)."""
    return _with_files(ssl.PROTOCOL_TLS_CLIENT, tls)


def server_context(tls: TlsSettings) -> ssl.SSLContext:
    """As :func:`client_context`, for a port of our own: no peer without a certificate."""
    context = _with_files(ssl.PROTOCOL_TLS_SERVER, tls)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _with_files(protocol: int, tls: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    try:
        context.load_verify_locations(tls.authorities)
        # A passphrase would be asked for on the terminal, where no service sits.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except OSError as fault:
        raise ConfigError(
            [f"TLS files cannot be used ({fault}): check {tls.certificate}, {tls.key}, {tls.authorities}"]
        ) from fault
    return context


def _recording(faults: list[str]) -> type[ssl.SSLSocket]:
    """A TLS socket that keeps its errors: pynetdicom only logs them."""

    class RecordingSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            # A peer without TLS may just hang up; one that is silent counts as unreachable.
            try:
                super().do_handshake(block)
            except (ssl.SSLError, ConnectionError) as fault:
                faults.append(scrub(fault))
                raise

        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            # In TLS 1.3 a peer refuses our certificate only after its own handshake is done.
            try:
                return super().recv(buflen, flags)
            except ssl.SSLError as fault:
                faults.append(scrub(fault))
                raise

    return RecordingSocket


def _bounded(stall_timeout_s: float, opened: list[bool]) -> Callable[[evt.Event], None]:
    def on_open(event: evt.Event) -> None:
        opened.append(True)
        sock = event.assoc.dul.socket.socket
        # Without this every object waits 40 ms for the peer's delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A half-sent PDU or a full socket would otherwise hold the thread for ever.
        sock.settimeout(stall_timeout_s)

    return on_open


def _entity(peer: PeerSettings) -> AE:
    # Files are sent as they lie on disk, never decoded; no identifiers in pynetdicom's log.
    _config.STORE_SEND_CHUNKED_DATASET = True
    _config.LOG_HANDLER_LEVEL = "none"
    ae = AE(ae_title=peer.calling_ae_title)
    ae.implementation_version_name = f"DICOMNODE_{__version__}"[:16]
    ae.connection_timeout = peer.connect_timeout_s
    ae.acse_timeout = peer.association_timeout_s
    ae.dimse_timeout = peer.response_timeout_s
    # Idle times are ours (the outbox is written between objects): the peer's limit is what counts.
    ae.network_timeout = None
    return ae


@contextmanager
def association(
    peer: PeerSettings, contexts: Sequence[PresentationContext], handlers: Sequence[Handler] = ()
) -> Iterator[Association]:
    """An established association, released (or, if broken, aborted) at the end.

    Raises
    ------
    NoAssociation : unreachable, TLS failed, rejected, or broken off
    NoContext : nothing that we offer is accepted
    """
    opened: list[bool] = []
    tls_faults: list[str] = []
    tls_args = None
    if peer.tls is not None:
        try:
            context = client_context(peer.tls)
        except ConfigError as fault:
            # A certificate that went missing for one peer must not stop the others.
            raise NoAssociation(peer.name, Fault.TLS, scrub(fault)) from fault
        context.sslsocket_class = _recording(tls_faults)
        tls_args = (context, peer.tls.server_name or peer.host)
    try:
        assoc = _entity(peer).associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.ae_title,
            max_pdu=MAX_PDU_BYTES,
            tls_args=tls_args,
            evt_handlers=[(evt.EVT_CONN_OPEN, _bounded(peer.stall_timeout_s, opened)), *handlers],
        )
    except OSError as fault:
        # The name does not resolve, or no socket can be had.
        raise NoAssociation(peer.name, Fault.UNREACHABLE, scrub(fault)) from fault
    if not assoc.is_established:
        raise _why_not(peer, assoc, opened=bool(opened), tls_faults=tls_faults)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def _why_not(
    peer: PeerSettings, assoc: Association, *, opened: bool, tls_faults: list[str]
) -> NoAssociation | NoContext:
    where = f"{peer.host}:{peer.port}"
    if tls_faults:
        return NoAssociation(peer.name, Fault.TLS, tls_faults[0])
    if not opened:
        return NoAssociation(peer.name, Fault.UNREACHABLE, f"{where} does not answer or refuses")
    answer = assoc.acceptor.primitive
    if answer is None:
        return NoAssociation(peer.name, Fault.ABORTED, f"{where} gave no answer to the association request")
    if answer.result == 0:
        return NoContext(peer.name, f"{where} accepts none of the presentation contexts", "not tried again")
    # PS3.8 table 9-21: result 1 is permanent, 2 transient.
    fault = Fault.REJECTED_PERMANENT if answer.result == 1 else Fault.REJECTED_TRANSIENT
    return NoAssociation(peer.name, fault, scrub(f"{answer.source_str}: {answer.reason_str}"))
