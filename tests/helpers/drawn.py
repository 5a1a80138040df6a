"""An RTSTRUCT drawn on the CT of a time point of the tiny patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from tests.faults.tiny import CT, uid

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
Contours = Sequence[npt.NDArray[np.float64]]


def box(center: Sequence[float], half: Sequence[float]) -> list[npt.NDArray[np.float64]]:
    """Square contours in the planes of the CT that lie within a box, mm."""
    (x, y, z), (a, b, c) = center, half
    planes = CT.origin_mm[2] + CT.spacing_mm[2] * np.arange(CT.shape_zyx[0])
    corners = ((x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b))
    return [np.array([(u, v, w) for u, v in corners]) for w in planes[np.abs(planes - z) <= c]]


def drawn_on(
    slices: Sequence[Dataset],
    regions: Mapping[str, Contours] | Sequence[tuple[str, Contours]],
    *,
    name: str = "structures",
    at: str = "20260303 120000",
    numbers: Sequence[int] = (),
) -> Dataset:
    """A structure set that refers to every slice; ``numbers``: ROI Numbers, 1, 2, ... where not given."""
    pairs = list(regions.items()) if isinstance(regions, Mapping) else list(regions)
    numbers = numbers or range(1, len(pairs) + 1)
    ct = slices[0]
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = RTSTRUCT, "RTSTRUCT"
    ds.SOPInstanceUID, ds.SeriesInstanceUID = uid(name, at, "object"), uid(name, at, "series")
    for kept in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(ds, kept, ct.get(kept))
    ds.SeriesDescription = ds.StructureSetLabel = name
    ds.StructureSetDate, ds.StructureSetTime = at.split()
    ds.ReferencedFrameOfReferenceSequence = Items([_frame(slices)])
    ds.StructureSetROISequence = Items(
        _item(ROINumber=n, ROIName=label, ReferencedFrameOfReferenceUID=ct.FrameOfReferenceUID)
        for n, (label, _) in zip(numbers, pairs, strict=True)
    )
    ds.ROIContourSequence = Items(
        _item(ReferencedROINumber=n, ContourSequence=Items(_contour(c) for c in contours))
        for n, (_, contours) in zip(numbers, pairs, strict=True)
    )
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = RTSTRUCT
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def _item(**values: object) -> Dataset:
    ds = Dataset()
    for key, value in values.items():
        setattr(ds, key, value)
    return ds


def _contour(points: npt.NDArray[np.float64]) -> Dataset:
    return _item(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
        ContourData=[f"{v:.4f}" for v in points.ravel()],
    )


def _frame(slices: Sequence[Dataset]) -> Dataset:
    """The frame of reference of the slices, with their series (PS3.3 C.8.8.5)."""
    images = Items(
        _item(ReferencedSOPClassUID=s.SOPClassUID, ReferencedSOPInstanceUID=s.SOPInstanceUID) for s in slices
    )
    series = _item(SeriesInstanceUID=slices[0].SeriesInstanceUID, ContourImageSequence=images)
    study = _item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=slices[0].StudyInstanceUID,
        RTReferencedSeriesSequence=Items([series]),
    )
    return _item(FrameOfReferenceUID=slices[0].FrameOfReferenceUID, RTReferencedStudySequence=Items([study]))
