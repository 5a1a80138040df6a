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
    """

    sigma: Float32
    mean: Float32
    regions: tuple[str, ...]
    region_means: Float64

    @property
    def replicates(self) -> int:
        return len(self.region_means)

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
        return 1.0 / sqrt(2.0 * (self.replicates - 1))


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
    mean: Float64 | None = None
    square: Float64 | None = None
    means = np.empty((replicates, len(masks)))
    for n in range(replicates):
        image = reconstruct(rng.poisson(counts).astype(np.int32)).astype(np.float64)
        means[n] = [float((image * mask).sum() / mask.sum()) for mask in masks.values()]
        # Welford's update: one pass, no cancellation.
        if mean is None or square is None:
            mean, square = image, np.zeros_like(image)
        else:
            off = image - mean
            mean = mean + off / (n + 1)
            square = square + off * (image - mean)
    assert mean is not None
    assert square is not None
    sigma = np.sqrt(square / (replicates - 1)).astype(np.float32)
    return CountingUncertainty(sigma, mean.astype(np.float32), tuple(masks), means)
