"""Modules that NM and PET objects share when written: isotope, energy windows, patient orientation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydicom.dataset import Dataset

from dicomnode.dicom.write.modules import code, ds_text
from dicomnode.model.projections import EnergyWindow
from dicomnode.physics.nuclide_names import code_of_nuclide


def put_isotope(
    ds: Dataset,
    nuclide: str,
    half_life_s: float,
    agent: str = "",
    total_dose: float | None = None,
    administered_at: datetime | None = None,
) -> None:
    """Radiopharmaceutical Information Sequence; ``total_dose`` in the unit of the object's class (PET Bq,
    NM MBq). The instant is written with its offset (0018,1078); what is not known is left out."""
    item = Dataset()
    item.Radiopharmaceutical = agent or nuclide
    item.RadionuclideHalfLife = ds_text(half_life_s)
    if total_dose is not None:
        item.RadionuclideTotalDose = ds_text(total_dose)
    if administered_at is not None:
        item.RadiopharmaceuticalStartDateTime = f"{administered_at:%Y%m%d%H%M%S.%f%z}"
        item.RadiopharmaceuticalStartTime = f"{administered_at:%H%M%S}"
    item.RadionuclideCodeSequence = [code(*code_of_nuclide(nuclide))]
    ds.RadiopharmaceuticalInformationSequence = [item]


def put_energy_windows(ds: Dataset, windows: Sequence[EnergyWindow]) -> None:
    """NM Isotope module: windows with all their ranges, keV (PS3.3 C.8.4.10)."""
    items = []
    for window in windows:
        item = Dataset()
        item.EnergyWindowName = window.name[:16]
        item.EnergyWindowRangeSequence = [_range(low, high) for low, high in window.ranges_kev]
        items.append(item)
    ds.NumberOfEnergyWindows, ds.EnergyWindowInformationSequence = len(items), items


def _range(low_kev: float, high_kev: float) -> Dataset:
    item = Dataset()
    item.EnergyWindowLowerLimit, item.EnergyWindowUpperLimit = ds_text(low_kev), ds_text(high_kev)
    return item


def put_patient_orientation(ds: Dataset, position: str) -> None:
    """NM/PET Patient Orientation module (PS3.3 C.8.4.6; CID 19, 20, 21) of HFS, HFP, FFS or FFP."""
    supine, head = position.endswith("S"), position.startswith("HF")
    posture = code("102538003", "SCT", "recumbent")
    way = ("40199007", "SCT", "supine") if supine else ("1240000", "SCT", "prone")
    posture.PatientOrientationModifierCodeSequence = [code(*way)]
    ds.PatientOrientationCodeSequence = [posture]
    first = ("102540008", "SCT", "headfirst") if head else ("102541007", "SCT", "feet-first")
    ds.PatientGantryRelationshipCodeSequence = [code(*first)]
