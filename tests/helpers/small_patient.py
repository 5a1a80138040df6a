"""A small simulated patient as DICOM files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dicomnode.simulation import make_patient, scan
from dicomnode.simulation.objects import write_dicom


def write_small_patient(folder: Path, hours: Sequence[float]) -> dict[float, list[Path]]:
    """Hours -> the files of that visit (NM, CT; SEG at 24 h)."""
    patient = make_patient(7, size="small")
    files = write_dicom(patient, [scan(patient, h, seed=7) for h in hours], folder)
    return {h: [f for f in files if f.parent.name.endswith(f"_{h:g}h")] for h in hours}
