"""Is a cycle complete? Pure: everything it needs, the clock included, is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dicomnode.cycle.gather import CyclePlan
from dicomnode.cycle.settings import CycleSettings


@dataclass(frozen=True)
class Readiness:
    """Ready, or what it waits for; ``look_again_at`` is when time alone may change the answer."""

    ready: bool
    reasons: tuple[str, ...]
    look_again_at: datetime | None = None


def readiness(
    plan: CyclePlan,
    now: datetime,
    settings: CycleSettings,
    *,
    released: bool = False,
    open_since: datetime | None = None,
    known_until: datetime | None = None,
) -> Readiness:
    """A cycle is complete when every series is quiet and either the expected number of time points is
    there, or nothing new has come for ``cycle_quiet_h``, or a person released it.

    A series is not quiet because nobody could send: its silence counts from ``open_since``, when the node
    began to take objects (again), so that a series cut in two by an outage is not computed from its first
    half. Nor is it known to be quiet while objects wait to be read: ``known_until`` is when the oldest of
    those came.
    """
    last = max((s.last_received_at for s in plan.series()), default=now)
    quiet_at = max(last, open_since or last) + timedelta(seconds=settings.series_quiet_s)
    if min(now, known_until or now) < quiet_at:
        return Readiness(False, ("images are still arriving",), quiet_at)
    have, want = len(plan.time_points), settings.expected_time_points - plan.points_left_out
    if have >= want or released:
        return Readiness(True, ())
    long_quiet_at = last + timedelta(hours=settings.cycle_quiet_h)
    if now >= long_quiet_at and have >= settings.minimum_time_points:
        return Readiness(True, ())
    return Readiness(
        False,
        (
            f"{have} of {want} time points have arrived; starts at {want}, or when nothing has come until "
            f"{long_quiet_at:%Y-%m-%d %H:%M} UTC, or by `dicomnode release`",
        ),
        long_quiet_at if have >= settings.minimum_time_points else None,
    )
