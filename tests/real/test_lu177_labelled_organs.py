"""177Lu-DOTATATE patient of The Christie (MIT licence): a real CT with organ and tumour labels and the
organs' measured activities, turned into NM and PT, CT and SEG, and sent through a node. Figures: README of
the set."""

from __future__ import annotations

import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dicomnode.model import ActivityMap, Administration, Grid, HuMap, LabelMap
from tests.helpers.visits_as_dicom import write_visit

SPACING_MM = (3.9063, 3.9063, 4.4196)
VOXEL_ML = 0.067441
# label, voxels, kBq/mL at the scan; the last column is ours: the set states one time point only. Half-lives
# as published for 177Lu-DOTATATE (kidneys about 50 h, liver 70 h, spleen 65 h, tumours 90 h).
ORGANS = {
    "liver": (15000, 15381, 100.3, 70.0),
    "spleen": (16000, 1535, 330.4, 65.0),
    "kidney left": (17000, 2052, 225.5, 50.0),
    "kidney right": (18000, 2493, 221.3, 50.0),
    "tumour 1": (19000, 93, 2455.4, 90.0),
    "tumour 2": (20000, 55, 2210.7, 90.0),
    "tumour 3": (21000, 90, 790.8, 90.0),
}
SCANNED_H = 24.0  # not stated by the set; its figures are taken to hold here
COUCH = 3000
GIVEN = Administration(
    "Lu-177", 7400.0, datetime(2026, 3, 2, 9, 0, tzinfo=ZoneInfo("Europe/London")), "177Lu-DOTATATE"
)


def read_patient(archive: Path) -> tuple[np.ndarray, np.ndarray]:
    """CT numbers and labels (z, y, x) as DICOM has them: y to the back, z to the head.

    The set's slices begin at the head and its rows at the back (liver at low z and low x, couch at low y):
    a half turn about x, so nothing is mirrored. 3000 is the couch, painted in: it becomes air.
    """
    volumes = []
    with zipfile.ZipFile(archive) as files:
        for part in ("attn", "src"):
            stored = np.frombuffer(files.read(f"patient15_LuDOTATATE_{part}.i33"), "<u2")
            volumes.append(stored.reshape(90, 70, 108)[::-1, ::-1])
    ct, labels = volumes
    return np.where(ct == COUCH, -1000.0, ct - 1000.0).astype(np.float32), labels


@pytest.fixture
def visits(shared: Path, tmp_path: Path) -> list[list[Path]]:
    hu, labels = read_patient(shared / "real/lu177_christie/patient_LuDOTATATE_phantoms.zip")
    masks = {name: labels == value[0] for name, value in ORGANS.items()}
    made = []
    # the patient lies elsewhere each time, by whole voxels so that interpolation takes nothing away
    for hours, kind, shift in ((24.0, "PT", (0, 0, 0)), (72.0, "NM", (1, -2, 1)), (144.0, "NM", (-1, 1, 2))):
        origin = tuple(float(s * (n - 54)) for s, n in zip(SPACING_MM, shift, strict=True))
        grid = Grid(hu.shape, SPACING_MM, origin)
        kbq = np.zeros(hu.shape, np.float32)
        for name, (_, _, at_scan, half_life_h) in ORGANS.items():
            kbq[masks[name]] = at_scan * 2 ** (-(hours - SCANNED_H) / half_life_h)
        made.append(
            write_visit(
                tmp_path / f"{hours:g}h",
                "CHRISTIE15",
                GIVEN,
                GIVEN.at + timedelta(hours=hours),
                ActivityMap(grid, kbq * 1000),
                ct=HuMap(grid, hu),
                regions=LabelMap(grid, masks, {}) if hours == SCANNED_H else None,
                emission=kind,
            )
        )
    return made


def test_organ_tias_and_doses_are_those_of_the_table(run_node: Any, visits: list[list[Path]]) -> None:
    node = run_node(expected=3, more='[tia]\nmethod = "mono-exponential"\n')
    for files in visits:
        assert set(node.store(files).values()) == {0}
    done = node.wait("DELIVERED", "HELD")
    assert done["cycle"]["state"] == "DELIVERED", done["cycle"]["reasons"]

    read = node.measured("read")
    assert read["T1"]["total_mbq"] == pytest.approx(235.0, abs=0.1)  # the table's total
    assert (read["T1"]["unit"], read["T2"]["unit"]) == (
        "Units BQML, RescaleSlope", "RealWorldValueMapping UCUM Bq/ml",
    )  # fmt: skip
    quality = node.measured("registration")
    for label, moved in (("T2", (1, -2, 1)), ("T3", (-1, 1, 2))):
        expected_mm = [s * n for s, n in zip(SPACING_MM, moved, strict=True)]
        assert quality[label]["transform"][3:] == pytest.approx(expected_mm, abs=0.1)

    doses = {o["region"]: o for o in done["organ_doses"]}
    for name, (_, voxels, kbq_ml, half_life_h) in ORGANS.items():
        dose = doses[name]
        assert dose["volume_ml"] == pytest.approx(voxels * VOXEL_ML, rel=1e-4)
        at_scan_mbq = voxels * VOXEL_ML * kbq_ml / 1000
        by_hand_mbq_h = at_scan_mbq * 2 ** (SCANNED_H / half_life_h) * half_life_h / np.log(2)
        assert dose["tia_mbq_s"] / 3600 == pytest.approx(by_hand_mbq_h, rel=0.01), name
        # 0.147 MeV per decay stay within 2 mm: an organ keeps nearly all of it, a small tumour loses some
        local_gy = dose["tia_mbq_s"] * 1e6 * 0.147 * 1.602e-13 / (dose["mass_g"] / 1000)
        assert dose["mean_gy"] == pytest.approx(local_gy, rel=0.06), name


def test_the_ct_lies_as_dicom_wants_it(shared: Path) -> None:
    """Liver to the right, spleen to the left, kidneys below both and behind them."""
    _, labels = read_patient(shared / "real/lu177_christie/patient_LuDOTATATE_phantoms.zip")
    z, y, x = np.array(
        [np.argwhere(labels == ORGANS[n][0]).mean(0) for n in ("liver", "spleen", "kidney right")]
    ).T
    assert x[0] < x[1]  # towards the patient's left x grows
    assert z[2] < z[0]  # towards the head z grows
    assert y[2] > y[0]  # towards the back y grows
