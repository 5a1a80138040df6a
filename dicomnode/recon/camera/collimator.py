"""Parallel-hole collimators: how wide a point source looks at a distance from the detector's face.

Hole diameter d, length l and the crystal's own resolution R_i give the width of a point at the distance z:
FWHM_geometric = d (l_e + z) / l_e with the effective length l_e = l - 2 / mu of the septa's lead (Anger's
formula as in Cherry, Sorenson, Phelps, Physics in Nuclear Medicine, chapter 14), and
FWHM = sqrt(FWHM_geometric^2 + R_i^2). R_i goes with 1 / sqrt(energy), from its value at 140.5 keV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log, sqrt
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain, Unsupported

Float64 = npt.NDArray[np.float64]

FWHM_PER_SIGMA = 2 * sqrt(2 * log(2))
INTRINSIC_AT_KEV = 140.5
# Lead: keV, cm2/g (NIST, Hubbell and Seltzer, NISTIR 5632, total with coherent) and g/cm3.
LEAD_CM2_PER_G = ((100.0, 5.549), (150.0, 2.014), (200.0, 0.9985), (300.0, 0.4031), (400.0, 0.2323),
                  (500.0, 0.1614), (600.0, 0.1248))  # fmt: skip
LEAD_G_PER_CM3 = 11.35


@dataclass(frozen=True)
class Response:
    """A camera's response to a point at one energy: a Gaussian that widens with distance.

    Attributes
    ----------
    slope : growth of the geometric sigma with distance, mm per mm
    face_mm : geometric sigma at the collimator's face, mm
    intrinsic_mm : sigma of the crystal, mm
    tail_share : share of the counts in a second, wide Gaussian: photons through or scattered in septa
    tail_ratio : sigma of that Gaussian over the first
    """

    slope: float
    face_mm: float
    intrinsic_mm: float
    tail_share: float = 0.0
    tail_ratio: float = 1.0

    def __post_init__(self) -> None:
        if min(self.slope, self.face_mm, self.intrinsic_mm) < 0 or self.face_mm + self.intrinsic_mm == 0:
            raise OutOfDomain("point response (slope, face, intrinsic)",
                              (self.slope, self.face_mm, self.intrinsic_mm), "mm",
                              "none negative, wider than 0 at the face")  # fmt: skip
        if not 0 <= self.tail_share < 1 or self.tail_ratio < 1:
            raise OutOfDomain("tail of the point response", (self.tail_share, self.tail_ratio), "",
                              "share 0 to 1, ratio at least 1")  # fmt: skip

    def sigma_mm(self, distance_mm: npt.ArrayLike) -> Float64:
        """Sigma of the first Gaussian at distances from the face, mm; behind the face as at the face."""
        distance = np.maximum(np.asarray(distance_mm, dtype=np.float64), 0.0)
        return np.asarray(np.hypot(self.slope * distance + self.face_mm, self.intrinsic_mm))

    def components(self, distance_mm: npt.ArrayLike) -> tuple[tuple[float, Float64], ...]:
        """(share, sigma in mm) of each Gaussian; shares add to 1."""
        sigma = self.sigma_mm(distance_mm)
        if self.tail_share == 0:
            return ((1.0, sigma),)
        return ((1 - self.tail_share, sigma), (self.tail_share, self.tail_ratio * sigma))

    def widened(self, factor: float) -> Response:
        """All widths times ``factor``: what a wrong width does."""
        return Response(self.slope * factor, self.face_mm * factor, self.intrinsic_mm * factor,
                        self.tail_share, self.tail_ratio)  # fmt: skip


@dataclass(frozen=True)
class Collimator:
    """A parallel-hole collimator with the crystal behind it.

    Attributes
    ----------
    name : our short name
    hole_mm : hole diameter between flat sides, mm
    length_mm : hole length, mm
    septa_mm : thickness of the walls, mm
    intrinsic_fwhm_mm : the crystal's resolution at 140.5 keV, mm
    source : where the numbers come from
    """

    name: str
    hole_mm: float
    length_mm: float
    septa_mm: float
    intrinsic_fwhm_mm: float
    source: str = ""

    def effective_length_mm(self, energy_kev: float) -> float:
        """Length less two mean free paths in lead, mm. Raises OutOfDomain outside 100 to 600 keV."""
        return self.length_mm - 20.0 / lead_per_cm(energy_kev)

    def response(self, energy_kev: float) -> Response:
        """The point response at one photon energy."""
        face = self.hole_mm / FWHM_PER_SIGMA
        intrinsic = self.intrinsic_fwhm_mm / FWHM_PER_SIGMA * sqrt(INTRINSIC_AT_KEV / energy_kev)
        return Response(face / self.effective_length_mm(energy_kev), face, intrinsic)

    def sigma_mm(self, distance_mm: npt.ArrayLike, energy_kev: float) -> Float64:
        """Sigma of a point source at distances from the collimator's face, mm."""
        return self.response(energy_kev).sigma_mm(distance_mm)


def lead_per_cm(energy_kev: float) -> float:
    """Attenuation coefficient of lead, 1/cm, log-log between the table's energies (no edge above 88 keV)."""
    energies = [kev for kev, _ in LEAD_CM2_PER_G]
    if not energies[0] <= energy_kev <= energies[-1]:
        raise OutOfDomain("photon energy for a lead collimator", energy_kev, "keV", "100 to 600 keV")
    values = np.log([value for _, value in LEAD_CM2_PER_G])
    return exp(float(np.interp(log(energy_kev), np.log(energies), values))) * LEAD_G_PER_CM3


_SIMIND = "collimator table of SIMIND (collim.col, as carried by PyTomography 3.4.0)"
_CRYSTAL = "; 3.8 mm crystal resolution as in PyTomography's default"
COLLIMATORS: Mapping[str, Collimator] = MappingProxyType({
    one.name: one for one in (
        Collimator("siemens-lehr", 1.11, 24.05, 0.16, 3.8, f"SY-LEHR, {_SIMIND}{_CRYSTAL}"),
        Collimator("siemens-me", 2.94, 40.64, 1.14, 3.8, f"SY-ME, {_SIMIND}{_CRYSTAL}"),
        Collimator("siemens-he", 4.00, 59.70, 2.00, 3.8, f"SY-HE, {_SIMIND}{_CRYSTAL}"),
        Collimator("ge-lehr", 1.50, 35.00, 0.20, 3.8, f"GI-LEHR, {_SIMIND}{_CRYSTAL}"),
        Collimator("ge-megp", 3.00, 58.00, 1.05, 3.8, f"GI-MEGP, {_SIMIND}{_CRYSTAL}"),
        Collimator("ge-hegp", 4.00, 66.00, 1.80, 3.8, f"GI-HEGP, {_SIMIND}{_CRYSTAL}"),
        Collimator("philips-megp", 3.40, 58.40, 0.86, 3.8, f"PB-MEGP, {_SIMIND}{_CRYSTAL}"),
        Collimator("philips-hegp", 3.81, 58.40, 1.73, 3.8, f"PB-HEGP, {_SIMIND}{_CRYSTAL}"),
    )
})  # fmt: skip


def collimator(name: str) -> Collimator:
    """A collimator of ours by name. Raises Unsupported with the names that there are."""
    try:
        return COLLIMATORS[name]
    except KeyError:
        raise Unsupported(
            "the collimator has no hole geometry here", attribute="CollimatorGridName", value=name,
            remedy=f"Choose one of {', '.join(COLLIMATORS)}, or give hole, length and septa in mm",
        ) from None  # fmt: skip
