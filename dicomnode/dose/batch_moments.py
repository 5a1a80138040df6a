"""What the engine ``montecarlo`` keeps of its batches: a few moments of each batch's own dose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.model import BatchNoise
from dicomnode.model.moments import Box, box_of, cut, moments

Float64 = npt.NDArray[np.float64]

DEGREE = 8
"""Total degree of the moments: 165 numbers a batch, 26 kB for 20 batches (our choice)."""


@dataclass(frozen=True, eq=False)
class BatchMoments:
    """Reduces the energy of a batch to the moments of its dose.

    Attributes
    ----------
    box_zyx, degree : as in ``BatchNoise``; the body's box, and ``DEGREE`` or what its voxels allow
    gy_per_mev : dose by energy deposited (z, y, x); zero outside the body
    known_gy : dose that no batch has to estimate (alpha particles)
    """

    box_zyx: Box
    degree: int
    gy_per_mev: Float64
    known_gy: Float64

    def __call__(self, mev: Float64) -> Float64:
        """(K,) moments, Gy, of all decays as one batch estimates them."""
        return moments(
            np.ascontiguousarray(cut(mev * self.gy_per_mev + self.known_gy, self.box_zyx)), self.degree
        )

    def noise(self, moments_gy: Float64, decays: float) -> BatchNoise:
        """The batches together; ``decays`` of them all."""
        count = len(moments_gy)
        return BatchNoise(self.box_zyx, self.degree, np.full(count, decays / count), moments_gy)


def batch_moments(body: npt.NDArray[np.bool_], gy_per_mev: Float64, known_gy: Float64) -> BatchMoments | None:
    """For a body; None where there is none."""
    if not body.any():
        return None
    box = box_of(body)
    degree = min(DEGREE, min(high - low for low, high in box) - 1)
    return BatchMoments(box, degree, gy_per_mev, known_gy)
