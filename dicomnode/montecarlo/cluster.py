"""Batches of one simulation over the workers of a Dask cluster.

A batch is fixed by its number (``batches.Run.batch``), and batches are added in their order, so that one
seed gives the same bytes on one machine and on any number of workers. A worker that dies loses its batch,
which another one repeats. Where the setting ``device`` is "cuda", the GPUs are those of the workers: one
worker for each GPU, with its number in CUDA_VISIBLE_DEVICES, and one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import EngineUnavailable
from dicomnode.montecarlo.source import Component

if TYPE_CHECKING:
    from dicomnode.montecarlo.batches import Run

Int64 = npt.NDArray[np.int64]
Wanted = tuple[int, str]
"""Number and component of a batch."""


class Spread:
    """Computes batches ahead; ``batch`` waits for one of them."""

    def __init__(self, run: Run, client: Any) -> None:
        self.client, self.run = client, client.scatter(run, broadcast=True)
        self.waiting: dict[Wanted, Any] = {}

    def ahead(self, component: Component, number: int, histories: int) -> None:
        """Hand a batch to the cluster."""
        self.waiting[number, component.name] = self.client.submit(
            _batch, self.run, component, number, histories, pure=False
        )

    def begin(self, components: Sequence[Component], sizes: Mapping[str, int], batches: int) -> None:
        """Hand over the batches that are sure to be wanted."""
        for number in range(batches):
            for component in components:
                self.ahead(component, number, sizes[component.name])

    def batch(
        self, component: Component, number: int, histories: int, step: Callable[[float], None]
    ) -> tuple[Int64, Int64]:
        """As ``batches.Run.batch``."""
        if (number, component.name) not in self.waiting:
            self.ahead(component, number, histories)
        energy, totals = self.waiting.pop((number, component.name)).result()
        step(1.0)
        return energy, totals


def _batch(run: Run, component: Component, number: int, histories: int) -> tuple[Int64, Int64]:
    return run.batch(component, number, histories, lambda _: None)


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """A client of the scheduler at ``address``; within one of its tasks, the task's own.

    Raises
    ------
    EngineUnavailable : distributed is not installed, or nobody answers
    """
    try:
        from distributed import Client, get_worker, worker_client
    except ImportError as error:
        raise EngineUnavailable(f"workers need distributed: pip install distributed ({error})") from error
    try:
        at_work = get_worker().scheduler.address == address
    except ValueError:  # not in a task
        at_work = False
    if at_work:  # gives its place back while it waits, so that a cluster of one worker does not stop
        with worker_client() as client:
            yield client
        return
    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EngineUnavailable(f"no Dask scheduler answers at {address!r}: {error}") from error
    with client:
        yield client
