"""Whether everything that the configuration names is there and usable: `dicomnode doctor`.

``check`` is one answer; ``keys``, ``record``, ``places``, ``ports``, ``programs``, ``clocks`` and ``others``
ask, one function for each thing; ``examine`` calls them all.
"""

from __future__ import annotations

from collections.abc import Iterator

from dicomnode.config import Config
from dicomnode.node.doctor import clocks, keys, others, places, ports, programs, record
from dicomnode.node.doctor.check import Check, Verdict

__all__ = ["Check", "Verdict", "examine"]


def examine(config: Config, *, local: bool = False) -> Iterator[Check]:
    """Every check, one after the other. Nothing is changed (but an engine may
    make the folder of its compiled code).

    Parameters
    ----------
    local : ask no other machine but the database's: no peer, audit repository or scheduler
    """
    yield from places.user()
    yield from places.folders(config)
    yield from places.disk(config)
    yield from record.database(config)
    yield from clocks.clock()
    yield from keys.tls(config)
    yield from keys.secrets(config)
    yield from ports.ports(config)
    yield from programs.engine(config)
    yield from programs.gpu(config)
    yield from programs.page(config)
    if not local:
        yield from others.peers(config)
        yield from others.repository(config)
        yield from others.scheduler(config)
