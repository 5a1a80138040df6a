"""What a role is about just now, for its supervisor to read where the role dies of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LENGTH = 512


class Bookmark:
    """A short text in a file. It outlives its process, and costs one write each."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._write("")

    @contextmanager
    def at(self, item: str) -> Iterator[None]:
        """The role is about ``item`` ("object:17", "patient:...", "cycle:..."). An error is no death."""
        self._write(item)
        try:
            yield
        finally:
            self._write("")

    def beat(self) -> None:
        """A round has ended: the file's time says when."""
        self._write("")

    def _write(self, item: str) -> None:
        os.pwrite(self._file, item.encode("utf-8", "replace")[:_LENGTH].ljust(_LENGTH), 0)

    def close(self) -> None:
        os.close(self._file)


def bookmark_path(folder: Path, role: str) -> Path:
    """Where the bookmark of a role lies."""
    return folder / f"{role}.at"


def read_bookmark(path: Path) -> str:
    """What the role was about when it ended; empty where it was about nothing."""
    try:
        return path.read_bytes().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
