"""The incoming folder: where an object is until it is complete, and how what a crash left is swept away."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import struct
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from dicomnode.receive.arrivals import Measured
from dicomnode.receive.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_SUFFIX = ".part"
_MB = 1_000_000


class Temporary:
    """One object being written; removed on leaving the context unless the keeper has moved it away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._descriptor = -1
        self._file, self._data_set = hashlib.sha256(), hashlib.sha256()

    def __enter__(self) -> Self:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        # The lock tells a sweeping neighbour that the file is in use; the system drops it if we die.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self.path.unlink(missing_ok=True)

    def write_head(self, head: bytes) -> None:
        """Preamble and file meta group; they are not part of the data set's digest."""
        self._append(head)

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes of the data set. Raises OSError (ENOSPC and its like)."""
        self._append(data)
        self._data_set.update(data)

    def measured(self) -> Measured:
        """Digests and size of what was written; taken while the next bytes are on their way."""
        return Measured(self._file.hexdigest(), self._data_set.hexdigest(), self.size_bytes)

    def _append(self, data: bytes | memoryview) -> None:
        self._file.update(data)
        view = memoryview(data)
        while view:
            count = os.write(self._descriptor, view)
            self.size_bytes += count
            view = view[count:]


class Spool:
    """The folder for temporaries, on the file system of the store."""

    def __init__(self, folder: Path, reserve_mb: float) -> None:
        self.folder = folder
        self._reserve_bytes = int(reserve_mb * _MB)

    def new(self) -> Temporary:
        """A temporary with a name of our own making; enter it to create the file."""
        return Temporary(self.folder / f"{uuid.uuid4().hex}{_SUFFIX}")

    def has_room(self) -> bool:
        """False where less than the reserve is free. Raises OSError."""
        return shutil.disk_usage(self.folder).free >= self._reserve_bytes

    def sweep(self) -> int:
        """Remove what a crash left behind and nobody writes any more; returns how many files."""
        return sum(_remove_if_abandoned(path) for path in self.folder.glob(f"*{_SUFFIX}"))


def _remove_if_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def file_head(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble and file meta group (PS3.10 7.1), explicit VR little endian.

    It depends on the three UIDs only, not on sender or time: the same object makes the same file, so a
    repeated object is stored once. Who sent it is in the receipt.
    """
    group = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01" + b"".join(
        (
            _short(0x0002, b"UI", sop_class, b"\0"),
            _short(0x0003, b"UI", sop_instance, b"\0"),
            _short(0x0010, b"UI", transfer_syntax, b"\0"),
            _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0"),
            _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "),
        )
    )
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(group)) + group


def _short(element: int, vr: bytes, value: str, padding: bytes) -> bytes:
    text = value.encode("ascii")
    text += padding * (len(text) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(text)) + text
