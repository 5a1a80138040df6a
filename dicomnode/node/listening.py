"""A port that cannot be had is a fault of the configuration, told by its key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dicomnode.errors import ConfigError


@contextmanager
def listening(key: str, address: str, port: int) -> Iterator[None]:
    """Around what opens a port. Raises ``ConfigError`` where the port is taken or not ours to take."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:  # of a file, not of the port
            raise
        why = f"{address} port {port} cannot be listened on ({error.strerror})"
        raise ConfigError([f"{key}: {why}; dicomnode doctor says more"]) from error
