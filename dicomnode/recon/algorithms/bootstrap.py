"""How far noise of the counts moves the image: Poisson bootstrap through the whole chain.

Every replicate draws all windows anew, y* ~ Poisson(y), estimates scatter from them and reconstructs. The
scatter of the replicates is the uncertainty from counting, of scatter windows included, for any algorithm. It
says nothing of calibration, attenuation or resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent, OutOfDomain

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class CountingUncertainty:
    """Scatter of the bootstrap replicates, in the unit of the reconstructed image.

    Attributes
    ----------
    sigma : float32 (z, y, x), standard deviation of each voxel
    mean : float32 (z, y, x), mean of the replicates
    regions : names in the order of the arrays below
    region_means : (replicates, regions), each replicate's mean over each region
    replicates : float32 (replicates, z, y, x)
    """

    sigma: Float32
    mean: Float32
    regions: tuple[str, ...]
    region_means: Float64
    replicates: Float32

    @property
    def covariance(self) -> Float64:
        """(regions, regions) covariance of the regions' means."""
        return np.atleast_2d(np.cov(self.region_means, rowvar=False, ddof=1))

    @property
    def region_sigma(self) -> dict[str, float]:
        """Standard deviation of each region's mean."""
        return dict(zip(self.regions, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))

    @property
    def own_error(self) -> float:
        """Relative standard error of the standard deviations themselves, 1 / sqrt(2 (replicates - 1))."""
        return 1.0 / sqrt(2.0 * (len(self.replicates) - 1))


def bootstrap(
    reconstruct: Callable[[Counts], Float32],
    counts: npt.NDArray[np.integer],
    *,
    replicates: int,
    seed: int,
    regions: Mapping[str, npt.NDArray[np.floating] | npt.NDArray[np.bool_]] | None = None,
) -> CountingUncertainty:
    """Repeat a reconstruction on redrawn counts.

    Parameters
    ----------
    reconstruct : counts of all windows (windows, views, axial, transaxial) to an image (z, y, x); it
        estimates scatter from the counts that it is given
    counts : measured, whole numbers
    replicates : at least 2; sigma is known to 16 % with 20
    seed : same seed, same replicates
    regions : name -> mask (z, y, x), or the share of each voxel in the region

    Raises
    ------
    Inconsistent : counts are not whole
    OutOfDomain : fewer than 2 replicates
    """
    if replicates < 2:
        raise OutOfDomain("number of bootstrap replicates", replicates, "", "at least 2")
    if not np.issubdtype(counts.dtype, np.integer):
        raise Inconsistent("only raw whole counts can be drawn anew; these were scaled or corrected before")
    masks = {name: np.asarray(mask, dtype=np.float64) for name, mask in (regions or {}).items()}
    rng = np.random.default_rng(seed)
    first = reconstruct(rng.poisson(counts).astype(np.int32))
    images = np.empty((replicates, *first.shape), np.float32)  # a list and its stack would be twice that
    images[0] = first
    for n in range(1, replicates):
        images[n] = reconstruct(rng.poisson(counts).astype(np.int32))
    means = [[float((image * mask).sum() / mask.sum()) for mask in masks.values()] for image in images]
    return CountingUncertainty(
        images.std(axis=0, ddof=1),
        images.mean(axis=0),
        tuple(masks),
        np.array(means).reshape(replicates, len(masks)),
        images,
    )
