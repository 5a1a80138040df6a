"""Worker processes (Dask): where untrusted objects are parsed and cycles are computed.

A worker that dies is replaced by its nanny; a task that outlives its limit has its worker restarted. No
more tasks are handed to Dask than there are threads: what waits, waits here, so that a task's time counts
from its start and that a worker's death is blamed on the one task that it ran. SQL holds the truth; Dask
only executes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicomnode.calculation.job import Job
from dicomnode.config import WorkSettings

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

LONGEST_WITHOUT_WORKERS_S = 60.0
"""A nanny brings a worker back within seconds; after this the role itself is started afresh."""


SUSPECT = "suspect"
"""The kind of an object that was once not parsed in time: it waits for all others."""
KINDS = ("parse", SUSPECT, "compute")
"""Kinds of work, in the order in which they get a worker."""

Batch = tuple[tuple[int, str], ...]
"""Instances to parse: (row, digest of the file)."""


class WorkersLost(RuntimeError):
    """The cluster of worker processes is gone; the role ends, and its supervisor starts it again."""


@dataclass(frozen=True)
class Order:
    """One piece of work that waits for a worker."""

    kind: str
    what: Job | Batch
    limit_s: float
    function: Callable[..., Any]
    arguments: tuple[object, ...]


@dataclass
class Task:
    """One piece of work under way."""

    future: Future
    what: Job | Batch
    deadline: float
    kind: str


@dataclass(frozen=True)
class Ended:
    """One piece of work that has ended: a value, or why there is none. ``died`` where the worker was
    lost or had to be ended, as against an error that the work itself raised."""

    what: Job | Batch
    kind: str
    value: Any = None
    error: str = ""
    died: bool = False
    fault: Exception | None = None


class Workers:
    """A Dask client that knows deadlines."""

    def __init__(self, settings: WorkSettings) -> None:
        import dask

        # Whether a task whose worker died is run again is the node's decision, on record. Dask sets up
        # its own logging when it is imported, here and in the workers.
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "logging": {"distributed": "critical"}})
        # The scheduler opens an HTTP port in any case: on loopback, any free one, with nothing on it.
        dask.config.set({"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []})
        from distributed import Client, LocalCluster

        # Dask's threshold has every large array fetched from the kernel anew: 20 times the page faults.
        dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None})
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
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                host="127.0.0.1",
            )
        self._client: Client = Client(self._cluster or settings.scheduler, set_as_default=False)
        self._waiting: list[Order] = []
        self._tasks: list[Task] = []
        self._seen_at = time.monotonic()

    def submit(
        self, kind: str, what: Job | Batch, limit_s: float, function: Callable[..., Any], *arguments: object
    ) -> None:
        """Have ``function`` run in a worker; ``what`` comes back with its end. ``limit_s`` counts from its
        start."""
        self._waiting.append(Order(kind, what, limit_s, function, arguments))
        self._start()

    def under_way(self, kind: str) -> list[Job | Batch]:
        """What is being worked on, or waits for a worker."""
        started = [t.what for t in self._tasks if t.kind == kind]
        return started + [o.what for o in self._waiting if o.kind == kind]

    def ended(self) -> Iterator[Ended]:
        """Everything that has ended, one by one; each is forgotten when the next is asked for, so that
        what the caller could not take comes again. Never raises for what the work did."""
        for task in [t for t in self._tasks if t.future.done() or time.monotonic() > t.deadline]:
            ended = _end(task) if task.future.done() else self._stop(task)
            yield ended
            self._tasks.remove(task)
        self._start()

    def check(self) -> None:
        """Raise WorkersLost where the workers of this machine are gone and do not come back."""
        if self._client.status != "running":
            raise WorkersLost(f"the connection to the workers is {self._client.status}")
        if self._threads():
            self._seen_at = time.monotonic()
        elif time.monotonic() - self._seen_at > LONGEST_WITHOUT_WORKERS_S:
            if self._cluster is not None:
                raise WorkersLost(f"no worker process for {LONGEST_WITHOUT_WORKERS_S:.0f} s")
            log.error("the scheduler has had no worker for %.0f s", time.monotonic() - self._seen_at)

    def _threads(self) -> int:
        return int(sum(self._client.nthreads().values()))

    def _start(self) -> None:
        """Hand over what a thread is free for; parsing, which is short, before computing."""
        if not self._waiting:
            return
        self._waiting.sort(key=lambda order: KINDS.index(order.kind))
        free = self._threads() - len(self._tasks)
        starting = self._to_start(max(0, free))
        for order in starting:
            self._waiting.remove(order)
            future = self._client.submit(order.function, *order.arguments, pure=False)
            deadline = time.monotonic() + order.limit_s
            self._tasks.append(Task(future, order.what, deadline, order.kind))

    def _to_start(self, free: int) -> list[Order]:
        """The next orders; of suspects one at a time, so that slow objects do not take every worker."""
        suspects = sum(task.kind == SUSPECT for task in self._tasks)
        starting: list[Order] = []
        for order in self._waiting:
            if order.kind == SUSPECT:
                suspects += 1
                if suspects > 1:
                    continue
            starting.append(order)
        return starting[:free]

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
        return Ended(task.what, task.kind, error=f"{type(error).__name__}: {error}", fault=error)
