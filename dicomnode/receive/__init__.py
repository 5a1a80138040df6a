"""Receive: DICOM objects in, each one safe on disk and on record before it is acknowledged.

An object's way: ``scp.Receiver`` accepts the connection and ``places.Places`` gives it a place;
``association.Association`` (one thread) shakes hands (``tls``), reads PDUs from ``wire.Wire``, asks
``acceptance`` who may send what, writes the encoded bytes as they come to ``spool.Spool``, and only
after ``Keeper.adopt`` and ``Ledger.record`` (``arrivals``) answers Success.

The upper layer is our own loop over the PDU, negotiation and role classes of pynetdicom. pynetdicom's
acceptor keeps two polling threads and an unbounded queue per association, and has no limit on a PDU's
length or a peer's slowness; a loop that reads only when it is ready to store has none of these to cure.
"""

from dicomnode.receive.arrivals import Arrival, Disposition, Incident, Keeper, Kept, Ledger, NotStored
from dicomnode.receive.scp import Health, Receiver
from dicomnode.receive.settings import PeerSettings, ReceiveSettings, TlsSettings

__all__ = [
    "Arrival",
    "Disposition",
    "Health",
    "Incident",
    "Keeper",
    "Kept",
    "Ledger",
    "NotStored",
    "PeerSettings",
    "ReceiveSettings",
    "Receiver",
    "TlsSettings",
]
