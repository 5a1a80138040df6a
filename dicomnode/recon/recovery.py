"""Recovery of a region in this patient's image: by the record's curve, or by inserting it in the projections.

Where the prior's weight or the stop follow the counts of the scan, resolution does too, and a phantom's curve
does not apply. Then the region's own shape, filled with its own measured concentration, is added to the
projections, everything is reconstructed again with the choices that were made, and the gain is compared with
what was put in. It costs two reconstructions a region.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dicomnode.errors import Inconsistent
from dicomnode.recon.algorithms.measurement import Measurement
from dicomnode.recon.scan import Scan
from dicomnode.recon.selection import Image


@dataclass(frozen=True)
class LocalRecovery:
    """What an insert gave.

    Attributes
    ----------
    coefficient : counts gained within the region over counts inserted
    volume_ml : of the region
    inserted_fraction : inserted concentration over what the image had there
    """

    coefficient: float
    volume_ml: float
    inserted_fraction: float


def local_recovery(
    scan: Scan, image: Image, share: npt.NDArray[np.floating] | npt.NDArray[np.bool_], fraction: float = 1.0
) -> LocalRecovery:
    """Recovery of a region (z, y, x; the share of each voxel that it fills) in this scan.

    The insert has ``fraction`` times the region's mean in the image and no noise of its own: noise would only
    blur the difference of two images that share all other noise. Its answer is that of a small change about
    the image, which for OSEM and MAP depends on the contrast; so it should be as hot as the region is.

    Raises
    ------
    Inconsistent : an empty region, one without activity, or another shape
    """
    weight = torch.from_numpy(np.asarray(share, dtype=np.float32))
    if weight.shape != image.counts.shape or not bool((weight > 0).any()):
        raise Inconsistent(f"the region {tuple(weight.shape)} is empty or of another shape than the image")
    mean = float((image.counts * weight).sum() / weight.sum())
    if mean <= 0:
        raise Inconsistent("the region has no activity in the image, so no insert can be like it")
    insert = weight * (fraction * mean)
    more = Measurement(scan.data.counts + scan.model.forward(insert).clamp_min(0.0), scan.data.scatter)
    gained = ((image.repeat(more) - image.repeat(scan.data)) * weight).sum() / (insert * weight).sum()
    z, y, x = scan.voxel_mm
    return LocalRecovery(float(gained), float(weight.sum()) * x * y * z / 1000.0, fraction)
