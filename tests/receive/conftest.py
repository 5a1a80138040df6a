"""A receiver in a process of its own, senders, and scripted peers that misbehave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

BASE_SETTINGS: dict[str, Any] = {
    "ae_title": "NODE",
    "port": 0,
    "accept_unlisted_peers": True,
    "associate_timeout_s": 1.0,
    "stall_timeout_s": 1.0,
    "idle_timeout_s": 5.0,
    "free_space_reserve_mb": 1.0,
    "stop_grace_s": 2.0,
}


class Server:
    """A receiver process and what it has stored."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.settings = BASE_SETTINGS | settings
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "serve.py"), str(self.root), json.dumps(self.settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.root / "log").open("ab"),
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            text=True,
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise AssertionError((self.root / "log").read_text())
        self.port = int(line)

    def health(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("health\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        finally:
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(self.root / "ledger.db", timeout=10)
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()

    def incidents(self) -> dict[str, str]:
        """Sentence by kind."""
        return dict(self.rows("SELECT kind, sentence FROM incidents"))

    def told(self, kind: str) -> str:
        """Sentence of an incident of this kind, which may be about to be recorded."""
        until = time.monotonic() + 5
        while kind not in (incidents := self.incidents()):
            assert time.monotonic() < until, incidents
            time.sleep(0.02)
        return incidents[kind]

    def files(self) -> list[Path]:
        return [path for path in (self.root / "store").rglob("*") if path.is_file()]

    def left_overs(self) -> list[Path]:
        return list((self.root / "incoming").iterdir())

    def fault(self, what: str) -> None:
        path = self.root / "fault"
        path.unlink(missing_ok=True)
        if what:
            path.write_text(what)

    def wait(self, what: Callable[[dict[str, Any]], bool], seconds: float = 5.0) -> dict[str, Any]:
        """Its health, once ``what`` holds of it."""
        until = time.monotonic() + seconds
        while not what(health := self.health()):
            assert time.monotonic() < until, health
            time.sleep(0.05)
        return health


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start receivers; they are stopped at the end."""
    servers: list[Server] = []

    def start(root: Path | None = None, **settings: Any) -> Server:
        folder = root or tmp_path / f"node{len(servers)}"
        folder.mkdir(exist_ok=True)
        servers.append(Server(folder, **settings))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()
        elif server.process.stdin is not None and not server.process.stdin.closed:
            server.kill()


@pytest.fixture
def program() -> Callable[[str], str]:
    """Path of an independent program; skips with the reason where it is missing."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"needs the program {name}: run deploy/test-peers.sh")
        return path

    return find


def make_ct(size_bytes: int = 4096, uid: str = "", pixel: int = 0) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = uid or generate_uid()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PatientName, image.PatientID = "Secret^Sally", "SECRET-4711"
    image.Modality = "CT"
    image.Rows, image.Columns = size_bytes // 64, 32
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 0, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = bytes([pixel]) * (size_bytes // 64 * 64)
    image["PixelData"].VR = "OW"
    return image


@pytest.fixture
def ct() -> Callable[..., Dataset]:
    """Make a small CT object."""
    return make_ct


@pytest.fixture
def send() -> Callable[..., list[int]]:
    """Send objects with pynetdicom; the status of each, -1 where there was no answer."""

    def send_all(port: int, *images: Dataset, calling: str = "GOOD", **associate: Any) -> list[int]:
        ae = AE(calling)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 10
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", port, ae_title="NODE", **associate)
        if not association.is_established:
            return [-1] * len(images)
        try:
            answers = [association.send_c_store(image) for image in images]
        finally:
            association.release()
        return [answer.Status if "Status" in answer else -1 for answer in answers]

    return send_all


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


class RawPeer:
    """A scripted peer on a plain socket, from an address of its own choice."""

    def __init__(self, port: int, source: str = "127.0.0.2") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))

    def associate_request(self, sop_class: str = CT_CLASS, called: str = "NODE", *extra: bytes) -> bytes:
        context = _item(0x30, sop_class.encode()) + _item(0x40, b"1.2.840.10008.1.2.1")
        user = _item(0x51, struct.pack(">L", 16384)) + _item(0x52, b"1.2.3.4") + b"".join(extra)
        body = struct.pack(">Hxx16s16s32x", 1, called.ljust(16).encode(), b"RAW".ljust(16))
        body += _item(0x10, APPLICATION_CONTEXT.encode())
        body += _item(0x20, b"\x01\0\0\0" + context) + _item(0x50, user)
        return struct.pack(">BxL", 1, len(body)) + body

    def associate(self, *args: Any) -> bytes:
        self.socket.sendall(self.associate_request(*args))
        kind, body = self.read_pdu()
        assert kind == 2, (kind, body)
        return body

    def command(self, **fields: int | str) -> bytes:
        numbers = {
            "class_": 2,
            "field": 0x100,
            "message": 0x110,
            "data": 0x800,
            "uid": 0x1000,
            "priority": 0x700,
        }
        body = b""
        for name, value in sorted(fields.items(), key=lambda pair: numbers[pair[0]]):
            encoded = struct.pack("<H", value) if isinstance(value, int) else value.encode()
            encoded += b"\0" * (len(encoded) % 2)
            body += struct.pack("<HHL", 0, numbers[name], len(encoded)) + encoded
        return struct.pack("<HHLL", 0, 0, 4, len(body)) + body

    def store_command(self, uid: str, message: int = 1, sop_class: str = CT_CLASS) -> bytes:
        return self.command(class_=sop_class, field=1, message=message, priority=0, data=1, uid=uid)

    def pdata(self, fragment: bytes, header: int, context: int = 1) -> bytes:
        return struct.pack(">BxLLBB", 4, len(fragment) + 6, len(fragment) + 2, context, header) + fragment

    def store(self, uid: str, data: bytes, message: int = 1) -> bytes:
        return self.pdata(self.store_command(uid, message), 3) + self.pdata(data, 2)

    def read_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            block = self.socket.recv(count - len(data))
            if not block:
                raise EOFError
            data += block
        return data

    def read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxL", self.read_exactly(6))
        return kind, self.read_exactly(length)

    def status(self) -> int:
        """Status of the next response."""
        kind, body = self.read_pdu()
        assert kind == 4, (kind, body)
        at = body.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
        return int.from_bytes(body[at : at + 2], "little")

    def ending(self) -> str:
        """How the connection ends: "abort" or "closed"."""
        try:
            while True:
                if self.read_pdu()[0] == 7:
                    return "abort"
        except (EOFError, ConnectionError):
            return "closed"


@pytest.fixture
def raw() -> Iterator[Callable[..., RawPeer]]:
    """Open scripted peers; they are closed at the end."""
    peers: list[RawPeer] = []

    def connect(port: int, source: str = "127.0.0.2") -> RawPeer:
        peers.append(RawPeer(port, source))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.socket.close()
