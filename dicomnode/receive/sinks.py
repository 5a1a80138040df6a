"""What takes the data set of a message while it is received; ``storing.Storing`` is the main one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dicomnode.receive.commitment import MAX_REQUEST_BYTES
from dicomnode.receive.wire import PeerMisbehaved


class Sink(Protocol):
    """Takes a data set, fragment by fragment, and ends in a status."""

    def write(self, fragment: memoryview) -> None:
        """Take the next fragment."""

    def finish(self) -> tuple[int, str]:
        """The data set is complete: status and error comment of the answer."""

    def discard(self) -> None:
        """The data set will not become complete."""


class Unwanted:
    """A data set that nobody wants, and the status to answer."""

    def __init__(self, status: int) -> None:
        self._status = status

    def write(self, fragment: memoryview) -> None:
        """Drop it."""

    def finish(self) -> tuple[int, str]:
        """The status given."""
        return self._status, ""

    def discard(self) -> None:
        """Nothing to give back."""


class CommitmentInformation:
    """Collects the action information of a commitment N-ACTION; ``commit`` turns it into a status."""

    def __init__(self, commit: Callable[[bytes], int]) -> None:
        self._commit = commit
        self._encoded = bytearray()

    def write(self, fragment: memoryview) -> None:
        """Take the next fragment. Raises ``PeerMisbehaved`` where it grows too long."""
        self._encoded += fragment
        if len(self._encoded) > MAX_REQUEST_BYTES:
            raise PeerMisbehaved("over-limit", f"commitment request is longer than {MAX_REQUEST_BYTES} bytes")

    def finish(self) -> tuple[int, str]:
        """The status of ``commit``."""
        return self._commit(bytes(self._encoded)), ""

    def discard(self) -> None:
        """Forget it."""
        self._encoded.clear()
