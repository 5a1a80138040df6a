"""Where a width comes from when nobody states it: spheres of known size, or the patient's own image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dicomnode.errors import Inconsistent
from dicomnode.recovery.shares import Boxed, Float32, Shares, padded
from dicomnode.recovery.solve import blur, build_system, expected, solve
from dicomnode.recovery.width import FWHM_PER_SIGMA, PATIENT_RELATIVE, Width, WidthSource

NARROWEST_MM, WIDEST_MM = 1.0, 40.0
LEAST_RELATIVE = 0.05
"""A width is not known better than this, however well spheres agree."""


def sphere_recovery(volume_ml: float, fwhm_mm: float) -> float:
    """Mean of a uniform sphere in cold surroundings within its own contour, in an image of a width.

    R = int (1 - 3 h / 4 r + h^3 / 16 r^3) f(h) dh up to 2 r: the part of the sphere that stays within itself
    when moved by h, over the Gaussian's distribution of h.
    """
    radius = (3000.0 * volume_ml / (4.0 * np.pi)) ** (1 / 3)
    sigma = fwhm_mm / FWHM_PER_SIGMA
    if sigma <= 0:
        return 1.0
    h = np.linspace(0.0, min(2.0 * radius, 8.0 * sigma), 801)
    stays = 1.0 - 0.75 * h / radius + (h / radius) ** 3 / 16.0
    moved = np.sqrt(2.0 / np.pi) * h**2 / sigma**3 * np.exp(-(h**2) / (2.0 * sigma**2))
    return float(np.trapezoid(stays * moved, h))


def width_of_spheres(
    volume_ml: Sequence[float], recovery: Sequence[float], source: WidthSource, said_by: str = ""
) -> Width:
    """FWHM(V): the width that each sphere's recovery (background taken off) asks for.

    The uncertainty is the scatter of those widths about a straight line in ln V, 5 % at least.

    Raises
    ------
    Inconsistent : no sphere, or a recovery that no width between 1 and 40 mm gives
    """
    order = np.argsort(volume_ml)
    volumes = [float(volume_ml[i]) for i in order]
    widths = np.array([_width_of_sphere(v, float(recovery[i])) for v, i in zip(volumes, order, strict=True)])
    if not volumes:
        raise Inconsistent("there is no sphere to take a width from")
    relative = LEAST_RELATIVE
    if len(volumes) > 2:
        x = np.log(volumes)
        left = widths - np.polyval(np.polyfit(x, widths, 1), x)
        scatter = float(np.sqrt(np.sum(left**2) / (len(volumes) - 2)) / widths.mean())
        relative = max(LEAST_RELATIVE, scatter)
    return Width(tuple(volumes), tuple(widths.tolist()), relative, source, said_by)


def _width_of_sphere(volume_ml: float, recovery: float) -> float:
    low, high = NARROWEST_MM, WIDEST_MM
    if not sphere_recovery(volume_ml, high) < recovery < sphere_recovery(volume_ml, low):
        raise Inconsistent(
            f"the recovery {recovery:.2f} of a sphere of {volume_ml:.2f} mL fits no width between "
            f"{low:g} and {high:g} mm",
            remedy="Check the calibration factor, the sphere's place and its background",
        )
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (middle, high) if sphere_recovery(volume_ml, middle) > recovery else (low, middle)
    return (low + high) / 2.0


def width_of_patient(image: Float32, shares: Shares, said_by: str = "") -> Width | None:
    """The width that leaves the least squared difference between image and model about the regions.

    It errs low where contours or registration err, so it corrects too little, never too much. None where no
    width between 5 and 17 mm is better than its neighbours: the image holds nothing that tells it.
    """
    near = _near(shares, ASKED_MM[-1])
    misfit = [_misfit(image, shares, mm, near) for mm in ASKED_MM]
    best = int(np.argmin(misfit))
    if best in (0, len(ASKED_MM) - 1):
        return None
    left, middle, right = misfit[best - 1 : best + 2]
    step = ASKED_MM[best + 1] - ASKED_MM[best]
    fwhm = ASKED_MM[best] + 0.5 * step * (left - right) / max(left - 2.0 * middle + right, 1e-30)
    return Width.of(fwhm, PATIENT_RELATIVE, WidthSource.PATIENT, said_by)


ASKED_MM = (5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 17.0)


def _near(shares: Shares, reach_mm: float) -> Float32:
    """1 within half a width of a region, 0 elsewhere."""
    near = np.zeros(shares.rest.shape, np.float32)
    pads = [int(np.ceil(reach_mm / 2.0 / s)) for s in reversed(shares.spacing_mm)]
    for one in shares.owned:
        box = padded(one.box, pads, near.shape)
        wide = blur(Boxed(one.box, one.values).within(box), (pads[0] / 2.0, pads[1] / 2.0, pads[2] / 2.0))
        near[box] = np.maximum(near[box], wide > 0.05)
    return near


def _misfit(image: Float32, shares: Shares, fwhm_mm: float, near: Float32) -> float:
    width = Width.of(fwhm_mm, PATIENT_RELATIVE, WidthSource.PATIENT)
    system = build_system(shares, width)
    solution = solve(system, image, width)
    shown = expected(system, solution.concentration)
    shown += blur(solution.background * shares.rest, system.sigma_zyx, "nearest")
    return float(np.sum(near * (image - shown) ** 2, dtype=np.float64))
