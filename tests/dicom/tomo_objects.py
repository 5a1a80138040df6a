"""Raw TOMO objects of one point source, made from the words of PS3.3 C.8.4.12 with pydicom alone.

``view_of_point`` is the standard's sentence in numbers: at angle t the detector stands at (sin t, cos t)
(0 at the patient's back, growing towards the left side); seen from it with the head on top, rows run to
the viewer's right, which is (-cos t, sin t).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import generate_uid

NM = "1.2.840.10008.5.1.4.1.1.20"
VECTORS = ["EnergyWindowVector", "DetectorVector", "RotationVector", "AngularViewVector"]
POINTERS = [0x00540010, 0x00540020, 0x00540050, 0x00540090]
LU177 = ((187.56, 229.24), (176.54, 187.46), (229.31, 243.49))
"""Windows of the real 177Lu acquisition in shared/real/spect_raw/nema_lu177_headers, keV."""


def items(*sets: dict[str, Any]) -> Items:
    made = []
    for values in sets:
        ds = Dataset()
        for key, value in values.items():
            setattr(ds, key, value)
        made.append(ds)
    return Items(made)


def view_of_point(
    point_mm: Sequence[float],
    angle_deg: float,
    shape: tuple[int, int],
    pixel_mm: tuple[float, float],
    top_z: float,
) -> np.ndarray:
    """100 counts at the pixel of ``point_mm`` (x left, y posterior, z head), 1 elsewhere in its row."""
    t = np.deg2rad(angle_deg)
    across = -point_mm[0] * np.cos(t) + point_mm[1] * np.sin(t)
    frame = np.zeros(shape, dtype=np.uint16)
    frame[round((top_z - point_mm[2]) / pixel_mm[1]), round((shape[1] - 1) / 2 + across / pixel_mm[0])] = 100
    return frame


def tomo(
    point_mm: Sequence[float] = (42.0, -24.0, 21.0),
    starts: tuple[float, ...] = (180.0, 0.0),
    step: float = 30.0,
    views: int = 6,
    direction: str = "CW",
    shape: tuple[int, int] = (16, 32),
    pixel_mm: tuple[float, float] = (6.0, 6.0),
    top_z: float = 45.0,
    windows: Sequence[Any] = LU177,
    radii: Sequence[float] | None = None,
    **values: Any,
) -> Dataset:
    """An acquisition by detectors that start at ``starts``; window w holds the point's counts times w."""
    ds = Dataset()
    sign = -1 if direction == "CW" else 1
    keys, frames = [], []
    for w in range(1, len(windows) + 1):
        for d, start in enumerate(starts, 1):
            for v in range(1, views + 1):
                keys.append((w, d, 1, v))
                frames.append(
                    w * view_of_point(point_mm, start + sign * (v - 1) * step, shape, pixel_mm, top_z)
                )
    radii = list(radii or [200.0 + 2.0 * v for v in range(views)])
    spans = [w if isinstance(w[0], tuple) else (w,) for w in windows]
    fill = {
        "SOPClassUID": NM, "SOPInstanceUID": generate_uid(), "SeriesInstanceUID": "1.2.3.5",
        "StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.9", "Modality": "NM", "PatientID": "T",
        "PatientName": "Test^Patient", "ImageType": ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"],
        "AcquisitionDate": "20240310", "AcquisitionTime": "101500", "PatientPosition": "HFS",
        "TypeOfDetectorMotion": "STEP AND SHOOT", "PixelSpacing": [pixel_mm[1], pixel_mm[0]],
        "NumberOfFrames": len(frames), "FrameIncrementPointer": POINTERS,
        "NumberOfEnergyWindows": len(windows), "NumberOfDetectors": len(starts), "NumberOfRotations": 1,
        "EnergyWindowInformationSequence": items(*[
            {"EnergyWindowRangeSequence": items(
                *[{"EnergyWindowLowerLimit": low, "EnergyWindowUpperLimit": high} for low, high in span])}
            for span in spans]),
        "RadiopharmaceuticalInformationSequence": items({"RadionuclideCodeSequence": items(
            {"CodeValue": "447553000", "CodingSchemeDesignator": "SCT", "CodeMeaning": "^177^Lutetium"})}),
        "DetectorInformationSequence": items(*[
            {"CollimatorType": "PARA", "CollimatorGridName": "ME", "RadialPosition": radii,
             "StartAngle": start, "ImagePositionPatient": [0, 0, top_z]} for start in starts]),
        "RotationInformationSequence": items(
            {"StartAngle": starts[0], "AngularStep": step, "RotationDirection": direction,
             "ScanArc": step * views, "ActualFrameDuration": 20000, "NumberOfFramesInRotation": views,
             "TableHeight": 0, "TableTraverse": 1000}),
    }  # fmt: skip
    for key, value in (fill | dict(zip(VECTORS, np.array(keys).T.tolist(), strict=True))).items():
        setattr(ds, key, value)
    store(ds, np.stack(frames))
    for key, value in values.items():
        setattr(ds, key, value)
    return ds


def store(ds: Dataset, frames: np.ndarray) -> Dataset:
    ds.Rows, ds.Columns = frames.shape[1:]
    ds.NumberOfFrames = len(frames)
    ds.BitsAllocated = ds.BitsStored = 8 * frames.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(frames.dtype.kind == "i")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PixelData = frames.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def frames_of(ds: Dataset) -> np.ndarray:
    return np.frombuffer(ds.PixelData, dtype=np.uint16).reshape(ds.NumberOfFrames, ds.Rows, ds.Columns).copy()


def keep(ds: Dataset, which: Sequence[int]) -> Dataset:
    """The object with the frames ``which``, in that order, and vectors to match."""
    for keyword in VECTORS:
        vector = list(ds[keyword].value)
        setattr(ds, keyword, [vector[k] for k in which])
    return store(ds, frames_of(ds)[list(which)])
