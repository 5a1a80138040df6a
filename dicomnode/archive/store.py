"""Files by their digest: written once, renamed into place, never overwritten with anything else.

A file is safe when ``adopt`` or ``put`` returns: its bytes, its name and its folder have been synced.
Names come from SHA-256 digests only, never from DICOM text.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from dicomnode.errors import ConfigError, Inconsistent, Refused

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
# PS3.5 7.1.2: these explicit VRs have two reserved bytes and a length of 32 bits.
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)


@dataclass(frozen=True)
class Kept:
    """A file that is in the store: digest of the file, digest of its data set, size in bytes."""

    file_sha256: str
    data_set_sha256: str
    size_bytes: int


class Measured(Protocol):
    """Digests and size that were taken while a file was written."""

    @property
    def file_sha256(self) -> str: ...
    @property
    def data_set_sha256(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


class Store:
    """Content-addressed files under ``root``: ``objects/ab/<sha256>``, and ``incoming`` for what is not
    yet whole. Both lie on one file system, so that a rename is atomic."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.objects = root / "objects"
        for folder in (root, self.incoming, self.objects):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.incoming.stat().st_dev != self.objects.stat().st_dev:
            raise ConfigError(
                [f"{self.incoming} and {self.objects} lie on different file systems; put both on one"]
            )

    def adopt(self, temporary: Path, measured: Measured | None = None) -> Kept:
        """Take a whole DICOM file (Part 10, or a bare data set) out of ``incoming``.

        ``measured`` by whoever wrote the file spares reading it again; a wrong one is found by ``verify``.

        Idempotent: a second file with the same bytes takes the place of the first. Raises ``Refused``
        where the file meta group cannot be walked, and OSError where the disk fails or is full.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags), "rb") as stream:
            kept = _digests_of(stream) if measured is None else _kept(measured)
            os.fchmod(stream.fileno(), 0o600)
            os.fsync(stream.fileno())
        self._settle(temporary, kept.file_sha256)
        return kept

    def put(self, content: bytes) -> str:
        """Keep ``content``; returns its digest."""
        digest = hashlib.sha256(content).hexdigest()
        handle, name = tempfile.mkstemp(dir=self.incoming, prefix="put-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            self._settle(Path(name), digest)
        finally:
            Path(name).unlink(missing_ok=True)
        return digest

    def path(self, digest: str) -> Path:
        """Where the object lies. Raises ``Refused`` where it is not in the store."""
        target = self.place(digest)
        if not target.is_file():
            raise Refused(
                "the store holds no object with this digest",
                attribute="sha256",
                value=digest,
                remedy="Restore it from the backup of the data folder, or send the object again",
            )
        return target

    def holds(self, digest: str) -> bool:
        """Whether the object is there (its bytes are not read; see ``verify``)."""
        return self.place(digest).is_file()

    def verify(self, digest: str) -> bool:
        """Whether the object is there and its bytes still have this digest."""
        target = self.place(digest)
        if not target.is_file():
            return False
        with target.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == digest

    def discard(self, digest: str, *, written_before: float) -> bool:
        """Remove the object unless it was written again since ``written_before`` (Unix time, s).

        It is looked at again after it was set aside, so that a copy adopted meanwhile stays.
        """
        target, aside = self.place(digest), self.incoming / f"discard-{digest}"
        try:
            if target.stat().st_mtime >= written_before:
                return False
            target.rename(aside)
        except FileNotFoundError:
            return False
        if aside.stat().st_mtime >= written_before:
            self._settle(aside, digest)
            return False
        aside.unlink()
        _sync_folder(target.parent)
        return True

    def digests(self) -> Iterator[str]:
        """Digests of all objects, in order."""
        for shard in sorted(self.objects.iterdir()):
            yield from sorted(entry.name for entry in shard.iterdir() if _DIGEST.fullmatch(entry.name))

    def free_bytes(self) -> int:
        """Space left for us on the store's file system."""
        return shutil.disk_usage(self.root).free

    def sweep_incoming(self, older_than_s: float) -> int:
        """Remove what was left in ``incoming`` by a process that died; returns how many files."""
        limit, removed = time.time() - older_than_s, 0
        for entry in self.incoming.iterdir():
            if entry.is_file() and entry.stat().st_mtime <= limit:
                entry.unlink(missing_ok=True)
                removed += 1
        return removed

    def place(self, digest: str) -> Path:
        """Where the object lies if it is there. Raises ``Inconsistent`` for what is no digest."""
        if not _DIGEST.fullmatch(digest):
            raise Inconsistent(
                "not a SHA-256 digest in lower-case hexadecimal", attribute="sha256", value=digest[:80]
            )
        return self.objects / digest[:2] / digest

    def _settle(self, temporary: Path, digest: str) -> None:
        target = self.place(digest)
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self.objects)
        # Replacing an equal file costs nothing and heals one that has rotted on the disk.
        temporary.replace(target)
        _sync_folder(target.parent)


def _digests_of(stream: BinaryIO) -> Kept:
    start = _data_set_offset(stream)
    stream.seek(0)
    head = stream.read(start)
    whole, data_set, size = hashlib.sha256(head), hashlib.sha256(), len(head)
    while chunk := stream.read(_CHUNK):
        whole.update(chunk)
        data_set.update(chunk)
        size += len(chunk)
    return Kept(whole.hexdigest(), data_set.hexdigest(), size)


def _kept(measured: Measured) -> Kept:
    return Kept(measured.file_sha256, measured.data_set_sha256, measured.size_bytes)


def _data_set_offset(stream: BinaryIO) -> int:
    """Where the data set begins: after preamble, "DICM" and group 0002 (PS3.10 7.1); 0 without them."""
    if stream.read(132)[128:] != b"DICM":
        return 0
    while True:
        at = stream.tell()
        head = stream.read(8)
        if len(head) < 8 or head[:2] != b"\x02\x00":
            return at
        if head[4:6] in _LONG_VRS:
            length = struct.unpack("<I", stream.read(4).ljust(4, b"\0"))[0]
        else:
            length = struct.unpack("<H", head[6:8])[0]
        if stream.seek(length, os.SEEK_CUR) > os.fstat(stream.fileno()).st_size:
            raise Refused(
                "the file meta information is cut off or damaged",
                attribute="FileMetaInformationGroupLength",
                remedy="Send the object again",
            )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
