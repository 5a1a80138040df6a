"""Images made ready for alignment: averaged down, and nothing left but the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.model import ActivityMap, Grid, HuMap, TimePoint
from dicomnode.registration.images import (
    AIR_HU,
    Float32,
    Image,
    Mask,
    body_of,
    grid_of,
    shrink,
    to_array,
    to_image,
)
from dicomnode.registration.settings import RegistrationSettings

CT_TEXTURE_HU = 40.0
SPECT_TEXTURE = 0.15
SMOOTH_FWHM_MM = 10.0
SPECT_BODY = 0.10
"""Part of the root of the 99.9th percentile that counts as body in a SPECT (1 % of the concentration)."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image made ready for alignment.

    Attributes
    ----------
    values : float32 (z, y, x), the surroundings of the body set to one value
    body : the patient
    grid : of both
    background : value outside the body
    texture : least standard deviation within a block that carries information, same unit as ``values``
    """

    values: Float32
    body: Mask
    grid: Grid
    background: float
    texture: float

    @property
    def image(self) -> Image:
        return to_image(self.values, self.grid)

    @property
    def center_mm(self) -> npt.NDArray[np.float64]:
        """Centre of the body's voxels, patient coordinates."""
        index = [
            float(self.body.sum(axis=other).astype(float) @ np.arange(n)) / self.body.sum()
            for other, n in (
                ((0, 1), self.body.shape[2]),
                ((0, 2), self.body.shape[1]),
                ((1, 2), self.body.shape[0]),
            )
        ]
        return self.grid.to_patient_mm(index)


def prepare(point: TimePoint, by_ct: bool, settings: RegistrationSettings) -> Prepared | None:
    """CT (or SPECT) of a time point made ready for alignment; None where it shows no body."""
    made = prepare_ct(point.ct, settings) if by_ct and point.ct else prepare_spect(point.activity, settings)
    # Less than 100 mL is not a patient.
    return made if int(made.body.sum()) * made.grid.voxel_ml > 100.0 else None


def prepare_ct(ct: HuMap, settings: RegistrationSettings) -> Prepared:
    image = shrink(to_image(ct.hu, ct.grid), settings.working_voxel_mm)
    grid, values = grid_of(image), np.clip(to_array(image), AIR_HU, 1500.0).astype(np.float32)
    body = body_of(values, grid, settings.body_hu)
    values[~body] = AIR_HU
    return Prepared(values, body, grid, AIR_HU, CT_TEXTURE_HU)


def prepare_spect(activity: ActivityMap, settings: RegistrationSettings) -> Prepared:
    """Root of the smoothed concentration relative to its top: else lesions would be all that is seen.

    Smoothing to the resolution that 177Lu SPECT has anyway keeps the noise of unfiltered
    reconstructions from being taken for structure.
    """
    from scipy.ndimage import gaussian_filter

    image = shrink(to_image(activity.bq_per_ml, activity.grid), settings.working_voxel_mm)
    grid = grid_of(image)
    sigma = [SMOOTH_FWHM_MM / 2.3548 / s for s in reversed(grid.spacing_mm)]
    smooth = gaussian_filter(to_array(image), sigma, mode="constant")
    top = float(np.percentile(smooth, 99.9))
    values = np.sqrt(np.clip(smooth / max(top, 1e-9), 0.0, 1.5)).astype(np.float32)
    return Prepared(values, values > SPECT_BODY, grid, 0.0, SPECT_TEXTURE)
