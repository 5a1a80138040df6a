"""Who may send what, and which status says what: pure decisions, no sockets, no files."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from dicomnode.receive.settings import PeerSettings, ReceiveSettings

EXPLICIT_LE = "1.2.840.10008.1.2.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
TRANSFER_SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE)
"""In our order of preference. Not deflated (a small file can inflate without bound), not big endian
(retired), no compression: quantitative images are sent uncompressed, and a decoder is one more risk."""

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"

STORAGE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image",
    "1.2.840.10008.5.1.4.1.1.20": "Nuclear Medicine Image",
    "1.2.840.10008.5.1.4.1.1.128": "Positron Emission Tomography Image",
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET Image",
    "1.2.840.10008.5.1.4.1.1.128.1": "Legacy Converted Enhanced PET Image",
    "1.2.840.10008.5.1.4.1.1.481.3": "RT Structure Set",
    "1.2.840.10008.5.1.4.1.1.481.5": "RT Plan",
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation",
    "1.2.840.10008.5.1.4.1.1.66.1": "Spatial Registration",
    "1.2.840.10008.5.1.4.1.1.66.3": "Deformable Spatial Registration",
    # Our own noise of a SPECT, which comes back beside it; other maps are kept and marked unused.
    "1.2.840.10008.5.1.4.1.1.30": "Parametric Map",
    # Structured reports that can tell an administered activity: TID 10021 lives in .88.68; others carry it
    # as a measurement.
    "1.2.840.10008.5.1.4.1.1.88.68": "Radiopharmaceutical Radiation Dose SR",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR",
}
"""What this node can use (PS3.4 B.5), and nothing else."""

# PS3.4 B.2.3 and PS3.7 annex C
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
DUPLICATE_INSTANCE = 0x0111  # C.5.2; the only code that says what a refused conflict is
NO_SUCH_INSTANCE = 0x0112
CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNISED_OPERATION = 0x0211
PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT = 0x0115
"""PS3.7 10.1.4.1.10: N-ACTION, an argument value is not as it must be."""
RESOURCE_LIMITATION = 0x0213
NO_SUCH_ACTION = 0x0123

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """True for what PS3.5 9.1 calls a UID. Components with leading zeros exist in the field and are let
    through: no path is ever made of a UID here."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def printable(text: str) -> str:
    """``text`` without control and non-ASCII characters, for logs and records."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)


@dataclass(frozen=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4) and the sentence that explains it to us, not to the peer."""

    result: int
    source: int
    reason: int
    sentence: str


def plain_address(address: str) -> str:
    """The address without an IPv6 scope, and as IPv4 where it is an IPv4-mapped one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def peers_at(address: str, settings: ReceiveSettings) -> list[PeerSettings]:
    """The listed peers that may call from this address."""
    here = ipaddress.ip_address(address)
    return [
        peer
        for peer in settings.peers
        if any(here in ipaddress.ip_network(network, strict=False) for network in peer.addresses)
    ]


def address_may_connect(address: str, settings: ReceiveSettings) -> bool:
    """False where no listed peer has this address: such a connection is closed unread."""
    return settings.accept_unlisted_peers or bool(peers_at(address, settings))


def judge(
    calling_ae: str, called_ae: str, address: str, subject: str, settings: ReceiveSettings
) -> Rejection | None:
    """None if the association may be served; the refusal otherwise.

    An AE title alone proves nothing, so title, address and certificate subject must belong to one
    listed peer. The peer is told only what the standard has a code for.
    """
    if called_ae != settings.ae_title:
        sentence = f"called AE title {printable(called_ae)!r} is not ours ({settings.ae_title})"
        return Rejection(1, 1, 7, sentence)
    title = printable(calling_ae)
    titled = [peer for peer in settings.peers if peer.ae_title == calling_ae]
    if not titled and settings.accept_unlisted_peers:
        return None
    if not titled:
        return Rejection(1, 1, 3, f"{title!r} is not listed under receive.peers")
    here = [peer for peer in peers_at(address, settings) if peer in titled]
    if not here:
        return Rejection(1, 1, 3, f"{title!r} is listed, but not at address {address}")
    if not any(peer.certificate_subject in ("", subject) for peer in here):
        return Rejection(1, 1, 3, f"{title!r} showed the certificate of {printable(subject)!r}")
    return None


def refuse_store(sop_class: str, sop_instance: str, abstract_syntax: str) -> tuple[int, str] | None:
    """Status and comment for a C-STORE whose command set already disqualifies it; None if it may be read."""
    if not is_uid(sop_instance):
        return DATA_SET_MISMATCH, "SOP Instance UID of the command is not a UID"
    if sop_class not in STORAGE_CLASSES:
        return CLASS_NOT_SUPPORTED, "SOP class not supported"
    if sop_class != abstract_syntax:
        return DATA_SET_MISMATCH, "SOP class differs from its presentation context"
    return None
