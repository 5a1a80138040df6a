"""The simulated patient is a plausible person whose activities add up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from dicomnode.simulation import SimulatedPatient, make_patient
from dicomnode.simulation.patient import ADMINISTERED_MBQ, LU177_ELECTRON_J
from dicomnode.simulation.tissues import TISSUE_INDEX, TISSUES

# ICRP Publication 89 (2002), table 2.8, adult male, g.
ICRP89_G = {"liver": 1800.0, "spleen": 150.0, "kidney left": 155.0, "kidney right": 155.0}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_organ_masses_lie_within_a_third_of_the_reference_man(seed: int) -> None:
    made = make_patient(seed, size="small")
    for organ, reference_g in ICRP89_G.items():
        assert 0.67 < made.mass_g(organ) / reference_g < 1.34, organ


def test_kidneys_have_70_percent_cortex(patient: SimulatedPatient) -> None:
    # ICRP 89 (2002): cortex 70, medulla 25, pelvis 5 % of the kidney.
    parts = [
        int((patient.tissue == TISSUE_INDEX[f"kidney {part}"]).sum())
        for part in ("cortex", "medulla", "pelvis")
    ]
    fractions = np.array(parts) / sum(parts)
    assert fractions == pytest.approx([0.70, 0.25, 0.05], abs=0.07)


def test_left_is_left(patient: SimulatedPatient) -> None:
    # DICOM patient axes: x grows to the patient's left (PS3.3 C.7.6.2.1.1), where the spleen is.
    def middle_x(name: str) -> float:
        index = np.argwhere(patient.regions.masks[name])[:, ::-1].mean(axis=0)
        return float(patient.grid.to_patient_mm(index)[0])

    assert middle_x("spleen") > 50
    assert middle_x("kidney left") > 30
    assert middle_x("liver") < -30
    assert middle_x("kidney right") < -30


def test_the_trunk_is_whole_and_runs_through_both_ends(patient: SimulatedPatient) -> None:
    body = patient.tissue != TISSUE_INDEX["air"]
    assert body[0].any()
    assert body[-1].any()
    assert not body[:, 0].any()
    assert not body[:, -1].any()
    assert not body[:, :, 0].any()
    assert not body[:, :, -1].any()
    # Reference man: 73 kg (ICRP 89); trunk without pelvic floor and shoulders about half of it.
    mass_kg = float(patient.density.mass_g[body].sum()) / 1000.0
    assert 20 < mass_kg < 45


def test_every_tissue_appears(patient: SimulatedPatient) -> None:
    seen = set(np.unique(patient.tissue).tolist())
    assert {TISSUES[i].name for i in range(len(TISSUES)) if i not in seen} == set()


@pytest.mark.parametrize("hours", [0.5, 4.0, 24.0, 168.0])
def test_activity_never_exceeds_what_is_left_of_the_administered(
    patient: SimulatedPatient, hours: float
) -> None:
    whole = sum(patient.activity_mbq(hours).values())
    assert 0 < whole <= ADMINISTERED_MBQ * 2.0 ** (-hours / (6.647 * 24.0))  # ICRP 107


def test_a_fifth_of_the_activity_is_left_after_a_day(patient: SimulatedPatient) -> None:
    assert 0.15 < sum(patient.activity_mbq(24.0).values()) / ADMINISTERED_MBQ < 0.35


def test_the_map_holds_each_organs_activity(patient: SimulatedPatient) -> None:
    amounts = patient.activity_mbq(24.0)
    field = patient.concentration(amounts)
    for name, mask in patient.regions.masks.items():
        total = float(field[mask].sum(dtype=np.float64)) * patient.grid.voxel_ml
        assert total == pytest.approx(amounts[name], rel=1e-4)


def test_the_closed_tia_equals_the_numerical_integral(patient: SimulatedPatient) -> None:
    for curve in patient.curves.values():
        numeric, _ = quad(curve.activity_mbq, 0, 3000, limit=500, points=[1, 5, 20, 100])
        assert curve.tia_mbq_s == pytest.approx(numeric * 3600.0, rel=1e-5)


def test_effective_half_lives_are_those_of_haenscheid(patient: SimulatedPatient) -> None:
    # J Nucl Med 59:75 (2018): kidney 51, spleen 67, liver 79, tumour 77 h. Late slope of each curve.
    for name, half_life_h in {"kidney left": 51, "spleen": 67, "liver": 79, "lesion liver": 77}.items():
        curve = patient.curves[name]
        ratio = curve.activity_mbq(100.0) / curve.activity_mbq(100.0 + half_life_h)
        assert ratio == pytest.approx(2.0, rel=1e-6)


# Gy per GBq, published for 177Lu-DOTATATE (Santoro 2018; 2013 series of 61 patients; Staanum 2021).
PUBLISHED = {
    "kidney left": (0.30, 0.70),
    "kidney right": (0.30, 0.70),
    "spleen": (0.45, 1.20),
    "liver": (0.10, 1.10),
    "lesion liver": (2.0, 5.0),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_doses_per_activity_are_those_published(seed: int) -> None:
    made = make_patient(seed, size="small")
    for name, (low, high) in PUBLISHED.items():
        joule = made.curves[name].tia_mbq_s * 1e6 * LU177_ELECTRON_J
        gy_per_gbq = joule / (made.mass_g(name) / 1000.0) / (ADMINISTERED_MBQ / 1000.0)
        assert low < gy_per_gbq < high, name


def test_the_true_tia_map_adds_up(patient: SimulatedPatient) -> None:
    tia = patient.tia()
    for name, mask in patient.regions.masks.items():
        total = float(tia.mbq_s_per_ml[mask].sum(dtype=np.float64)) * patient.grid.voxel_ml
        assert total == pytest.approx(patient.curves[name].tia_mbq_s, rel=1e-4)


def test_one_seed_one_patient_and_another_seed_another(patient: SimulatedPatient) -> None:
    same, other = make_patient(1, size="small"), make_patient(2, size="small")
    assert np.array_equal(same.tissue, patient.tissue)
    assert same.curves == patient.curves
    assert (other.tissue != patient.tissue).mean() > 0.02
