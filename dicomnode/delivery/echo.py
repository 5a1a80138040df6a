"""C-ECHO: whether a peer answers at all (PS3.7 9.1.5)."""

from __future__ import annotations

from pynetdicom import build_context
from pynetdicom.sop_class import Verification

from dicomnode.delivery.association import association
from dicomnode.delivery.settings import PeerSettings
from dicomnode.errors import DeliveryFailed


def echo(peer: PeerSettings) -> str:
    """A sentence: what the peer answered, or why it could not be asked."""
    try:
        with association(peer, [build_context(Verification)]) as assoc:
            status = assoc.send_c_echo()
    except DeliveryFailed as error:
        return str(error)
    code = f"{int(status.Status):04X}" if "Status" in status else "nothing"
    return f"{peer.name} answers" if code == "0000" else f"{peer.name} answered {code}"
