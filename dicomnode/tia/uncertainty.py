"""The uncertainty of a region's activity and of its integral, by the EANM scheme.

Gear et al. 2018, "EANM practical guidance on uncertainty analysis for molecular radiotherapy absorbed dose
calculations", doi 10.1007/s00259-018-4136-7: the volume's uncertainty from voxel size and resolution, and the
integral's uncertainty from the covariance of the fit. Recovery has a room of its own. Relative standard
uncertainties (k = 1) throughout.
"""

from __future__ import annotations

from math import exp, hypot, log, pi, sqrt

from dicomnode.tia.settings import UncertaintySettings

FWHM_PER_SIGMA = 2.0 * sqrt(2.0 * log(2.0))


def volume_relative(volume_ml: float, voxel_mm: float, fwhm_mm: float) -> float:
    """Relative standard uncertainty of a contoured volume, u(v)/v = 3 u(d)/d.

    The diameter d of the sphere of equal volume is known as well as two edges: each uniform within a voxel
    (a^2/12) and each blurred by the resolution (FWHM^2 / (8 ln 2)), so
    u(d)^2 = a^2 / 6 + FWHM^2 / (4 ln 2) (Gear et al. 2018, "Volume of interest").
    """
    diameter_mm = (6.0 * volume_ml * 1000.0 / pi) ** (1 / 3)
    return float(3.0 * sqrt(voxel_mm**2 / 6.0 + fwhm_mm**2 / (4.0 * log(2.0))) / diameter_mm)


def edge_fraction(volume_ml: float, fwhm_mm: float) -> float:
    """phi: twice the count density at the edge of a blurred sphere, relative to its true density.

    phi = erf(2 r / (s sqrt 2)) - s/r sqrt(2/pi) (1 - exp(-2 r^2 / s^2)), s the standard deviation of the
    point-spread function. A VOI whose volume is uncertain by u(v) has u(C)/C = phi/(2 R) u(v)/v
    (Gear et al. 2018, "Count rate"). 1 for a large sphere, 0 for a point.
    """
    from scipy.special import erf

    r = (3.0 * volume_ml * 1000.0 / (4.0 * pi)) ** (1 / 3)
    s = fwhm_mm / FWHM_PER_SIGMA
    return float(erf(2 * r / (s * sqrt(2.0))) - s / r * sqrt(2.0 / pi) * (1 - exp(-2 * r**2 / s**2)))


def contour_relative(volume_ml: float, grid_voxel_mm: float, u: UncertaintySettings) -> float:
    """Contribution of the contour to u(A)/A of an uncorrected activity: phi/2 u(v)/v (Gear et al. 2018,
    "Count rate")."""
    return edge_fraction(volume_ml, u.spect_fwhm_mm) / 2.0 * _volume(volume_ml, grid_voxel_mm, u)


def contour_of_dose(volume_ml: float, grid_voxel_mm: float, u: UncertaintySettings) -> float:
    """The same of a mean dose D = A / m: the volume is in the mass once more, so |phi/2 - 1| u(v)/v."""
    edge = edge_fraction(volume_ml, u.spect_fwhm_mm) / 2.0
    return abs(edge - 1.0) * _volume(volume_ml, grid_voxel_mm, u)


def _volume(volume_ml: float, grid_voxel_mm: float, u: UncertaintySettings) -> float:
    return volume_relative(volume_ml, u.contour_voxel_mm or grid_voxel_mm, u.contour_fwhm_mm)


def combined(budget: dict[str, float]) -> float:
    """Contributions added in quadrature."""
    return float(hypot(*budget.values()))
