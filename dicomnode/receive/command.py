"""DIMSE command sets (PS3.7 6.3, 9.3, 10.3): group 0000, always implicit VR little endian, and their PDVs.

Written here, and not left to a general reader, because this is all that is parsed before an object is
answered: a few fixed fields, every length checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dicomnode.receive.wire import P_DATA, PeerMisbehaved

MAX_COMMAND_BYTES = 16384
"""A command set has a dozen short fields."""

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
RESPONSE = 0x8000
NO_DATA_SET = 0x0101

# Element numbers of group 0000, PS3.7 annex E
AFFECTED_CLASS, REQUESTED_CLASS, COMMAND_FIELD = 0x0002, 0x0003, 0x0100
MESSAGE_ID, RESPONDED_ID, DATA_SET_TYPE = 0x0110, 0x0120, 0x0800
STATUS, ERROR_COMMENT = 0x0900, 0x0902
AFFECTED_INSTANCE, REQUESTED_INSTANCE = 0x1000, 0x1001
EVENT_TYPE, ACTION_TYPE = 0x1002, 0x1008

_ELEMENT = struct.Struct("<HHL")
_MAX_COMMENT = 64


@dataclass(frozen=True)
class Command:
    """A received command set; fields are looked up by element number."""

    elements: dict[int, bytes]

    @property
    def field(self) -> int:
        """Command Field (0000,0100)."""
        return self.number(COMMAND_FIELD)

    @property
    def has_data_set(self) -> bool:
        """True if a data set follows (0000,0800)."""
        return self.number(DATA_SET_TYPE) != NO_DATA_SET

    def number(self, element: int) -> int:
        """Value of a US element; raises ``PeerMisbehaved`` where it is missing or not two bytes."""
        value = self.elements.get(element, b"")
        if len(value) != 2:
            raise PeerMisbehaved("malformed", f"command element (0000,{element:04X}) is not a 16-bit number")
        return int.from_bytes(value, "little")

    def uid(self, element: int) -> str:
        """Value of a UI element without padding, empty if missing; not checked to be a UID."""
        return self.elements.get(element, b"").decode("ascii", "replace").rstrip("\0 ")


def parse_command(encoded: bytes) -> Command:
    """The command set in ``encoded``. Raises ``PeerMisbehaved``."""
    elements: dict[int, bytes] = {}
    offset = 0
    while offset < len(encoded):
        if offset + _ELEMENT.size > len(encoded):
            raise PeerMisbehaved("malformed", "command set ends within an element")
        group, element, length = _ELEMENT.unpack_from(encoded, offset)
        offset += _ELEMENT.size
        if group != 0 or offset + length > len(encoded):
            raise PeerMisbehaved("malformed", f"command set has a bad element ({group:04X},{element:04X})")
        elements[element] = encoded[offset : offset + length]
        offset += length
    return Command(elements)


def encode_command(elements: dict[int, int | str]) -> bytes:
    """Encode ``elements`` (numbers as US, text padded to even length) with their group length."""
    body = b"".join(_encode_element(element, elements[element]) for element in sorted(elements))
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def _encode_element(element: int, value: int | str) -> bytes:
    if isinstance(value, int):
        return _ELEMENT.pack(0, element, 2) + value.to_bytes(2, "little")
    padding = " " if element == ERROR_COMMENT else "\0"
    text = (value + padding * (len(value) % 2)).encode("ascii")
    return _ELEMENT.pack(0, element, len(text)) + text


def response(request: Command, status: int, comment: str = "") -> bytes:
    """The command set that answers ``request``. A malformed UID of the request is not repeated."""
    elements: dict[int, int | str] = {
        COMMAND_FIELD: request.field | RESPONSE,
        RESPONDED_ID: request.number(MESSAGE_ID),
        DATA_SET_TYPE: NO_DATA_SET,
        STATUS: status,
    }
    echoes = ((AFFECTED_CLASS, REQUESTED_CLASS), (AFFECTED_INSTANCE, REQUESTED_INSTANCE))
    for affected, requested in echoes:
        uid = request.uid(affected) or request.uid(requested)
        if uid and len(uid) <= 64 and uid.isascii() and uid.replace(".", "").isdigit():
            elements[affected] = uid
    if ACTION_TYPE in request.elements:
        elements[ACTION_TYPE] = request.number(ACTION_TYPE)
    if comment:
        elements[ERROR_COMMENT] = comment[:_MAX_COMMENT]
    return encode_command(elements)


def to_pdus(context_id: int, payload: bytes, peer_max_pdu_bytes: int, *, command: bool) -> bytes:
    """``payload`` as P-DATA-TF PDUs of one PDV each (PS3.8 9.3.5, annex E), as long as the peer takes."""
    size = (peer_max_pdu_bytes or len(payload) + 7) - 6
    pdus = []
    for start in range(0, max(len(payload), 1), size):
        fragment = payload[start : start + size]
        last = start + size >= len(payload)
        header = (1 if command else 0) | (2 if last else 0)
        length = len(fragment) + 2
        pdus.append(struct.pack(">BxLLBB", P_DATA, length + 4, length, context_id, header) + fragment)
    return b"".join(pdus)


def split_pdvs(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """(context ID, message control header, fragment) of each PDV of a P-DATA-TF body."""
    offset = 0
    while offset < len(body):
        if offset + 6 > len(body):
            raise PeerMisbehaved("malformed", "P-DATA ends within a PDV header")
        length = int.from_bytes(body[offset : offset + 4], "big")
        end = offset + 4 + length
        if length < 2 or end > len(body):
            raise PeerMisbehaved("malformed", f"PDV announces {length} bytes, its PDU holds fewer")
        yield body[offset + 4], body[offset + 5], body[offset + 6 : end]
        offset = end
