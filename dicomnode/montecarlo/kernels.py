"""Dose-point kernels of any nuclide in any medium, by our own transport."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.model import Nuclide
from dicomnode.montecarlo import cpu, radial
from dicomnode.montecarlo.particle import POSITRON
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.source import Component, electron_component, members, photon_component
from dicomnode.montecarlo.world import World, make_world
from dicomnode.physics import scattering
from dicomnode.physics.electrons import csda_range
from dicomnode.physics.interactions import Medium, data_digest
from dicomnode.physics.kernel_files import KernelSet, Shells, from_bytes, to_bytes
from dicomnode.physics.kernels import PointKernel, smooth_tail

Float64 = npt.NDArray[np.float64]

REACH_G_PER_CM2 = 100.0
"""One metre of water: what passes it (131I: 0.1 keV of 383 per decay) is stated with the kernel."""
ELECTRONS, PHOTONS = 2e5, 6e5
"""Histories: voxel S-values of 4 mm to about 0.1 % (self) and 1 % (photons, farther voxels)."""
BATCHES = 20
STEEP_SHELLS, TAIL_SHELLS = 120, 90
STEEP_POWER = 1.5
"""Shells up to the range of electrons end at range x (k / 120)^1.5: fine where slow electrons stop."""
FIRST_PHOTON_SHELL_G_PER_CM2 = 1e-3
PHOTON_SHELLS = 150
HIGHEST_MEV = (1.0, 4.0, 10.0)
"""Tables are made up to one of these, so that nuclides share them."""


def point_kernel(
    nuclide: Nuclide, medium: Medium, electrons: float = ELECTRONS, photons: float = PHOTONS, seed: int = 0
) -> PointKernel:
    """The kernel of a nuclide in a medium of its nominal density, electrons and photons apart.

    Parameters
    ----------
    electrons, photons : histories of each

    Raises
    ------
    OutOfDomain : unknown nuclide, or fewer than 1000 histories
    """
    made = medium_set(nuclide, (medium,), electrons, photons, seed)
    return from_bytes(to_bytes(made), nuclide.name, (medium,))[0]


def medium_set(
    nuclide: Nuclide,
    media: Sequence[Medium],
    electrons: float = ELECTRONS,
    photons: float = PHOTONS,
    seed: int = 0,
) -> KernelSet:
    """The kernels of a nuclide in several media, on common radii by areal density; as ``point_kernel``."""
    if not min(electrons, photons) >= 1000:
        raise OutOfDomain("histories of a kernel", min(electrons, photons), "", "1000 or more")
    cuts, found = TransportSettings().cuts, members(nuclide)
    electron = _shells(electron_component(found, cuts.electron), media, electrons, seed)
    photon = photon_component(found, cuts.photon)
    photon_shells = _shells(photon, media, photons, seed) if photon.source.per_decay > 0 else None
    origin = stated(nuclide, media, electrons, photons, seed)
    return KernelSet(nuclide.name, tuple(media), electron, photon_shells, origin)


def cached_set(
    nuclide: Nuclide, media: Sequence[Medium], electrons: float, photons: float, seed: int, cache: Path
) -> tuple[bytes, bool]:
    """(the file of ``medium_set``, whether it lay in ``cache``), by the digest of all that it depends on."""
    text = stated(nuclide, media, electrons, photons, seed)
    place = cache / f"{hashlib.sha256(text.encode()).hexdigest()}.npz"
    if place.is_file():
        return place.read_bytes(), True
    raw = to_bytes(medium_set(nuclide, media, electrons, photons, seed))
    cache.mkdir(parents=True, exist_ok=True)
    partial = place.with_suffix(f".{os.getpid()}")
    partial.write_bytes(raw)
    partial.replace(place)  # two that make the same kernels leave one whole file
    return raw, False


def stated(nuclide: Nuclide, media: Sequence[Medium], electrons: float, photons: float, seed: int) -> str:
    """All that the kernels depend on, as text: emissions, media, statistics, settings, data and sources."""
    emitted = hashlib.sha256(repr(_emitted(nuclide)).encode()).hexdigest()[:16]
    inside = hashlib.sha256(repr(tuple(media)).encode()).hexdigest()[:16]
    return (
        f"own Monte Carlo; {nuclide.name}: {electrons:g} electron and {photons:g} photon histories, seed "
        f"{seed}; emissions {emitted}, media {inside}, interactions {data_digest()[:16]}, "
        f"elastic {scattering.data_digest()[:16]}, sources {source_digest()[:16]}; {TransportSettings().cuts}"
    )


def _emitted(nuclide: Nuclide) -> list[object]:
    cuts = TransportSettings().cuts
    found = members(nuclide)
    parts = (electron_component(found, cuts.electron), photon_component(found, cuts.photon))
    return [(c.local_mev, *(np.asarray(field).tobytes() for field in c.source)) for c in parts]


def source_digest() -> str:
    """SHA-256 over the sources of the transport and of the physics that it stands on."""
    digest, here = hashlib.sha256(), Path(__file__).parent
    for source in sorted((*here.glob("*.py"), *(here.parent / "physics").glob("*.py"))):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


def radii(component: Component, media: Sequence[Medium]) -> Float64:
    """Radii of the shells, g/cm2: up to the longest range of electrons, then even in the logarithm."""
    if component.name == "photon":
        rest = np.geomspace(FIRST_PHOTON_SHELL_G_PER_CM2, REACH_G_PER_CM2, PHOTON_SHELLS)
        return np.concatenate([[0.0], rest])
    steep = electron_range(component, media)
    near = steep * (np.arange(STEEP_SHELLS + 1) / STEEP_SHELLS) ** STEEP_POWER
    return np.concatenate([near, np.geomspace(steep, REACH_G_PER_CM2, TAIL_SHELLS)[1:]])


def electron_range(component: Component, media: Sequence[Medium]) -> float:
    """Longest range in any of the media, g/cm2."""
    highest = max(component.source.highest_mev, 0.02)
    return max(float(csda_range(medium, highest)[0]) for medium in media)


def _shells(component: Component, media: Sequence[Medium], histories: float, seed: int) -> Shells:
    edges = radii(component, media)
    smooth_from = electron_range(component, media) if component.name == "electron" else 0.0
    nominal = component.source.mev_per_decay + component.local_mev
    mev, relative, done = [], [], dict[object, tuple[Float64, Float64]]()
    for medium in media:
        # By areal density photons know no density; that of electrons tells in their density effect.
        alike = medium.mass_fractions if component.name == "photon" else medium
        if component.source.per_decay == 0:  # all of it stays where it is emitted
            done[alike] = np.zeros(len(edges)), np.zeros(len(edges))
        elif alike not in done:
            done[alike] = _simulated(component, medium, edges, int(histories), seed)
        energy, sigma = (column[:-1].copy() for column in done[alike])
        energy[0] += component.local_mev
        relative.append(np.divide(sigma, energy, out=np.full_like(sigma, np.inf), where=energy > 0))
        energy = smooth_tail(edges, energy, sigma, smooth_from)
        mev.append(np.concatenate([[0.0], np.cumsum(energy)]))
    inside = np.array(mev)
    return Shells(edges, inside, np.array(relative), np.maximum(nominal - inside[:, -1], 0.0))


def _simulated(
    component: Component, medium: Medium, edges: Float64, histories: int, seed: int
) -> tuple[Float64, Float64]:
    """(energy, standard uncertainty) by shell, the last beyond the reach, MeV per decay."""
    edges_mm = edges * (10 / medium.density_g_per_cm3)
    highest = next(top for top in HIGHEST_MEV if top > component.source.highest_mev)
    positrons = highest > HIGHEST_MEV[0] or bool((component.source.kind == POSITRON).any())
    world = _world(medium, highest, positrons)._replace(edge=np.full(3, 4 * edges_mm[-1]))
    each = max(histories // BATCHES, 1)
    rows = np.zeros((BATCHES, len(edges)))
    for batch in range(BATCHES):
        stream = 2 * batch + (component.name == "photon")
        radial.run(
            world, component.source, each, np.uint64(seed), stream, edges_mm, rows[batch], cpu.scratch()
        )
    mean, sigma = rows.mean(axis=0), rows.std(axis=0, ddof=1) / np.sqrt(BATCHES)
    scale = component.source.mev_per_decay / float(mean.sum())
    return mean * scale, sigma * scale


@lru_cache(maxsize=32)
def _world(medium: Medium, highest_mev: float, positrons: bool) -> World:
    """One voxel of a medium; its edge is set by who uses it."""
    return make_world(
        np.full((1, 1, 1), medium.density_g_per_cm3, np.float32), np.zeros((1, 1, 1), int), (1.0,) * 3,
        [medium], TransportSettings().cuts, highest_mev, positrons,
    )  # fmt: skip
