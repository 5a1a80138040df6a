"""Data sets as bytes that no library would write."""

from __future__ import annotations

import struct

CT = "1.2.840.10008.5.1.4.1.1.2"


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    long = vr in (b"OW", b"OB", b"SQ", b"UN", b"UT")
    length = struct.pack("<HL", 0, len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH2s", group, number, vr) + length + value


def data_set(uid: str, **changed: bytes) -> bytes:
    """A CT header with these values in place of its own, by keyword."""
    values = {
        "charset": b"ISO_IR 192", "sop_class": CT.encode(), "sop_instance": uid.encode(), "modality": b"CT",
        "description": b"odd", "name": b"Odd^One", "patient": b"P1", "study": b"1.2.1", "series": b"1.2.2",
        "frame": b"1.2.3",
    } | changed  # fmt: skip
    places = {
        "charset": (8, 0x05, b"CS"), "sop_class": (8, 0x16, b"UI"), "sop_instance": (8, 0x18, b"UI"),
        "modality": (8, 0x60, b"CS"), "description": (8, 0x103E, b"LO"), "name": (0x10, 0x10, b"PN"),
        "patient": (0x10, 0x20, b"LO"), "study": (0x20, 0x0D, b"UI"), "series": (0x20, 0x0E, b"UI"),
        "frame": (0x20, 0x52, b"UI"),
    }  # fmt: skip
    return b"".join(element(*places[key], value) for key, value in values.items() if value)


def part10(data: bytes, uid: str, sop_class: str = CT) -> bytes:
    """A Part 10 file around the bytes of a data set, explicit VR little endian."""
    meta = (
        element(2, 0x01, b"OB", b"\0\1")
        + element(2, 0x02, b"UI", sop_class.encode())
        + element(2, 0x03, b"UI", uid.encode())
        + element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
        + element(2, 0x12, b"UI", b"1.2.3.4")
    )
    return b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<L", len(meta))) + meta + data
