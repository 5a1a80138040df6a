"""177Lu-DOTATATE, two xSPECT Quant series as PT with an RTSTRUCT each, no CT (University of Michigan,
doi 10.7302/0n8e-rz46, CC BY-NC 4.0: read in place, never copied). Expected figures: README of the set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from scipy.spatial.transform import Rotation

SOFT_TISSUE = 'without_ct = "soft-tissue"'
SETTLED = """
[[cycle.calibration]]
name = "xSPECT Quant, re-written by MIM"
manufacturer = "SIEMENS"
nuclide = "Lu-177"
decay_reference = "START"
"""


@pytest.fixture
def scans(unpack: Callable[[str], list[Path]]) -> list[Path]:
    return [p for n in (1, 2) for p in unpack(f"lu177_michigan_NONCOMMERCIAL/SCAN_00{n}.tar.xz")]


def again(node: Any, **settings: object) -> dict[str, Any]:
    """A person changes the configuration and starts the node again: what was held is looked at again."""
    node.stop()
    node.configure(**settings)
    node.start()
    node.wait("READY", "COMPUTING", "DELIVERED")
    return dict(node.wait("HELD", "DELIVERED"))


def test_it_is_held_until_a_person_has_settled_what_the_images_leave_open(
    run_node: Any, scans: list[Path]
) -> None:
    node = run_node()
    assert set(node.store(scans).values()) == {0}
    held = node.wait("HELD")
    assert [why.split(": send it")[0] for why in held["cycle"]["reasons"]] == [
        f"{label}: no CT of the frame of reference of the emission series has arrived"
        for label in ("T1", "T2")
    ]
    given = held["administration"]
    assert given["activity_mbq"] == pytest.approx(7210.43, abs=0.01)  # 7210425599.6395 Bq in the header
    assert [p["hours"] for p in held["time_points"]] == pytest.approx([3.74, 27.73], abs=0.01)

    held = again(node, cycle=SOFT_TISSUE)
    # exp(lambda t) at 3.74 and 27.73 h, T1/2 574300 s: 1.016 and 1.128, by the mean of a 25 min frame a
    # thousandth more
    expected = [f"a DecayFactor of {f} is expected, but 1.0000 is stated" for f in ("1.0173", "1.1290")]
    assert [e in r for e, r in zip(expected, held["cycle"]["reasons"], strict=True)] == [True, True]
    assert "organ_doses" not in held or not held["organ_doses"]

    done = again(node, more=SETTLED)
    assert done["cycle"]["state"] == "DELIVERED", done["cycle"]["reasons"]
    _totals_and_registration(node, [dcmread(p) for p in scans if p.parent.name == "mask"])
    _lesions(done)
    _what_the_pacs_received(node, done)
    assert node.audit_is_whole()


def _totals_and_registration(node: Any, structures: list[Dataset]) -> None:
    read = node.measured("read")
    assert [read[t]["total_mbq"] for t in ("T1", "T2")] == pytest.approx([1350.5, 996.05], rel=1e-3)
    assert read["T1"]["decay_reference"].startswith("START by calibration record")
    quality = node.measured("registration")["T2"]
    assert quality["method"] == "spect-spect"
    # The fields of view lie 47 mm apart (1156.93 and 1203.93 mm), the patient about 33 mm: what counts is
    # where the contours of each day put the lesions, which registration has not seen.
    angles, shift, center = np.split(np.array([*quality["transform"], *quality["center_mm"]]), [3, 6])
    for region in ("lesion1 liver R lobe", "lesion2 liver L lateral"):
        first, second = (_centroid(structures[n], region) for n in (0, 1))
        turned = Rotation.from_euler("xyz", angles).apply(first - center) + center + shift
        assert np.linalg.norm(turned - second) < 6.0, region
        assert np.linalg.norm(first - second) > 25.0, region
    assert quality["residual_mm"] < 8.0


def _centroid(structures: Dataset, name: str) -> np.ndarray:
    """Centroid of an ROI by its polygons' areas, mm (pydicom alone)."""
    number = next(r.ROINumber for r in structures.StructureSetROISequence if r.ROIName == name)
    roi = next(r for r in structures.ROIContourSequence if r.ReferencedROINumber == number)
    weighted, total = np.zeros(3), 0.0
    for contour in roi.ContourSequence:
        x, y, z = np.array(contour.ContourData, float).reshape(-1, 3).T
        cross = x * np.roll(y, -1) - np.roll(x, -1) * y
        area = cross.sum() / 2
        middle = [((c + np.roll(c, -1)) * cross).sum() / 6 / area for c in (x, y)]
        weighted += abs(area) * np.array([*middle, z[0]])
        total += abs(area)
    return weighted / total


def _lesions(done: dict[str, Any]) -> None:
    doses = {o["region"]: o for o in done["organ_doses"]}
    # TIA by hand with the README's activities: 0 at 0 h, lines between, physical tail (159.5 h / ln 2)
    for region, volume_ml, at_first, at_second in (
        ("lesion1 liver R lobe", 107.02, 122.27, 156.11),
        ("lesion2 liver L lateral", 2.86, 4.22, 6.27),
    ):
        dose = doses[region]
        assert dose["volume_ml"] == pytest.approx(volume_ml, rel=0.015)
        by_hand_mbq_h = (
            at_first * 3.741 / 2 + (at_first + at_second) / 2 * 23.984 + at_second * 159.53 / np.log(2)
        )
        tia_mbq_h = dose["tia_mbq_s"] / 3600
        # the second contour is not the first: the small lesion loses at its edge
        assert tia_mbq_h == pytest.approx(by_hand_mbq_h, rel=0.01 if volume_ml > 100 else 0.08)
        # local deposition of 0.147 MeV: MBq s x 1e6 x 0.147 MeV x 1.602e-13 J/MeV / kg; a little leaves
        local_gy = dose["tia_mbq_s"] * 1e6 * 0.147 * 1.602e-13 / (dose["mass_g"] / 1000)
        assert 0.85 * local_gy < dose["mean_gy"] < 1.10 * local_gy
        assert dose["mass_g"] == pytest.approx(1.04 * dose["volume_ml"], rel=1e-6)
        assert dose["sigma_gy"] > 0.05 * dose["mean_gy"]
        assert "tia-rising" in {f["rule"] for f in done["findings"]}


def _what_the_pacs_received(node: Any, done: dict[str, Any]) -> None:
    received = [dcmread(path) for path in node.pacs.received.values()]
    (dose,) = (ds for ds in received if ds.Modality == "RTDOSE")
    assert dose.PatientID == "ANON54121"
    gy = dose.pixel_array * float(dose.DoseGridScaling)
    assert gy.shape == (199, 256, 256)
    assert gy.max() == pytest.approx(max(o["max_gy"] for o in done["organ_doses"]), rel=1e-6)
    assert float(dose.ImagePositionPatient[2]) == pytest.approx(1156.93, abs=0.01)
