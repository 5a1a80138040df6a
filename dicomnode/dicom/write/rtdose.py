"""Writing absorbed dose as RT Dose Storage (PS3.3 A.18.3, C.8.8.3), as readers really take it.

32 bits by default: with a hot spot of 100 Gy a 16-bit step is 1.5 mGy. Frame offsets are relative and
rise from 0 along row x column, the one form that every reader tried understands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomnode.dicom.reference import PatientStudy, SourceImage
from dicomnode.dicom.write.modules import (
    SOURCE_IMAGE,
    SUPERSEDED,
    ObjectIdentity,
    ds_text,
    encoded,
    new_object,
    put_common_references,
    put_frame_of_reference,
    reference,
)
from dicomnode.errors import Inconsistent
from dicomnode.model import DoseMap, Grid

RT_DOSE_STORAGE = "1.2.840.10008.5.1.4.1.1.481.2"

NEGATIVE_TOLERANCE = 1e-4
"""Dose below zero by more than this fraction of the maximum is no rounding of an FFT: noise, or a fault."""
NEGATIVE_SIGMAS = 10.0
"""Dose below zero by more than so many of its own standard uncertainties is no noise: a fault."""


def write_rtdose(
    dose: DoseMap,
    patient: PatientStudy,
    identity: ObjectIdentity,
    *,
    bits: Literal[16, 32] = 32,
    plan: SourceImage | None = None,
    sources: Sequence[SourceImage] = (),
    supersedes: SourceImage | None = None,
    dose_type: Literal["PHYSICAL", "EFFECTIVE"] = "PHYSICAL",
    heterogeneity: Literal["IMAGE", "WATER", ""] = "",
    spatial_transform: Literal["NONE", "RIGID", "NON_RIGID"] = "NONE",
    registrations: Sequence[SourceImage] = (),
    comment: str = "",
) -> bytes:
    """The dose as a DICOM file; the same arguments give the same bytes.

    Parameters
    ----------
    dose : what is written is ``dose.gy``; voxels that noise left below zero become zero, because stored
        values are unsigned (PS3.3 C.8.8.3, Pixel Representation), and ``raised_share`` says how much that
        adds. For ``dose_type`` "EFFECTIVE" it holds a radiobiologically weighted dose (BED, EQD2), still in
        Gy (PS3.3 C.8.8.3, CP-2379)
    patient : of the reference image, whose study and frame of reference the dose joins
    bits : 32, or 16 for a peer that reads no more
    plan : the plan this dose refers to; it must be sent first, a dangling reference is an error to
        planning systems. Without one the object deviates from the standard on purpose: type 1C
        ReferencedRTPlanSequence is required for PLAN, and readers without plans take it so
    sources : the images the dose was made of
    supersedes : the dose of the revision before
    heterogeneity : "IMAGE" where the voxel's own density entered, "WATER" where water was assumed
    spatial_transform : how time points were brought together; other than NONE, ``registrations`` lists
        the registration objects, if any
    comment : engine, nuclide and version; cut at 64 characters (VR LO)

    Raises
    ------
    Inconsistent
        negative dose, or no frame of reference.
    """
    ds = new_object(RT_DOSE_STORAGE, "RTDOSE", patient, identity)
    ds.OperatorsName = ""
    put_frame_of_reference(ds, patient)
    _require_no_fault(dose)
    grid, gy = upright(dose.grid, dose.gy)
    _put_geometry(ds, grid)
    _put_pixels(ds, gy, bits)
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType = "GY", dose_type, "PLAN"
    ds.SpatialTransformOfDose = spatial_transform
    if spatial_transform != "NONE":
        ds.ReferencedSpatialRegistrationSequence = [reference(r) for r in registrations]
    if comment:
        ds.DoseComment = comment[:64]
    if heterogeneity:
        ds.TissueHeterogeneityCorrection = heterogeneity
    if plan is not None:
        ds.ReferencedRTPlanSequence = [reference(plan)]
    _put_references(ds, patient, sources, supersedes, registrations)
    return encoded(ds)


def upright(grid: Grid, values: npt.NDArray[np.float32]) -> tuple[Grid, npt.NDArray[np.float32]]:
    """The same voxels with slices in the order of row x column.

    A left-handed grid has its slices stacked against the normal; the order of frames is turned, so that
    GridFrameOffsetVector can rise from 0 (PS3.3 C.8.8.3.2) without moving any voxel in the patient.
    """
    axes = grid.axes
    normal = np.cross(axes[:, 0], axes[:, 1])
    if float(normal @ axes[:, 2]) > 0:
        return grid, values
    last = grid.to_patient_mm((0, 0, grid.shape_zyx[0] - 1))
    axes[:, 2] *= -1
    turned = Grid(
        grid.shape_zyx,
        grid.spacing_mm,
        (float(last[0]), float(last[1]), float(last[2])),
        tuple(float(a) for a in axes.ravel()),
    )
    return turned, values[::-1]


def _put_geometry(ds: Dataset, grid: Grid) -> None:
    """Image Plane (PS3.3 C.7.6.2) and the frame offsets of RT Dose."""
    nz, ny, nx = grid.shape_zyx
    sx, sy, sz = grid.spacing_mm
    ds.ImagePositionPatient = [ds_text(round(o, 6)) for o in grid.origin_mm]
    ds.ImageOrientationPatient = [ds_text(round(float(a), 9)) for a in grid.axes[:, :2].T.ravel()]
    ds.PixelSpacing = [ds_text(sy), ds_text(sx)]
    ds.SliceThickness = ds_text(sz)
    ds.Rows, ds.Columns, ds.NumberOfFrames = ny, nx, nz
    ds.FrameIncrementPointer = Tag("GridFrameOffsetVector")
    ds.GridFrameOffsetVector = [ds_text(round(k * sz, 6)) for k in range(nz)]


def _put_pixels(ds: Dataset, gy: npt.NDArray[np.float32], bits: int) -> None:
    """Image Pixel (PS3.3 C.7.6.3) and DoseGridScaling."""
    stored, scaling = quantised(gy, bits)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.DoseGridScaling = scaling
    data = stored.tobytes()
    ds.add_new("PixelData", "OW", data + b"\0" * (len(data) % 2))


def raised_share(dose: DoseMap) -> float:
    """What setting voxels below zero to zero adds to the sum over the grid, as a share of it."""
    total = float(dose.gy.sum(dtype=np.float64))
    return -float(np.minimum(dose.gy, 0).sum(dtype=np.float64)) / total if total > 0 else 0.0


def _require_no_fault(dose: DoseMap) -> None:
    """Below zero by no more than rounding and noise."""
    floor = np.maximum(NEGATIVE_TOLERANCE * max(float(dose.gy.max()), 0.0), NEGATIVE_SIGMAS * dose.sigma_gy)
    below = dose.gy < -floor
    if below.any():
        raise Inconsistent(
            "the dose map holds negative dose", attribute="DoseMap.gy",
            value=f"{float(dose.gy[below].min()):.4g} Gy",
            remedy="This is a fault of the dose engine: report it with the calculation's record",
        )  # fmt: skip


def quantised(gy: npt.NDArray[np.float32], bits: int) -> tuple[npt.NDArray[np.unsignedinteger], str]:
    """Stored little-endian integers and the DoseGridScaling text; error at most half a step, none below 0.

    The scaling is rounded *up* at its ninth digit, so that the maximum fits without clipping.
    """
    highest, top = float(gy.max()), 2**bits - 1
    scaling = _rounded_up(highest / top) if highest > 0 else "1e-06"
    step = float(scaling)
    stored = np.empty(gy.shape, dtype=f"<u{bits // 8}")
    for k, frame in enumerate(gy):  # frame by frame: the whole in float64 would be four times the map
        stored[k] = np.clip(np.rint(frame.astype(np.float64) / step), 0, top)
    return stored, scaling


def _rounded_up(value: float) -> str:
    text = f"{value:.9g}"
    return text if float(text) >= value else f"{value * (1 + 1e-8):.9g}"


def _put_references(
    ds: Dataset,
    patient: PatientStudy,
    sources: Sequence[SourceImage],
    supersedes: SourceImage | None,
    registrations: Sequence[SourceImage],
) -> None:
    """The images behind the dose, and the dose that this one replaces."""
    items = [reference(s, SOURCE_IMAGE) for s in sources]
    if supersedes is not None:
        items.append(reference(supersedes, SUPERSEDED))
    if items:
        ds.ReferencedInstanceSequence = items
    everything = [*sources, *registrations, *([supersedes] if supersedes else [])]
    put_common_references(ds, patient.study_uid, everything)
