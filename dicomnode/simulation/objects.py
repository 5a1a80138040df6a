"""A simulated patient as DICOM files, and its truth as plain files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicomnode.dicom.write.scans import (
    Acquisition,
    Equipment,
    SegmentCode,
    Subject,
    UidOf,
    ct_series,
    nm_recon_tomo,
    pt_series,
    segmentation,
)
from dicomnode.model import Grid
from dicomnode.simulation.patient import SimulatedPatient
from dicomnode.simulation.scanner import REFERENCE_HOURS, SimulatedScan, regions_on

Emission = Literal["Bq/ml", "counts", "pt"]
"""How the SPECT is written: NM with Real World Value Mapping, NM in counts, or PT single frames."""

ORGAN = ("91723000", "SCT", "Anatomical Structure")
LESION = ("49755003", "SCT", "Morphologically Abnormal Structure")
CODES: Mapping[str, SegmentCode] = {
    "liver": SegmentCode(ORGAN, ("10200004", "SCT", "Liver")),
    "spleen": SegmentCode(ORGAN, ("78961009", "SCT", "Spleen")),
    "kidney left": SegmentCode(ORGAN, ("64033007", "SCT", "Kidney")),
    "kidney right": SegmentCode(ORGAN, ("64033007", "SCT", "Kidney")),
    "lesion liver": SegmentCode(LESION, ("52988006", "SCT", "Lesion")),
    "lesion bone": SegmentCode(LESION, ("52988006", "SCT", "Lesion")),
}


def uid(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that the same words always give."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def datasets(
    patient: SimulatedPatient, scans: Sequence[SimulatedScan], *, emission: Emission = "Bq/ml"
) -> Iterator[tuple[str, Dataset]]:
    """File name and data set of every object: per scan the SPECT and its CT; for the reference scan a
    SEG. Same patient, scans and ``emission``: same bytes."""
    for number, scan in enumerate(scans, 1):
        folder = f"T{number}_{scan.hours:g}h"
        spect, ct = _acquisitions(patient, scan, number, emission)
        for index, ds in enumerate(_emission(patient, scan, spect, emission)):
            yield f"{folder}/{'PT' if emission == 'pt' else 'NM'}{index:04d}.dcm", ds
        slices = ct_series(scan.ct, subject=subject(patient), acquisition=ct, uid_of=_numbered(ct.series_uid))
        for index, ds in enumerate(slices):
            yield f"{folder}/CT{index:04d}.dcm", ds
        if scan.hours == REFERENCE_HOURS:
            yield f"{folder}/SEG.dcm", _organs(patient, scan, slices, ct)


def write_dicom(
    patient: SimulatedPatient,
    scans: Sequence[SimulatedScan],
    folder: Path,
    *,
    emission: Emission = "Bq/ml",
) -> list[Path]:
    """Write ``datasets`` below ``folder``; returns the files in order."""
    written = []
    for name, ds in datasets(patient, scans, emission=emission):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ds.save_as(path, enforce_file_format=True)
        written.append(path)
    return written


UNITS = {"tia.mha": "MBq s/mL", "density.mha": "g/cm3", "ct.mha": "HU", "labels.mha": "label"}
"""Of the files of the truth, in the field by which the commands know them."""


def write_truth(patient: SimulatedPatient, folder: Path) -> list[Path]:
    """Write the truth: TIA (MBq s/mL), density (g/cm3), CT (HU) and labels as MetaImage, the organs' masses
    and time-activity curves as JSON; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(patient.grid.shape_zyx, dtype=np.uint8)
    for value, mask in enumerate(patient.regions.masks.values(), 1):
        labels[mask] = value
    volumes: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.uint8]] = {
        "tia.mha": patient.tia().mbq_s_per_ml,
        "density.mha": patient.density.g_per_cm3,
        "ct.mha": patient.ct.hu,
        "labels.mha": labels,
    }
    for name, array in volumes.items():
        _write_metaimage(array, patient.grid, folder / name, UNITS[name])
    (folder / "truth.json").write_text(json.dumps(truth(patient), indent=2) + "\n")
    return [*(folder / name for name in volumes), folder / "truth.json"]


