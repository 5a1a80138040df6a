"""Radial energy-deposition kernels, and voxel S-values of any voxel size made from them.

A point source at the origin deposits C(r) MeV per decay within radius r. For uniform activity in one
voxel the energy received by the voxel at offset o (in voxels) is

    F(o) = integral dC(r) < prod_i tri(|u_i| / a_i - o_i) >    over directions of u, |u| = r,

because the difference of two points, each uniform in a box of edges a, has a product of triangles
tri(x) = max(0, 1 - |x|) as its density (times the volume of the box). Triangles at integer offsets add
up to one, so the energy is conserved by construction. F / mass is the voxel S-value (MIRD 17).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

JOULE_PER_MEV = 1.602176634e-13  # CODATA 2018, exact
WATER_G_PER_CM3 = 1.0

# What photons and bremsstrahlung leave is a smooth function of distance: the logarithm of the energy per
# logarithm of radius is fitted with a cubic spline of so many knots per unit of ln(r).
KNOTS_PER_LOG = 1.3
FEWEST_SHELLS = 12


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
    electron, photon : RadialKernel; ``photon`` is None where the nuclide has no photons to speak of.
        Photons that positrons and electrons make belong to ``electron``
    digest : SHA-256 of all that the kernel depends on, or of the file that holds it
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


def smooth_tail(edges_mm: Float64, energy: Float64, sigma: Float64, from_mm: float) -> Float64:
    """Energies of shells with their statistical noise beyond a radius fitted away; their sum is kept.

    Noise, different in each medium, would look like a difference between media.

    Parameters
    ----------
    edges_mm : n + 1 radii of shells, the first 0
    energy, sigma : (n) energy in each shell and its standard uncertainty
    from_mm : shells that begin nearer are left as they are
    """
    from scipy.interpolate import make_lsq_spline

    start = int(np.searchsorted(edges_mm[:-1], max(from_mm, edges_mm[1]) * (1 - 1e-9)))
    good = start + np.flatnonzero((energy[start:] > 0) & (sigma[start:] < 0.7 * energy[start:]))
    if len(good) < FEWEST_SHELLS:
        return energy
    outer, inner = np.log(edges_mm[start + 1 :]), np.log(edges_mm[start:-1])
    x, width = (outer + inner) / 2, outer - inner
    kept = good - start
    low, high = x[kept[0]], x[kept[-1]]
    inside = np.linspace(low, high, max(2, int(KNOTS_PER_LOG * (high - low))))[1:-1]
    knots = np.concatenate([[low] * 4, inside, [high] * 4])
    weight = energy[good] / np.maximum(sigma[good], 1e-12 * energy[good])
    fit = make_lsq_spline(x[kept], np.log(energy[good] / width[kept]), knots, k=3, w=np.minimum(weight, 1e4))
    here = slice(kept[0], kept[-1] + 1)
    found = np.exp(fit(x[here])) * width[here]
    smooth = energy.copy()
    within = slice(good[0], good[-1] + 1)
    smooth[within] = found * (energy[within].sum() / found.sum())
    return smooth
