"""Dose-point kernels of any nuclide in any medium, by our own transport."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.model import Nuclide
from dicomnode.montecarlo import cpu, radial
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.source import Component, electron_component, members, photon_component
from dicomnode.montecarlo.world import make_world
from dicomnode.physics.electrons import csda_range
from dicomnode.physics.interactions import Medium, data_digest
from dicomnode.physics.kernels import PointKernel, RadialKernel, component_of_shells

Float64 = npt.NDArray[np.float64]

REACH_G_PER_CM2 = 50.0
"""500 mm of water: beyond lie 3 % of the photon energy of 177Lu and 6 % of that of 131I (stated with it)."""
BATCHES = 10


def point_kernel(nuclide: Nuclide, medium: Medium, decays: float = 1e6, seed: int = 0) -> PointKernel:
    """The kernel of a nuclide in a medium of its nominal density, electrons and photons apart.

    Parameters
    ----------
    decays : simulated for each component

    Raises
    ------
    OutOfDomain : unknown nuclide, or fewer than 1000 decays
    """
    if not decays >= 1000:
        raise OutOfDomain("decays of a kernel", decays, "", "1000 or more")
    settings, found = TransportSettings(), members(nuclide)
    electron = electron_component(found, settings.cuts.electron)
    photon = photon_component(found, settings.cuts.photon)
    parts = [
        _radial(c, medium, decays, seed, settings) if c.source.per_decay > 0 else None
        for c in (electron, photon)
    ]
    stated = f"{nuclide.name} {medium} {decays} {seed} {settings} {data_digest()}"
    nothing = RadialKernel(np.array([0.0, 1.0]), np.array([0.0, electron.local_mev]), 0.0)
    return PointKernel(
        nuclide.name, medium.name, medium.density_g_per_cm3, parts[0] or nothing, parts[1],
        hashlib.sha256(stated.encode()).hexdigest(),
    )  # fmt: skip


def shells(component: Component, medium: Medium) -> Float64:
    """Radii of the shells, mm: even up to the range of electrons, then even in the logarithm."""
    per_mm = 0.1 * medium.density_g_per_cm3
    reach = REACH_G_PER_CM2 / per_mm
    steep = 1.0 / per_mm * 0.1
    if component.name == "electron":
        steep = float(csda_range(medium, component.source.highest_mev)[0]) / per_mm
    return np.concatenate([np.linspace(0, steep, 121), np.geomspace(steep, reach, 81)[1:]])


def _radial(
    component: Component, medium: Medium, decays: float, seed: int, settings: TransportSettings
) -> RadialKernel:
    edges = shells(component, medium)
    highest = max(component.source.highest_mev, 0.05) * 1.001
    world = make_world(
        np.full((1, 1, 1), medium.density_g_per_cm3, np.float32), np.zeros((1, 1, 1), int),
        (4 * float(edges[-1]),) * 3, [medium], settings.cuts, highest, True,
    )  # fmt: skip
    each = max(int(decays * component.source.per_decay / BATCHES), 1)
    rows = np.zeros((BATCHES, len(edges)))
    for batch in range(BATCHES):
        stream = 2 * batch + (component.name == "photon")
        radial.run(world, component.source, each, np.uint64(seed), stream, edges, rows[batch], cpu.scratch())
    rows *= component.source.per_decay / each
    mean, sigma = rows.mean(axis=0), rows.std(axis=0, ddof=1) / np.sqrt(BATCHES)
    scale = component.source.mev_per_decay / float(mean.sum())
    mean[0] += component.local_mev / scale
    nominal = component.source.mev_per_decay + component.local_mev
    return component_of_shells(edges, mean[:-1] * scale, sigma[:-1] * scale, nominal)
