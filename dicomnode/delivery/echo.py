"""C-ECHO: whether a peer answers at all (PS3.7 9.1.5)."""

from __future__ import annotations

from pynetdicom import build_context
from pynetdicom.sop_class import Verification

from dicomnode.delivery.association import association
from dicomnode.delivery.settings import PeerSettings
from dicomnode.errors import DeliveryFailed


def ask(peer: PeerSettings) -> None:
    """Return where the peer answers with Success. Raises ``DeliveryFailed`` with the reason otherwise."""
    with association(peer, [build_context(Verification)]) as assoc:
        status = assoc.send_c_echo()
    code = f"{int(status.Status):04X}" if "Status" in status else "nothing"
    if code != "0000":
        raise DeliveryFailed(peer.name, f"C-ECHO was answered with {code}", "not tried again")


def echo(peer: PeerSettings) -> str:
    """A sentence: that the peer answers, or why it does not."""
    try:
        ask(peer)
    except DeliveryFailed as error:
        return str(error)
    return f"{peer.name} answers"
