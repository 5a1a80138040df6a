"""Looks up by C-FIND whether a peer has an object: the check where no commitment report came."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicomnode.delivery.association import association
from dicomnode.delivery.settings import PeerSettings
from dicomnode.errors import DeliveryFailed

# PS3.4 C.4.1.1.4: a match follows (the second: some optional keys were not used).
_PENDING = (0xFF00, 0xFF01)


def find_instances(peer: PeerSettings, paths: Iterable[Path]) -> frozenset[str]:
    """SOP Instance UIDs of those of ``paths`` (our files) that ``peer`` lists, Study Root, level IMAGE.

    Raises
    ------
    NoAssociation, NoContext : the peer cannot be asked
    DeliveryFailed : it answered a query with a failure, or not at all
    """
    context = build_context(
        StudyRootQueryRetrieveInformationModelFind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    )
    with association(peer, [context]) as assoc:
        return frozenset(uid for path in paths if (uid := _find(assoc, peer, path)))


def _find(assoc: Association, peer: PeerSettings, path: Path) -> str:
    """The UID if the peer has the object, else an empty text."""
    header = dcmread(path, stop_before_pixels=True)
    keys = Dataset()
    keys.QueryRetrieveLevel = "IMAGE"
    keys.StudyInstanceUID = header.StudyInstanceUID
    keys.SeriesInstanceUID = header.SeriesInstanceUID
    keys.SOPInstanceUID = header.SOPInstanceUID
    if not assoc.is_established:
        raise DeliveryFailed(peer.name, "the association broke off during a query", "with the next check")
    found = False
    for status, match in assoc.send_c_find(keys, StudyRootQueryRetrieveInformationModelFind):
        code = int(status.Status) if "Status" in status else None
        if code in _PENDING and match is not None:
            found = found or match.get("SOPInstanceUID") == header.SOPInstanceUID
        elif code != 0:
            what = "no answer" if code is None else f"status {code:04X}"
            raise DeliveryFailed(peer.name, f"query answered with {what}", "with the next check")
    return str(header.SOPInstanceUID) if found else ""