def truth(patient: SimulatedPatient) -> dict[str, object]:
    """What is known of a patient, as JSON would hold it; labels are numbered from 1."""
    regions = {
        name: {
            "label": value,
            "volume_ml": patient.regions.voxel_volume_ml(name),
            "mass_g": patient.mass_g(name),
            "tia_mbq_s": patient.curves[name].tia_mbq_s,
            "amplitudes_mbq": patient.curves[name].amplitudes_mbq,
            "half_lives_h": patient.curves[name].half_lives_h,
        }
        for value, name in enumerate(patient.regions.names, 1)
    }
    rest = patient.curves["remainder"]
    return {
        "seed": patient.seed,
        "nuclide": patient.administration.nuclide,
        "administered_mbq": patient.administration.activity_mbq,
        "administered_at": patient.administration.at.isoformat(),
        "regions": regions,
        "remainder": {"amplitudes_mbq": rest.amplitudes_mbq, "half_lives_h": rest.half_lives_h},
    }


def subject(patient: SimulatedPatient) -> Subject:
    """An invented person."""
    return Subject(f"DEMO-{patient.seed:04d}", "DEMO^TORSO", "19600101", "M")


def _acquisitions(
    patient: SimulatedPatient, scan: SimulatedScan, number: int, emission: Emission
) -> tuple[Acquisition, Acquisition]:
    """Study of one visit: the SPECT, and the CT taken five minutes before it, in one frame of reference."""
    key = (
        "dicomnode simulation",
        patient.seed,
        patient.size,
        scan.hours,
        scan.seed,
        emission,
        _content(scan),
    )
    made_by = Equipment("dicomnode", "SIMULATED SPECT/CT", f"SIM{number}", f"{patient.seed}", "1")

    def acquisition(what: str, series: int, minutes: float, duration_s: float, text: str) -> Acquisition:
        return Acquisition(
            study_uid=uid(*key, "study"),
            series_uid=uid(*key, what),
            frame_of_reference_uid=uid(*key, "frame"),
            started_at=scan.acquired_at + timedelta(minutes=minutes),
            duration_s=duration_s,
            study_id=f"{number}",
            study_description="177Lu-DOTATATE SPECT/CT",
            series_description=text,
            series_number=series,
            equipment=made_by,
        )

    spect = acquisition("spect", 2, 0.0, scan.duration_s, f"SPECT {scan.hours:g} h {emission.upper()}")
    return spect, acquisition("ct", 1, -5.0, 20.0, f"CT {scan.hours:g} h")


def _content(scan: SimulatedScan) -> str:
    """Digest of the images: under the same seeds, poses and noise give others, with UIDs of their own."""
    digest = hashlib.sha256()
    for image in (scan.counts, scan.activity.bq_per_ml, scan.ct.hu):
        digest.update(np.ascontiguousarray(image, "<f4").tobytes())
    digest.update(repr((scan.activity.grid, scan.ct.grid, scan.acquired_at, scan.duration_s)).encode())
    return digest.hexdigest()


def _numbered(series_uid: str) -> UidOf:
    return lambda k: uid(series_uid, k)


def _emission(
    patient: SimulatedPatient, scan: SimulatedScan, spect: Acquisition, emission: Emission
) -> list[Dataset]:
    who, given = subject(patient), patient.administration
    if emission == "pt":
        uid_of = _numbered(spect.series_uid)
        return pt_series(scan.activity, subject=who, acquisition=spect, administration=given, uid_of=uid_of)
    values = scan.activity.bq_per_ml if emission == "Bq/ml" else _whole(scan.counts, scan.seed)
    return [
        nm_recon_tomo(
            scan.activity.grid,
            values,
            emission,
            subject=who,
            acquisition=spect,
            administration=given,
            sop_instance_uid=uid(spect.series_uid, 0),
        )
    ]


def _whole(counts: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Counts rounded up or down by chance, so that faint regions keep their mean."""
    rng = np.random.default_rng([seed, 16])
    return np.asarray(np.floor(counts + rng.random(counts.shape, dtype=np.float32)))


def _organs(
    patient: SimulatedPatient, scan: SimulatedScan, slices: list[Dataset], ct: Acquisition
) -> Dataset:
    from dataclasses import replace

    series_uid = uid(ct.series_uid, "seg")
    own = replace(ct, series_uid=series_uid, series_number=3, series_description="organs and lesions")
    return segmentation(
        regions_on(patient, scan.ct.grid),
        slices,
        dict(CODES),
        acquisition=own,
        sop_instance_uid=uid(series_uid, 0),
        dimension_uid=uid(series_uid, "dimensions"),
    )


def _write_metaimage(
    array: npt.NDArray[np.float32] | npt.NDArray[np.uint8], grid: Grid, path: Path, unit: str
) -> None:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    image.SetMetaData("unit", unit)
    sitk.WriteImage(image, str(path), useCompression=True)
