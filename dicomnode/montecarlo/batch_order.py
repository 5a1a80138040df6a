"""A batch, spelled out: what a device needs beside the tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.montecarlo.source import Allotment, Source


@dataclass(frozen=True, eq=False)
class Order:
    """Histories of one component.

    Attributes
    ----------
    name : of the component
    share : histories of each source voxel; groups : of each of these, see ``history.shift``
    seed, stream : of the random numbers
    per_mev : units of the tallies in one MeV
    control : by voxel, share of the energy emitted that is taken off the tally (see ``batches``)
    expected : whether photons leave expected values
    """

    name: str
    source: Source
    share: Allotment
    groups: npt.NDArray[np.int64]
    seed: int
    stream: int
    per_mev: float
    control: npt.NDArray[np.float64]
    expected: bool

    @property
    def histories(self) -> int:
        """How many."""
        return int(self.share.number.sum())
