"""The counting noise of a SPECT that this node reconstructed, as it comes back from the PACS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dicomnode.dicom.header.dataset import quiet
from dicomnode.dicom.volumes.parametric_map import read_map
from dicomnode.dicom.write.parametric_map import ACTIVITY_NOISE
from dicomnode.errors import Inconsistent
from dicomnode.model import CountingNoise, Grid


@quiet()
def read_activity_noise(paths: Sequence[Path], grid: Grid) -> CountingNoise:
    """Replicates of a series, in whatever order, on the grid of the image whose noise it is.

    Raises
    ------
    Refused : another unit or scale
    Inconsistent : fewer than two replicates, or they do not lie on voxels of ``grid``
    MissingAttribute, Unsupported : where they lie in the patient is not stated or not regular
    """
    boxes, replicates = [], []
    for path in paths:
        box, values = read_map(path, ACTIVITY_NOISE)
        boxes.append(box)
        replicates.append(values)
    if len(boxes) < 2 or not all(box.matches(boxes[0]) for box in boxes):
        raise Inconsistent(
            f"{len(boxes)} replicates that lie in one place are needed, two at least",
            remedy="Send the whole series of the noise, or remove it",
        )
    return CountingNoise.on(grid, boxes[0], np.stack(replicates))
