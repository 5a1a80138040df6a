"""The counting noise of a SPECT that this node reconstructed, as it comes back from the PACS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.dataset import Attributes, open_object, quiet
from dicomnode.dicom.volumes.enhanced import Frame, frames_of
from dicomnode.dicom.volumes.pixels import matrix
from dicomnode.dicom.volumes.stack import stack
from dicomnode.dicom.write.parametric_map import ACTIVITY_NOISE
from dicomnode.errors import Inconsistent, Refused
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
        box, values = _replicate(open_object(path, pixels=True))
        boxes.append(box)
        replicates.append(values)
    if len(boxes) < 2 or not all(box.matches(boxes[0]) for box in boxes):
        raise Inconsistent(
            f"{len(boxes)} replicates that lie in one place are needed, two at least",
            remedy="Send the whole series of the noise, or remove it",
        )
    return CountingNoise.on(grid, boxes[0], np.stack(replicates))


def _replicate(obj: Attributes) -> tuple[Grid, npt.NDArray[np.float32]]:
    frames = list(frames_of(obj))
    _check_unit(frames[0], obj.uid)
    rows, columns = matrix(obj)
    content = obj.value("FloatPixelData")
    if not isinstance(content, bytes) or len(content) != 4 * len(frames) * rows * columns:
        raise Inconsistent(
            f"float pixels do not fill {len(frames)} frames of {rows} x {columns}",
            attribute="FloatPixelData", uid=obj.uid, remedy="Send it again, whole",
        )  # fmt: skip
    box, order, _ = stack([frame.plane() for frame in frames], (rows, columns), obj.uid)
    return box, np.frombuffer(content, "<f4").reshape(len(frames), rows, columns)[order]


def _check_unit(frame: Frame, uid: str) -> None:
    mapping = frame.group("RealWorldValueMappingSequence")
    unit = mapping.first("MeasurementUnitsCodeSequence").text("CodeValue")
    scale = (mapping.number("RealWorldValueSlope"), mapping.number("RealWorldValueIntercept"))
    if unit != ACTIVITY_NOISE.unit[0] or scale != (1.0, 0.0):
        raise Refused(
            f"the map holds {unit or 'no unit'} with slope and intercept {scale}; such is not written here",
            attribute="RealWorldValueMappingSequence", uid=uid, remedy="Remove it, and send the SPECT alone",
        )  # fmt: skip
