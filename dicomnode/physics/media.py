"""Twenty media along the Schneider line, lung to cortical bone, and the dose-point kernels in them.

Kernels lie in ``data/medium_kernels_<nuclide>.npz`` (``read_kernels``; format below). Where there is no
such file they are INTERIM: the water kernel scaled by areal density,

    C_m(r) = C_water(r rho_m s_m),

the density scaling theorem (O'Connor 1957) with s_m for composition: for electrons the mass collision
stopping power of the medium over that of water at the nuclide's mean electron energy (Berger and Seltzer,
ICRU 37, without density effect), for photons the electrons per mass (Compton scatter; photoelectric
absorption in bone below 0.1 MeV is missed). ``PointKernel.medium`` and ``KERNEL_ORIGIN`` say which it is.

Format ``dicomnode-medium-kernels-1`` (npz): ``format``, ``nuclide``, ``origin`` (text); ``g_per_cm3``
(media); and for each component c in electron, photon (photon may be absent): ``r_mm_c`` (media, n) radii
from 0 on, ``mev_c`` (media, n) MeV per decay within each radius, ``beyond_mev_c`` (media).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.physics.anatomy import schneider_tissue
from dicomnode.physics.kernels import WATER_KERNELS, PointKernel, RadialKernel, water_kernel
from dicomnode.physics.nuclides import canonical_name, nuclide
from dicomnode.physics.tissues import Tissue, tissue

Float64 = npt.NDArray[np.float64]

FORMAT = "dicomnode-medium-kernels-1"
INTERIM = "interim: scaled from water"

# Closest around soft tissue, where most voxels of a patient lie; elsewhere steps of 8 to 25 %.
MEDIA_G_PER_CM3 = (
    0.20, 0.25, 0.31, 0.39, 0.49, 0.61, 0.75, 0.88, 0.95, 1.00, 1.04, 1.08, 1.13, 1.20, 1.30, 1.40, 1.51,
    1.63, 1.76, 1.90,
)  # fmt: skip

# Z / A and mean excitation energy within compounds (eV), by element: IUPAC weights; ICRU 37, table 5.1 and
# its rule of 1.13 for what is not tabulated there.
ELEMENTS = {
    "H": (1 / 1.008, 19.2), "C": (6 / 12.011, 81.0), "N": (7 / 14.007, 82.0), "O": (8 / 15.999, 106.0),
    "Na": (11 / 22.990, 168.4), "Mg": (12 / 24.305, 176.3), "P": (15 / 30.974, 195.5),
    "S": (16 / 32.06, 203.4), "Cl": (17 / 35.45, 180.0), "Ar": (18 / 39.95, 212.4),
    "K": (19 / 39.098, 214.7), "Ca": (20 / 40.078, 215.8), "Fe": (26 / 55.845, 323.2),
    "I": (53 / 126.90, 554.8),
}  # fmt: skip
ELECTRON_MEV = 0.51099895  # CODATA 2018


@dataclass(frozen=True)
class Medium:
    """One medium of the line."""

    g_per_cm3: float
    composition: Tissue


@cache
def media() -> tuple[Medium, ...]:
    """The twenty media in order of density."""
    return tuple(Medium(rho, schneider_tissue(rho)) for rho in MEDIA_G_PER_CM3)


def medium_kernel(name: str, medium: Medium) -> PointKernel:
    """The dose-point kernel of a nuclide in one medium of ``media``.

    Raises
    ------
    OutOfDomain : no kernel for the nuclide, or a medium that is not one of the twenty
    """
    for one, kernel in zip(media(), medium_kernels(name), strict=True):
        if one == medium:
            return kernel
    listed = ", ".join(f"{rho:.2f}" for rho in MEDIA_G_PER_CM3)
    raise OutOfDomain("density of a medium with kernels", medium.g_per_cm3, "g/cm3", listed)


@cache
def medium_kernels(name: str) -> tuple[PointKernel, ...]:
    """The kernels of a nuclide in all media, from the file where there is one, else interim.

    Raises
    ------
    OutOfDomain : there is no kernel for the nuclide
    """
    name = canonical_name(name)
    path = files("dicomnode.physics") / "data" / f"medium_kernels_{name.replace('-', '')}.npz"
    if path.is_file():
        return read_kernels(path.read_bytes(), name)
    return tuple(_interim(name, medium) for medium in media())


def kernel_names() -> tuple[str, ...]:
    """Nuclides with kernels in the media."""
    return tuple(WATER_KERNELS)


def read_kernels(raw: bytes, name: str) -> tuple[PointKernel, ...]:
    """Kernels of a file.

    Raises
    ------
    Inconsistent : another format, nuclide, or media
    """
    digest = hashlib.sha256(raw).hexdigest()
    with np.load(BytesIO(raw), allow_pickle=False) as data:
        for key, wanted in (("format", FORMAT), ("nuclide", name)):
            if str(data[key]) != wanted:
                raise Inconsistent(f"kernel file: {key} is {str(data[key])!r}, expected {wanted!r}")
        if not np.allclose(data["g_per_cm3"], MEDIA_G_PER_CM3):
            raise Inconsistent(f"kernel file: made for densities {data['g_per_cm3']}, not {MEDIA_G_PER_CM3}")
        origin = str(data["origin"])
        return tuple(_read_one(data, name, origin, k, digest) for k in range(len(MEDIA_G_PER_CM3)))


def _read_one(data: Any, name: str, origin: str, k: int, digest: str) -> PointKernel:
    parts = [
        RadialKernel(data[f"r_mm_{c}"][k], data[f"mev_{c}"][k], float(data[f"beyond_mev_{c}"][k]))
        if f"mev_{c}" in data
        else None
        for c in ("electron", "photon")
    ]
    electron, photon = parts
    if electron is None:
        raise Inconsistent(f"kernel file of {name}: the electrons are missing")
    return PointKernel(name, origin, MEDIA_G_PER_CM3[k], electron, photon, digest)


def _interim(name: str, medium: Medium) -> PointKernel:
    """The water kernel at areal density; digest over the water kernel and the factors."""
    water, energy = water_kernel(name), nuclide(name).energy
    mean_mev = max(energy.electron_mev, 1e-3)
    electron_scale = medium.g_per_cm3 * stopping_ratio(medium.composition, mean_mev)
    photon_scale = (
        medium.g_per_cm3 * electrons_per_mass(medium.composition) / electrons_per_mass(tissue("water"))
    )
    text = f"{INTERIM} {water.digest} {electron_scale:.12g} {photon_scale:.12g}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    electron = _scaled(with_smooth_tail(water.electron, _beyond_range(water.electron)), electron_scale)
    photon = None
    if water.photon is not None:
        photon = _scaled(with_smooth_tail(water.photon, PHOTON_TAIL_MM), photon_scale)
    return PointKernel(water.nuclide, INTERIM, medium.g_per_cm3, electron, photon, digest)


RANGE_MM = 15.0  # in water: no electron of a therapy nuclide gets there
PHOTON_TAIL_MM = 3.0  # nearer than this the kernel of photons is left as it is
TAIL_DEGREE = 7  # of the polynomial in sqrt(r) that ln dC/dr is fitted with
TAIL_NODES = 400
TAIL_FITTED_TO_MM = 300.0  # beyond, the energy that is left falls exponentially with distance
TAIL_LENGTHS = 20  # e-folding lengths of it


def _beyond_range(part: RadialKernel) -> float:
    """Radius from which on only bremsstrahlung deposits energy, mm in water."""
    return min(part.radius_of(0.999), RANGE_MM)


def with_smooth_tail(part: RadialKernel, from_mm: float) -> RadialKernel:
    """The kernel with its statistical noise beyond a radius taken out, and continued beyond its reach.

    What photons deposit is a smooth function of distance: ln dC/dr is fitted by a polynomial in sqrt(r), and
    what passes 300 mm goes on as an exponential. Noise and ends, stretched differently in each
    medium, would look like differences between media.
    """
    start = int(np.searchsorted(part.r_mm, from_mm))
    last = int(np.searchsorted(part.r_mm, TAIL_FITTED_TO_MM))
    r, mev = part.r_mm[start : last + 1], part.mev[start : last + 1]
    middle, rate = np.sqrt((r[1:] + r[:-1]) / 2), np.diff(mev) / np.diff(r)
    good = rate > 0
    fit = np.polynomial.Chebyshev.fit(middle[good], np.log(rate[good]), min(TAIL_DEGREE, len(r) // 3))
    nodes = np.linspace(np.sqrt(r[0]), np.sqrt(r[-1]), TAIL_NODES) ** 2
    fine = np.exp(fit(np.sqrt((nodes[1:] + nodes[:-1]) / 2))) * np.diff(nodes)
    fine *= (mev[-1] - mev[0]) / fine.sum()
    left = part.total_mev - mev[-1]
    length = left * (nodes[-1] - nodes[-2]) / fine[-1]
    far = np.linspace(0.0, TAIL_LENGTHS, TAIL_NODES)[1:]
    return RadialKernel(
        np.concatenate([part.r_mm[:start], nodes, nodes[-1] + length * far]),
        np.concatenate(
            [part.mev[:start], [mev[0]], mev[0] + np.cumsum(fine), mev[-1] - left * np.expm1(-far)]
        ),
        left * float(np.exp(-TAIL_LENGTHS)),
    )


def _scaled(part: RadialKernel, factor: float) -> RadialKernel:
    return RadialKernel(part.r_mm / factor, part.mev, part.beyond_mev)


def electrons_per_mass(composition: Tissue) -> float:
    """Z / A of a mixture, mol/g."""
    return sum(weight * ELEMENTS[e][0] for e, weight in composition.mass_fractions.items())


def mean_excitation_ev(composition: Tissue) -> float:
    """Bragg's rule, ICRU 37 equation 5.3."""
    shares = {e: weight * ELEMENTS[e][0] for e, weight in composition.mass_fractions.items()}
    mean = sum(share * log(ELEMENTS[e][1]) for e, share in shares.items()) / sum(shares.values())
    return float(np.exp(mean))


def stopping_ratio(composition: Tissue, mev: float) -> float:
    """Mass collision stopping power for electrons over that of water, without density effect.

    Berger and Seltzer, ICRU 37 equation 2.8.
    """
    tau = mev / ELECTRON_MEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    f = (1 - beta2) * (1 + tau**2 / 8 - (2 * tau + 1) * log(2))

    def number(one: Tissue) -> float:
        excitation = mean_excitation_ev(one) * 1e-6 / ELECTRON_MEV
        return electrons_per_mass(one) * (log(tau**2 * (tau + 2) / (2 * excitation**2)) + f)

    return number(composition) / number(tissue("water"))
