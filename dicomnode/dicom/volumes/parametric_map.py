"""Reading the Parametric Maps that this node writes (PS3.3 A.75): TIA, uncertainty of dose, noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.dataset import Attributes, open_object, quiet
from dicomnode.dicom.volumes.enhanced import Frame, frames_of
from dicomnode.dicom.volumes.pixels import matrix
from dicomnode.dicom.volumes.stack import stack
from dicomnode.dicom.write.parametric_map import Quantity
from dicomnode.errors import Inconsistent, Refused
from dicomnode.model import Grid


@quiet()
def read_map(path: Path, quantity: Quantity) -> tuple[Grid, npt.NDArray[np.float32]]:
    """Grid and values (z, y, x) of one map, in the unit of ``quantity``.

    Raises
    ------
    Refused : another unit or scale, or another quantity in the same unit
    Inconsistent : its pixels do not fill its frames
    MissingAttribute, Unsupported : where it lies in the patient is not stated or not regular
    """
    obj = open_object(path, pixels=True)
    frames = list(frames_of(obj))
    _check_quantity(frames[0], quantity, obj)
    rows, columns = matrix(obj)
    content = obj.value("FloatPixelData")
    if not isinstance(content, bytes) or len(content) != 4 * len(frames) * rows * columns:
        raise Inconsistent(
            f"float pixels do not fill {len(frames)} frames of {rows} x {columns}",
            attribute="FloatPixelData", uid=obj.uid, remedy="Send it again, whole",
        )  # fmt: skip
    grid, order, _ = stack([frame.plane() for frame in frames], (rows, columns), obj.uid)
    return grid, np.frombuffer(content, "<f4").reshape(len(frames), rows, columns)[order]


def _check_quantity(frame: Frame, quantity: Quantity, obj: Attributes) -> None:
    mapping = frame.group("RealWorldValueMappingSequence")
    unit = mapping.first("MeasurementUnitsCodeSequence").text("CodeValue")
    scale = (mapping.number("RealWorldValueSlope"), mapping.number("RealWorldValueIntercept"))
    if unit != quantity.unit[0] or scale != (1.0, 0.0):
        raise Refused(
            f"the map holds {unit or 'no unit'} with slope and intercept {scale}; such is not written here",
            attribute="RealWorldValueMappingSequence", uid=obj.uid,
            remedy=f"Give the map of {quantity.concept[2].lower()} in {quantity.unit[1]}",
        )  # fmt: skip
    if obj.text("ContentLabel") != quantity.label:
        raise Refused(
            f"the map is labelled {obj.text('ContentLabel') or 'nothing'}, here {quantity.label} is needed",
            attribute="ContentLabel", uid=obj.uid, remedy="Give the map of that quantity",
        )  # fmt: skip
