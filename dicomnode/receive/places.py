"""Who holds a place, so that no peer can take one from another.

Two pools. A connection *waits* until its association request was read, and an association is *served*.
Waiting places go to the newest: where an address has as many as it may, its oldest waiting connection is
cut. So silent or half-sent connections never keep anyone out. Served places are kept until their holder
leaves or breaks a time limit, and each address may hold a part of them only.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False)
class Place:
    """One connection. ``cut`` ends it from any thread."""

    address: str
    cut: Callable[[], None]
    served: bool = False


class Places:
    """The places of one receiver. Thread-safe."""

    def __init__(self, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._held: dict[Place, None] = {}
        self._lock = threading.Lock()

    def wait(self, address: str, cut: Callable[[], None]) -> Place:
        """A waiting place for a new connection; an older waiting one may lose its place for it."""
        place = Place(address, cut)
        with self._lock:
            loser = self._loser(address)
            if loser is not None:
                del self._held[loser]
            self._held[place] = None
        if loser is not None:
            loser.cut()
        return place

    def serve(self, place: Place) -> bool:
        """Turn a waiting place into a served one; False where all, or all of its address, are taken."""
        with self._lock:
            if place not in self._held:
                return False
            served = [held for held in self._held if held.served]
            if len(served) >= self._total:
                return False
            if sum(held.address == place.address for held in served) >= self._per_address:
                return False
            place.served = True
            return True

    def leave(self, place: Place) -> None:
        """Give the place back; harmless where it was lost already."""
        with self._lock:
            self._held.pop(place, None)

    def holders(self) -> list[Place]:
        """Everyone who holds a place now."""
        with self._lock:
            return list(self._held)

    def _loser(self, newcomer: str) -> Place | None:
        waiting = [held for held in self._held if not held.served]
        by_address = Counter(held.address for held in waiting)
        if by_address[newcomer] >= self._per_address:
            crowded = newcomer
        elif len(waiting) >= self._total:
            crowded = by_address.most_common(1)[0][0]
        else:
            return None
        # dicts keep insertion order: the first is the oldest
        return next(held for held in waiting if held.address == crowded)
