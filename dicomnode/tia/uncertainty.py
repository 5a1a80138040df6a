"""The uncertainty of a region's activity and of its integral, by the EANM scheme.

Gear et al. 2018, "EANM practical guidance on uncertainty analysis for molecular radiotherapy absorbed dose
calculations", doi 10.1007/s00259-018-4136-7: A = Q C / R (calibration factor, count rate, recovery), the
volume's uncertainty from voxel size and resolution, counts and recovery correlated through the volume, and
the integral's uncertainty from the covariance of the fit. Relative standard uncertainties (k = 1) throughout.
"""

from __future__ import annotations

from math import exp, hypot, log, pi, sqrt

import numpy as np
from scipy.special import erf

from dicomnode.errors import OutOfDomain
from dicomnode.tia.settings import RecoveryCurve, UncertaintySettings

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
    r = (3.0 * volume_ml * 1000.0 / (4.0 * pi)) ** (1 / 3)
    s = fwhm_mm / FWHM_PER_SIGMA
    return float(erf(2 * r / (s * sqrt(2.0))) - s / r * sqrt(2.0 / pi) * (1 - exp(-2 * r**2 / s**2)))


def recovery_at(curve: RecoveryCurve, volume_ml: float, region: str) -> tuple[float, float]:
    """Recovery coefficient R and d ln R / d ln v at a volume, linear in ln v between the curve's points.

    Raises
    ------
    OutOfDomain : the volume is below the smallest sphere
    """
    if volume_ml < curve.volume_ml[0]:
        raise OutOfDomain(
            f"volume of region {region!r}",
            f"{volume_ml:.2f}",
            "mL",
            f"at least {curve.volume_ml[0]:g} mL, the smallest sphere of the recovery curve",
        )
    x, points = log(volume_ml), np.log(curve.volume_ml)
    value = float(np.interp(x, points, np.array(curve.coefficient)))
    if volume_ml >= curve.volume_ml[-1]:
        return value, 0.0
    i = int(np.searchsorted(points, x, side="right")) - 1
    slope = (curve.coefficient[i + 1] - curve.coefficient[i]) / (points[i + 1] - points[i])
    return value, float(slope) / value


def contour_relative(
    volume_ml: float, grid_voxel_mm: float, recovery: float, recovery_slope: float, u: UncertaintySettings
) -> float:
    """Contribution of the contour to u(A)/A, counts and recovery correlated through the volume.

    A = Q C / R gives d ln A / d ln v = phi/(2 R) - d ln R / d ln v, hence
    |phi/(2 R) - d ln R / d ln v| u(v)/v; the same as Gear et al. 2018 "Activity", where the covariance of C
    and R enters as -2 u(C, R) / (C R).
    """
    voxel = u.contour_voxel_mm or grid_voxel_mm
    edge = edge_fraction(volume_ml, u.spect_fwhm_mm) / (2.0 * recovery)
    return abs(edge - recovery_slope) * volume_relative(volume_ml, voxel, u.contour_fwhm_mm)


def combined(budget: dict[str, float]) -> float:
    """Contributions added in quadrature."""
    return float(hypot(*budget.values()))
