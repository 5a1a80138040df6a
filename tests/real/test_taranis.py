"""90Y PET after radioembolisation (Taranis, MIT licence), NRRD: turned into PT and SEG and sent through a
node. Expected activities: README of the set. Its scan time is unknown; 4 h is ours."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.model import ActivityMap, Administration, Grid, LabelMap
from tests.helpers.visits_as_dicom import write_visit

GIVEN = Administration("Y-90", 1400.0, datetime(2026, 3, 2, 9, 0, tzinfo=ZoneInfo("Europe/Istanbul")))
HOURS = 4.0
HALF_LIFE_H = 64.1
GY_KG_PER_GBQ = 49.7
"""All decays of 1 GBq of 90Y in 1 kg: 0.933 MeV x 64.1 h / ln 2."""

CONFIG = """
[tia]
method = "stp-physical"
time_point_hours = 4.0
"""


def read_set(folder: Path) -> tuple[ActivityMap, LabelMap]:
    import SimpleITK as sitk  # noqa: N813

    pet = sitk.ReadImage(str(folder / "patient_1_Y90_PET.nrrd"))
    grid = Grid(pet.GetSize()[::-1], pet.GetSpacing(), pet.GetOrigin(), pet.GetDirection())
    activity = ActivityMap(grid, np.clip(sitk.GetArrayFromImage(pet), 0, None))
    drawn = sitk.ReadImage(str(folder / "patient_1_Segmentation.seg.nrrd"))
    layers = [
        sitk.GetArrayFromImage(
            sitk.Resample(
                sitk.VectorIndexSelectionCast(drawn, layer), pet, sitk.Transform(), sitk.sitkNearestNeighbor
            )
        )
        for layer in range(drawn.GetNumberOfComponentsPerPixel())
    ]
    masks = {}
    for key in drawn.GetMetaDataKeys():
        if not key.endswith("_Name"):
            continue
        segment = key.removesuffix("_Name")
        layer = int(drawn.GetMetaData(f"{segment}_Layer"))
        masks[drawn.GetMetaData(key)] = layers[layer] == int(drawn.GetMetaData(f"{segment}_LabelValue"))
    return activity, LabelMap(grid, masks, {})


def test_doses_are_those_of_local_deposition_by_hand(run_node: Any, shared: Path, tmp_path: Path) -> None:
    activity, regions = read_set(shared / "real/y90_pet_taranis")
    at = GIVEN.at + timedelta(hours=HOURS)
    files = write_visit(tmp_path / "pet", "TARANIS1", GIVEN, at, activity, regions=regions)
    node = run_node(expected=1, cycle='without_ct = "soft-tissue"', more=CONFIG)
    node.store(files)
    done = node.wait("DELIVERED", "HELD", timeout_s=240)
    assert done["cycle"]["state"] == "DELIVERED", done["cycle"]["reasons"]
    assert node.measured("read")["T1"]["total_mbq"] == pytest.approx(1123.0, abs=0.1)

    doses = {o["region"]: o for o in done["organ_doses"]}
    to_administration = 2 ** (HOURS / HALF_LIFE_H)
    for region, volume_ml, mbq in (
        ("Liver", 1488.5, 1049.6),
        ("Tumor 1", 15.6, 22.5),
        ("Tumor 2", 209.6, 727.2),
        ("Normal Tissue", 1265.2, 295.1),
    ):
        dose = doses[region]
        assert dose["volume_ml"] == pytest.approx(volume_ml, rel=0.005)
        by_hand_mbq_s = mbq * to_administration * HALF_LIFE_H * 3600 / np.log(2)
        assert dose["tia_mbq_s"] == pytest.approx(by_hand_mbq_s, rel=0.01)
    for region, keeps in (("Liver", 0.05), ("Tumor 2", 0.08), ("Tumor 1", 0.15)):
        dose = doses[region]
        at_administration_gbq = dose["tia_mbq_s"] / 1000 / (HALF_LIFE_H * 3600 / np.log(2))
        local_gy = at_administration_gbq * GY_KG_PER_GBQ / (dose["mass_g"] / 1000)
        # beta rays of up to 11 mm leave and enter at the surface
        assert dose["mean_gy"] == pytest.approx(local_gy, rel=keeps), region
    # all energy stays in the field of view, but for rays that leave at its faces
    whole = doses["body"]
    energy_gy_kg = whole["mean_gy"] * whole["mass_g"] / 1000
    decays_gbq = whole["tia_mbq_s"] / 1000 / (HALF_LIFE_H * 3600 / np.log(2))
    assert energy_gy_kg == pytest.approx(decays_gbq * GY_KG_PER_GBQ, rel=0.005)
    # one scan and physical decay alone: the site's 50 % is in every uncertainty; the contour of a small
    # tumour adds its mass to that of its activity (tumour 3 of 0.21 mL: 0.84)
    relative = {o["region"]: o["sigma_gy"] / o["mean_gy"] for o in done["organ_doses"]}
    assert all(0.5 < u < 0.9 for u in relative.values())
    assert all(relative[large] < 0.52 for large in ("Liver", "Normal Tissue", "Tumor 1", "Tumor 2"))
    (dose,) = (d for d in map(dcmread, node.pacs.received.values()) if d.Modality == "RTDOSE")
    assert dose.pixel_array.max() * float(dose.DoseGridScaling) == pytest.approx(whole["max_gy"], rel=1e-6)
