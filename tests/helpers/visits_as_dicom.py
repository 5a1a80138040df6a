"""Volumes as DICOM objects of one visit: the emission as NM or PT, its CT, the regions as SEG on that CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydicom import Dataset

from dicomnode.dicom.write.scans import (
    Acquisition,
    Equipment,
    SegmentCode,
    Subject,
    ct_series,
    nm_recon_tomo,
    pt_series,
    segmentation,
)
from dicomnode.model import ActivityMap, Administration, HuMap, LabelMap
from dicomnode.simulation.objects import uid

REGION = SegmentCode(("91723000", "SCT", "Anatomical Structure"), ("52988006", "SCT", "Lesion"))


def write_visit(
    folder: Path,
    patient_id: str,
    given: Administration,
    at: datetime,
    activity: ActivityMap,
    *,
    ct: HuMap | None = None,
    regions: LabelMap | None = None,
    emission: Literal["NM", "NM counts", "PT"] = "PT",
    duration_s: float = 1200.0,
) -> list[Path]:
    """Write one visit below ``folder``; regions lie on the grid of the CT, or of the PT where there is no CT.
    Returns the files in order."""
    key = (patient_id, at.isoformat())
    subject = Subject(patient_id, f"{patient_id}^TEST", "19600101", "O")
    spect = Acquisition(
        study_uid=uid(*key, "study"),
        series_uid=uid(*key, "emission"),
        frame_of_reference_uid=uid(*key, "frame"),
        started_at=at,
        duration_s=duration_s,
        study_description="test",
        series_description=emission,
        equipment=Equipment("TEST", "ENCODER"),
    )
    objects: list[Dataset] = []
    if emission == "PT":
        objects += pt_series(
            activity, subject=subject, acquisition=spect, administration=given, uid_of=_numbered(spect)
        )
    else:
        unit: Literal["counts", "Bq/ml"] = "counts" if emission == "NM counts" else "Bq/ml"
        objects.append(
            nm_recon_tomo(
                activity.grid,
                activity.bq_per_ml,
                unit,
                subject=subject,
                acquisition=spect,
                administration=given,
                sop_instance_uid=uid(spect.series_uid, 0),
            )
        )
    if ct is not None:
        about = replace(
            spect,
            series_uid=uid(*key, "ct"),
            series_number=2,
            started_at=at - timedelta(minutes=5),
            series_description="CT",
        )
        slices = ct_series(ct, subject=subject, acquisition=about, uid_of=_numbered(about))
        objects += slices
    if regions is not None:
        drawn_on = slices if ct is not None else list(objects)
        objects.append(_regions(drawn_on, regions, replace(spect, series_uid=uid(*key, "seg"))))
    return _written(folder, objects)


def _numbered(acquisition: Acquisition):
    return lambda k: uid(acquisition.series_uid, k)


def _regions(slices: Sequence[Dataset], regions: LabelMap, about: Acquisition) -> Dataset:
    return segmentation(
        regions,
        slices,
        dict.fromkeys(regions.names, REGION),
        acquisition=replace(about, series_number=3, series_description="regions"),
        sop_instance_uid=uid(about.series_uid, 0),
        dimension_uid=uid(about.series_uid, "dimensions"),
    )


def _written(folder: Path, objects: Sequence[Dataset]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(objects):
        paths.append(folder / f"{ds.Modality}{number:04d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths
