"""Objects that make a parser run away are quarantined; the node computes the next good cycle."""

from __future__ import annotations

import random
import struct
from typing import Any

from sqlalchemy import select

from dicomnode.database.tables import Instance

CT = "1.2.840.10008.5.1.4.1.1.2"


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    if vr in (b"OW", b"SQ", b"UN"):
        return struct.pack("<HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def identity(uid: str) -> bytes:
    return element(8, 0x16, b"UI", CT.encode()) + element(8, 0x18, b"UI", uid.encode())


def deep_nesting(uid: str) -> bytes:
    """20,000 sequences, each within the one before, of undefined length."""
    opening = struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return identity(uid) + opening * 20_000 + closing * 20_000


def huge_sequence(uid: str) -> bytes:
    """A sequence of three million empty items."""
    items = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 3_000_000
    return identity(uid) + element(8, 0x1140, b"SQ", items)


def endless_length(uid: str) -> bytes:
    """An element that claims 4 GB."""
    return identity(uid) + struct.pack("<HH2sHL", 8, 0x1140, b"UN", 0, 0xFFFFFFF0) + bytes(1000)


def noise(uid: str) -> bytes:
    return random.Random(3).randbytes(100_000)


def store(peer: Any, uid: str, data: bytes) -> int:
    peer.socket.settimeout(60)
    peer.associate(CT, "DICOMNODE")
    peer.socket.sendall(peer.pdata(peer.store_command(uid), 3))
    for at in range(0, len(data), 100_000):
        last = at + 100_000 >= len(data)
        peer.socket.sendall(peer.pdata(data[at : at + 100_000], 2 if last else 0))
    return int(peer.status())


def test_objects_that_make_a_parser_run_away_are_quarantined_and_the_node_stays_well(
    new_stand: Any, new_pacs: Any, stands: Any, tiny: Any, raw: Any
) -> None:
    pacs = new_pacs()
    work = "memory_gb = 1.0\nparse_timeout_s = 15.0"
    stand = new_stand(stands.peer("pacs", pacs.port), work=work)
    before = stand.pids()
    made = {f"1.2.3.{n}": make for n, make in enumerate((deep_nesting, huge_sequence, endless_length, noise))}
    for uid, make in made.items():
        assert store(raw(stand.port), uid, make(uid)) == 0, "nothing is decoded before the answer"
    # truncated pixels have a sound header: the cycle that needs them is held
    cut = tiny.Tiny("cut").cycle()
    cut[5].PixelData = cut[5].PixelData[:1000]
    assert stand.send(cut) == [0] * 34
    facts = stand.wait("DELIVERED", "HELD", timeout_s=180)
    assert facts["cycle"]["state"] == "HELD"
    assert "holds 1000 bytes of pixels where its matrix needs 8192" in facts["cycle"]["reasons"][0]
    assert stand.send(tiny.Tiny("good").cycle()) == [0] * 34
    facts = stand.wait("DELIVERED", "HELD", number=1, timeout_s=180)
    assert facts["cycle"]["state"] == "DELIVERED", facts["cycle"]["reasons"]
    with stand.house.database.read() as session:
        states: dict[str, str] = dict(
            session.execute(
                select(Instance.sop_instance_uid, Instance.state).where(Instance.sop_instance_uid.in_(made))
            ).all()
        )
        reasons: dict[str, str] = dict(
            session.execute(
                select(Instance.sop_instance_uid, Instance.reason).where(Instance.sop_instance_uid.in_(made))
            ).all()
        )
    assert set(states.values()) == {"QUARANTINED"}, (states, reasons)
    assert all(reasons.values())
    assert stand.pids() == before
    assert stand.health()["well"] is True
