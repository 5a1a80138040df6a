"""Writing raw projections as an NM Image, TOMO (PS3.3 A.5, C.8.4): what ``decode.projections`` reads.

Detectors are the equal, evenly stepped arcs of the views, in their order. Positions are written as Siemens
does where the axis lies at x = 0 (height of the first row, Table Height for the axis), which is what other
software expects; else as the standard has it, each detector's own corner.
"""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import NuclearMedicineImageStorage

from dicomnode.dicom.reference import PatientStudy
from dicomnode.dicom.write.modules import ObjectIdentity, ds_text, encoded, new_object, put_frame_of_reference
from dicomnode.dicom.write.nm_modules import put_energy_windows, put_isotope, put_patient_orientation
from dicomnode.errors import OutOfDomain, Unsupported
from dicomnode.model.projections import Projections

VECTORS = ("EnergyWindowVector", "DetectorVector", "RotationVector", "AngularViewVector")
MOST_COUNTS = 65535


def write_projections(
    projections: Projections, patient: PatientStudy, identity: ObjectIdentity, half_life_s: float
) -> bytes:
    """The projections as one DICOM file, head first supine; the same arguments give the same bytes.

    ``projections.facts`` supply "detectors" (how many arcs the views are; 1 where absent), "manufacturer"
    and "model". Raises Unsupported for arcs that are not evenly stepped or views of different durations,
    OutOfDomain for counts beyond 16 bits.
    """
    views = projections.counts.shape[1]
    detectors = int(projections.facts.get("detectors", "1"))
    step = _step_deg(projections.angle_deg.reshape(detectors, -1) if views % detectors == 0 else None, views)
    if float(np.ptp(projections.seconds)) > 1e-3:
        raise Unsupported("views of different durations cannot be written as one rotation")
    ds = new_object(NuclearMedicineImageStorage, "NM", patient, identity)
    put_frame_of_reference(ds, patient)
    start = projections.started_at
    ds.Laterality = ""
    ds.TimezoneOffsetFromUTC = f"{start:%z}"[:5]
    ds.AcquisitionDate, ds.AcquisitionTime = f"{start:%Y%m%d}", f"{start:%H%M%S.%f}"
    ds.Manufacturer = projections.facts.get("manufacturer", ds.Manufacturer)
    ds.ManufacturerModelName = projections.facts.get("model", ds.ManufacturerModelName)
    ds.ImageType, ds.ImageID = ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"], "TOMO"
    ds.PixelSpacing = [ds_text(projections.pixel_mm[1]), ds_text(projections.pixel_mm[0])]
    ds.AcquisitionTerminationCondition, ds.CountsAccumulated = "TIME", int(projections.counts.sum())
    put_patient_orientation(ds, "HFS")
    put_energy_windows(ds, projections.windows)
    put_isotope(ds, projections.nuclide, half_life_s)
    _put_orbit(ds, projections, detectors, step)
    _put_frames(ds, projections, detectors)
    return encoded(ds)


def _step_deg(arcs: np.ndarray | None, views: int) -> float:
    """The one step of all arcs, degrees about the patient (negative: CW)."""
    if arcs is None:
        raise Unsupported(f"{views} views are not equal arcs of the detectors")
    steps = -((np.diff(arcs, axis=1) + 180.0) % 360.0 - 180.0)  # the noun's angle is 90 minus the patient's
    if steps.size == 0 or np.abs(steps - steps.flat[0]).max() > 1e-3 or abs(steps.flat[0]) < 1e-3:
        raise Unsupported("the views are not evenly stepped arcs", attribute="AngularStep")
    return float(steps.mean())


def _put_orbit(ds: Dataset, projections: Projections, detectors: int, step_deg: float) -> None:
    """NM Detector (C.8.4.11) and NM TOMO Acquisition (C.8.4.12) modules."""
    starts = ((90.0 - projections.angle_deg.reshape(detectors, -1)[:, 0]) % 360.0).tolist()
    radii = projections.radius_mm.reshape(detectors, -1)
    grid = projections.grid
    x, y, top = (float(v) for v in grid.to_patient_mm(
        [(grid.shape_zyx[2] - 1) / 2, (grid.shape_zyx[1] - 1) / 2, grid.shape_zyx[0] - 1]))  # fmt: skip
    items = []
    for start, orbit in zip(starts, radii, strict=True):
        item, t = Dataset(), radians(start)
        item.CollimatorGridName, item.CollimatorType = projections.collimator[:16], "PARA"
        item.FocalDistance, item.StartAngle = 0, ds_text(start)
        item.RadialPosition = [ds_text(float(r)) for r in orbit]
        item.CenterOfRotationOffset = "0"
        half = (grid.shape_zyx[2] - 1) / 2 * grid.spacing_mm[0]
        corner = (
            x + float(orbit[0]) * sin(t) + half * cos(t), y + float(orbit[0]) * cos(t) - half * sin(t), top,
        )  # fmt: skip
        place = (0.0, 0.0, top) if abs(x) < 1e-6 else corner
        item.ImagePositionPatient = [ds_text(round(v, 6)) for v in place]
        item.ImageOrientationPatient = [ds_text(round(v, 9)) for v in (-cos(t), sin(t), 0, 0, 0, -1)]
        items.append(item)
    ds.NumberOfDetectors, ds.DetectorInformationSequence = detectors, items
    turn, views = Dataset(), radii.shape[1]
    turn.StartAngle, turn.AngularStep = ds_text(starts[0]), ds_text(abs(step_deg))
    turn.RotationDirection = "CW" if step_deg < 0 else "CC"
    turn.ScanArc = ds_text(abs(step_deg) * views)
    turn.ActualFrameDuration = round(float(projections.seconds[0]) * 1000)
    turn.NumberOfFramesInRotation, turn.TableHeight, turn.TableTraverse = views, ds_text(round(-y, 6)), "0"
    ds.NumberOfRotations, ds.RotationInformationSequence = 1, [turn]
    ds.TypeOfDetectorMotion = "STEP AND SHOOT"


def _put_frames(ds: Dataset, projections: Projections, detectors: int) -> None:
    """Frames with the head on top, and the vectors that number them."""
    counts = projections.counts
    if counts.max() > MOST_COUNTS:
        raise OutOfDomain("the fullest pixel", int(counts.max()), "counts", f"up to {MOST_COUNTS} (16 bits)")
    windows, views, rows, columns = counts.shape
    each = views // detectors
    keys = [
        (w, v // each + 1, 1, v % each + 1) for w in range(1, windows + 1) for v in range(views)
    ]  # fmt: skip
    ds.NumberOfFrames = len(keys)
    ds.FrameIncrementPointer = [Tag(keyword) for keyword in VECTORS]
    for keyword, vector in zip(VECTORS, zip(*keys, strict=True), strict=True):
        setattr(ds, keyword, list(vector))
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    frames = np.ascontiguousarray(counts.reshape(-1, rows, columns)[:, ::-1], dtype="<u2")
    ds.add_new("PixelData", "OW", frames.tobytes())
