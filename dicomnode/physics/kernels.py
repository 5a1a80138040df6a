"""Radial energy-deposition kernels, and voxel S-values of any voxel size made from them.

A point source at the origin deposits C(r) MeV per decay within radius r. For uniform activity in one
voxel the energy received by the voxel at offset o (in voxels) is

    F(o) = integral dC(r) < prod_i tri(|u_i| / a_i - o_i) >    over directions of u, |u| = r,

because the difference of two points, each uniform in a box of edges a, has a product of triangles
tri(x) = max(0, 1 - |x|) as its density (times the volume of the box). Triangles at integer offsets add
up to one, so the energy is conserved by construction. F / mass is the voxel S-value (MIRD 17).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.physics.nuclides import canonical_name

Float64 = npt.NDArray[np.float64]

JOULE_PER_MEV = 1.602176634e-13  # CODATA 2018, exact
WATER_G_PER_CM3 = 1.0

# Files by nuclide. Origin, licence and digests: data/README.md.
WATER_KERNELS = {
    "Lu-177": "dpk_water_Lu177.npz",
    "Y-90": "dpk_water_Y90.npz",
    "I-131": "dpk_water_I131.npz",
}

# Shells are merged until the energy of each is known to this relative standard uncertainty, so that the
# noise of the bremsstrahlung tail does not show in maps, but never to more than this share of their
# radius, so that the steep end of the electrons' range is not smeared out.
SHELL_SIGMA = 0.02
SHELL_WIDTH = 0.15


@dataclass(frozen=True, eq=False)
class RadialKernel:
    """Energy deposited around a point source in an unbounded medium, one component.

    Attributes
    ----------
    r_mm : radii, mm, first 0
    mev : energy deposited within each radius, MeV per decay, first 0
    beyond_mev : energy that passes the last radius, MeV per decay
    """

    r_mm: Float64
    mev: Float64
    beyond_mev: float
    _curve: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from scipy.interpolate import PchipInterpolator

        object.__setattr__(self, "_curve", PchipInterpolator(self.r_mm, self.mev))

    @property
    def reach_mm(self) -> float:
        """Radius up to which the kernel is known, mm."""
        return float(self.r_mm[-1])

    @property
    def total_mev(self) -> float:
        """Energy per decay, that beyond the reach included."""
        return float(self.mev[-1]) + self.beyond_mev

    def within(self, r_mm: npt.ArrayLike) -> Float64:
        """Energy deposited within radius r, MeV per decay."""
        return np.asarray(self._curve(np.clip(r_mm, 0.0, self.reach_mm)), dtype=np.float64)

    def per_mm3(self, r_mm: Float64) -> Float64:
        """Energy deposited per volume at radius r > 0, MeV per decay and mm3; zero beyond the reach."""
        inside = (r_mm > 0) & (r_mm < self.reach_mm)
        r = np.where(inside, r_mm, 1.0)
        density = np.maximum(self._curve(r, 1), 0.0) / (4 * np.pi * r**2)
        return np.where(inside, density, 0.0)

    def radius_of(self, fraction: float) -> float:
        """Radius within which this fraction of the total energy is deposited, mm."""
        return float(np.interp(fraction * self.total_mev, self.mev, self.r_mm))


@dataclass(frozen=True, eq=False)
class PointKernel:
    """Dose-point kernel of a nuclide in a medium, electrons and photons apart.

    Attributes
    ----------
    nuclide, medium, density_g_per_cm3 : what was simulated
    electron, photon : RadialKernel; ``photon`` is None where the nuclide has no photons to speak of
    digest : SHA-256 of the file
    """

    nuclide: str
    medium: str
    density_g_per_cm3: float
    electron: RadialKernel
    photon: RadialKernel | None
    digest: str

    @property
    def components(self) -> tuple[RadialKernel, ...]:
        return (self.electron,) if self.photon is None else (self.electron, self.photon)

    @property
    def reach_mm(self) -> float:
        return max(part.reach_mm for part in self.components)

    @property
    def total_mev(self) -> float:
        """Energy emitted per decay, MeV."""
        return sum(part.total_mev for part in self.components)

    @property
    def beyond_mev(self) -> float:
        """Energy that passes the reach, MeV per decay."""
        return sum(part.beyond_mev for part in self.components)


@cache
def water_kernel(name: str) -> PointKernel:
    """The kernel of a nuclide in water.

    Raises
    ------
    OutOfDomain : there is no kernel for the nuclide
    """
    name = canonical_name(name)
    if name not in WATER_KERNELS:
        raise OutOfDomain("nuclide of the water kernels", name, "", ", ".join(WATER_KERNELS))
    raw = (files("dicomnode.physics") / "data" / WATER_KERNELS[name]).read_bytes()
    with np.load(BytesIO(raw), allow_pickle=False) as data:
        photon = _component(data, "photon") if "r_edges_mm_photon" in data else None
        return PointKernel(
            name, "water", WATER_G_PER_CM3, _component(data, "electron"), photon,
            hashlib.sha256(raw).hexdigest(),
        )  # fmt: skip


def _component(data: Any, which: str) -> RadialKernel:
    """One component of a file, scaled from the sampled to the nominal energy (a part in 1e4)."""
    info = dict(zip(data["info_fields"].tolist(), data[f"info_{which}"].tolist(), strict=True))
    scale = info["MeV_per_decay_nominal"] / info["MeV_per_decay_sampled"]
    edges = np.asarray(data[f"r_edges_mm_{which}"], dtype=np.float64)
    energy = np.asarray(data[f"E_MeV_per_decay_{which}"], dtype=np.float64) * scale
    sigma = np.asarray(data[f"E_sigma_{which}"], dtype=np.float64) * scale
    return component_of_shells(edges, energy, sigma, info["MeV_per_decay_nominal"])


def component_of_shells(
    edges_mm: Float64, energy_mev: Float64, sigma_mev: Float64, emitted_mev: float
) -> RadialKernel:
    """A kernel of the energy in each shell and its standard uncertainty, noise joined away, MeV per decay."""
    edges, energy = _split_last_shell(*_merge_shells(edges_mm, energy_mev, sigma_mev))
    deposited = np.concatenate([[0.0], np.cumsum(energy)])
    return RadialKernel(edges, deposited, emitted_mev - float(deposited[-1]))


def _merge_shells(edges: Float64, energy: Float64, sigma: Float64) -> tuple[Float64, Float64]:
    """Neighbouring shells joined until each is known to SHELL_SIGMA or is as thick as SHELL_WIDTH allows."""
    kept, merged, total, variance = [edges[0]], [], 0.0, 0.0
    for outer, mev, deviation in zip(edges[1:], energy, sigma, strict=True):
        total, variance = total + mev, variance + deviation**2
        thick = outer - kept[-1] >= SHELL_WIDTH * outer
        if thick or variance**0.5 <= SHELL_SIGMA * total or outer == edges[-1]:
            kept.append(outer)
            merged.append(total)
            total = variance = 0.0
    return np.array(kept), np.array(merged)


def _split_last_shell(edges: Float64, energy: Float64, parts: int = 10) -> tuple[Float64, Float64]:
    """The last, wide shell cut into parts whose energies fall exponentially from the shell before."""
    from scipy.optimize import brentq

    width = edges[-1] - edges[-2]
    start = energy[-2] / (edges[-2] - edges[-3])  # MeV per mm in the shell before
    if not start > 0:
        return edges, energy
    mean = energy[-1] / (start * width)
    if not 0 < mean < 1:
        return edges, energy
    slope = brentq(lambda x: -np.expm1(-x) / x - mean, 1e-9, 1e3)
    cuts = np.linspace(0.0, 1.0, parts + 1)
    share = np.diff(np.expm1(-slope * cuts) / np.expm1(-slope))
    return np.concatenate([edges[:-1], edges[-2] + width * cuts[1:]]), np.concatenate(
        [energy[:-1], energy[-1] * share]
    )
