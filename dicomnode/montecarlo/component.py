"""A short run of one component of the decays alone, in independent groups of batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dicomnode.montecarlo.batches import Problem, Run, Tally
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import scaled

Float64 = npt.NDArray[np.float64]


def component_estimates(
    problem: Problem,
    settings: TransportSettings,
    seed: int,
    name: str,
    histories: int,
    groups: int,
    step: Callable[[float], None] = lambda _done: None,
) -> Float64:
    """(groups, z, y, x) energy by voxel, MeV, of all decays: independent unbiased estimates of a component.

    Voxels may be below zero by chance. What is absorbed on the spot (photons below 1 keV, electrons below
    10 keV) counts. The same for any number of threads.

    Parameters
    ----------
    name : "electron" or "photon"
    histories : of all groups together
    groups : each is as many batches as the settings say, at the least one

    Raises
    ------
    OutOfDomain : seed out of range
    """
    run = Run(problem, settings, seed, only=name)
    each = max(settings.batches // groups, 1)
    size = max(histories // (groups * each), 200)
    found = np.zeros((groups, *problem.decays.shape))
    for group in range(groups):
        for component in run.components:
            tally = Tally(component, len(run.weight))
            for number in range(group * each, (group + 1) * each):
                tally.add(*run.batch(component, number, size, lambda _: None), size)
                step((number + 1) / (groups * each))
            parts, _, _ = scaled(run, {name: tally})
            found[group] += parts[name].reshape(problem.decays.shape)
    return found + problem.decays * run.local_mev
