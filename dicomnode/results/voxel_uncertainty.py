"""The whole standard uncertainty of each voxel's dose: of its activity over time, and of the engine."""

from __future__ import annotations

from math import log, sqrt

import numpy as np

from dicomnode.model import DoseMap, TiaFit
from dicomnode.model.volumes import Float32

FWHM_PER_SIGMA = sqrt(8.0 * log(2.0))
FIELD_OF_VIEW = "field-of-view"
FAINT = 1e-3
"""Activity nearby below this part of the map's greatest: its own relative uncertainty says nothing of the
dose there, which comes from elsewhere."""


def whole_sigma_gy(dose: DoseMap, fit: TiaFit, resolution_fwhm_mm: float) -> Float32:
    """Standard uncertainty (k = 1) of the dose of each voxel, Gy: u(D)^2 = (D u(A~)/A~)^2 + u(engine)^2.

    The dose of a voxel is taken to be as uncertain as the time-integrated activity around it, within the
    image's resolution (self-dose dominates, Gear et al. 2018, section 3): counts, fit, model, calibration and
    recovery as ``tia.integrate`` gave them voxel by voxel. A voxel without activity nearby has the relative
    uncertainty of the whole field of view. A contour's uncertainty is no voxel's: regions have it beside.
    """
    relative = _relative_tia(fit, resolution_fwhm_mm)
    whole: Float32 = np.hypot(dose.gy * relative, dose.sigma_gy).astype(np.float32)
    return whole


def _relative_tia(fit: TiaFit, resolution_fwhm_mm: float) -> Float32:
    from scipy.ndimage import gaussian_filter

    width = resolution_fwhm_mm / FWHM_PER_SIGMA / np.array(fit.tia.grid.spacing_mm[::-1])
    tia: Float32 = gaussian_filter(fit.tia.mbq_s_per_ml, width, mode="nearest")
    sigma: Float32 = gaussian_filter(fit.sigma.mbq_s_per_ml, width, mode="nearest")
    near = tia > FAINT * max(float(tia.max()), 1e-30)
    whole = next((c for c in fit.regions if c.region == FIELD_OF_VIEW), None)
    beyond = whole.sigma_tia_mbq_s / whole.tia_mbq_s if whole is not None and whole.tia_mbq_s > 0 else 0.0
    relative: Float32 = np.where(near, sigma / np.where(near, tia, 1.0), beyond).astype(np.float32)
    return relative
