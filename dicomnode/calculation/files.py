"""The files of a calculation by their digest: the node's store, or files that lie anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from dicomnode.errors import Refused


class Files(Protocol):
    """Where a calculation finds what it reads, and keeps what it makes. The node's
    ``archive.store.Store`` is one."""

    def path(self, digest: str) -> Path:
        """The file whose bytes have this SHA-256 digest. Raises Refused where there is none."""

    def put(self, content: bytes) -> str:
        """Keep ``content``; returns its SHA-256 digest."""


class LooseFiles:
    """Files where they lie, known by digest; what is made stays in memory until it is asked for."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)
        self._made: dict[str, bytes] = {}

    def path(self, digest: str) -> Path:
        found = self._paths.get(digest)
        if found is None or not found.is_file():
            raise Refused(
                "no file with this digest is among those that were given",
                attribute="sha256", value=digest,
                remedy="Give the folder that holds it, as it was when it was first read",
            )  # fmt: skip
        return found

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self._made[digest] = content
        return digest

    def content(self, digest: str) -> bytes:
        """The bytes of what was made. Raises KeyError for what was not."""
        return self._made[digest]
