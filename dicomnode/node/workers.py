"""Worker processes (Dask): where untrusted objects are parsed and cycles are computed.

A worker that dies is replaced by its nanny and its task is tried once more; a task that outlives its
limit has its worker restarted. SQL holds the truth; Dask only executes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicomnode.config import WorkSettings

if TYPE_CHECKING:
    from distributed import Client, Future


@dataclass
class Task:
    """One piece of work under way."""

    future: Future
    what: object
    deadline: float
    kind: str


@dataclass(frozen=True)
class Ended:
    """One piece of work that has ended: a value, or why there is none. ``died`` where the worker was
    lost or had to be ended, as against an error that the work itself raised."""

    what: object
    kind: str
    value: Any = None
    error: str = ""
    died: bool = False


class Workers:
    """A Dask client that knows deadlines."""

    def __init__(self, settings: WorkSettings) -> None:
        import dask

        # A task whose worker died is run once more, then given up (KilledWorker). Dask sets up its own
        # logging when it is imported, here and in the workers.
        dask.config.set({"distributed.scheduler.allowed-failures": 1, "logging": {"distributed": "critical"}})
        from distributed import Client, LocalCluster

        self._cluster = None
        if settings.scheduler == "local":
            # TLS with temporary credentials: another user of this machine must not hand us code.
            self._cluster = LocalCluster(
                n_workers=settings.workers,
                threads_per_worker=1,
                processes=True,
                security=True,
                memory_limit=int(settings.memory_gb * 2**30),
                dashboard_address=None,
                host="127.0.0.1",
            )
        self._client: Client = Client(self._cluster or settings.scheduler, set_as_default=False)
        self._tasks: list[Task] = []

    def submit(
        self, kind: str, what: object, limit_s: float, function: Callable[..., Any], *arguments: object
    ) -> None:
        """Start ``function`` in a worker; ``what`` comes back with its end."""
        future = self._client.submit(function, *arguments, pure=False)
        self._tasks.append(Task(future, what, time.monotonic() + limit_s, kind))

    def under_way(self, kind: str) -> list[object]:
        """What is being worked on."""
        return [t.what for t in self._tasks if t.kind == kind]

    def ended(self) -> list[Ended]:
        """Everything that has ended since the last call. Never raises for what the work did."""
        done, self._tasks = (
            [t for t in self._tasks if t.future.done()],
            [t for t in self._tasks if not t.future.done()],
        )
        late = [t for t in self._tasks if time.monotonic() > t.deadline]
        self._tasks = [t for t in self._tasks if t not in late]
        return [_end(t) for t in done] + [self._stop(t) for t in late]

    def _stop(self, task: Task) -> Ended:
        """End the worker of a task that takes too long; its nanny starts another."""
        holders = [w for w, keys in self._client.processing().items() if task.future.key in keys]
        task.future.cancel(force=True)
        if holders:
            self._client.restart_workers(holders, timeout=60, raise_for_error=False)
        return Ended(task.what, task.kind, error="it took longer than its limit", died=True)

    def close(self) -> None:
        """End the workers."""
        self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=10)


def _end(task: Task) -> Ended:
    from distributed.scheduler import KilledWorker

    try:
        return Ended(task.what, task.kind, value=task.future.result())
    except (KilledWorker, CancelledError) as error:
        return Ended(task.what, task.kind, error=f"its worker died ({type(error).__name__})", died=True)
    except Exception as error:  # the loop must not die of what a worker raised
        return Ended(task.what, task.kind, error=f"{type(error).__name__}: {error}")
