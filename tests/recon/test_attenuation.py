"""Attenuation maps: coefficients against NIST and vendors, averages that conserve, coverage."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.dicom.projections.projections import read_projections
from dicomnode.dicom.volumes import read_ct
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import Grid, HuMap, Severity
from dicomnode.recon.camera.attenuation import (
    attenuation_map,
    effective_kev,
    hu_curve,
    per_cm_of_hu,
    photopeak_kev,
)

WATER = {140.0: 0.1538, 208.0: 0.1352, 364.0: 0.1102}
"""1/cm at 140, 208 and 364 keV: constants of PyTomography 3.4 data/ct_table.csv (NIST)."""

# (energy keV, kVp) -> 1/cm per HU above water: the same table, Symbia (80, 110, 130) and Optima CT540
BONE_SLOPES = {
    (140, 80): 7.589e-5, (140, 110): 9.775e-5, (140, 130): 1.0895e-4, (208, 80): 6.109e-5,
    (208, 110): 7.873e-5, (208, 130): 8.787e-5, (208, 100): 7.717e-5, (208, 120): 8.365e-5,
    (208, 140): 9.102e-5, (364, 130): 6.868e-5,
}  # fmt: skip


@pytest.mark.parametrize(("energy", "per_cm"), WATER.items())
def test_water_has_its_nist_coefficient_at_every_tube_voltage(energy: float, per_cm: float) -> None:
    for kvp in (80.0, 130.0):
        assert per_cm_of_hu(0.0, energy, kvp) == pytest.approx(per_cm, rel=1e-3)


@pytest.mark.parametrize(("at", "slope"), BONE_SLOPES.items())
def test_bone_agrees_with_the_vendors_slopes(at: tuple[int, int], slope: float) -> None:
    energy, kvp = at
    hu, bone = hu_curve(float(energy), float(kvp))[-1]
    ours = (bone - float(per_cm_of_hu(0.0, energy, kvp))) / hu
    assert ours == pytest.approx(slope, rel=0.045)


def test_soft_tissue_has_its_own_coefficient_not_that_of_a_mixture_of_water_and_bone() -> None:
    # ICRU 44 skeletal muscle (1.05 g/cm3) and adipose tissue (0.95) at 208.4 keV from XCOM
    curve = dict(zip(("air", "lung", "fat", "water", "muscle", "bone"), hu_curve(208.4, 120.0), strict=True))
    assert curve["muscle"][1] == pytest.approx(0.14059, rel=1e-3)
    assert curve["fat"][1] == pytest.approx(0.12822, rel=1e-3)
    assert 35 < curve["muscle"][0] < 50
    assert -90 < curve["fat"][0] < -60
    two_lines = 0.1352 + curve["muscle"][0] * 8.365e-5
    assert two_lines / curve["muscle"][1] == pytest.approx(0.987, abs=0.001)
    assert 0.1352 * (1 + curve["fat"][0] / 1000) / curve["fat"][1] == pytest.approx(0.981, abs=0.001)


@settings(deadline=None)
@given(st.lists(st.floats(-1500, 3071), min_size=2, max_size=20))
def test_coefficients_rise_with_the_ct_number_and_are_never_negative(hu: list[float]) -> None:
    values = per_cm_of_hu(np.sort(hu), 208.4, 130.0)
    assert (np.diff(values) >= 0).all()
    assert values.min() >= 0.0


def test_tube_voltages_and_energies_outside_the_tables_are_refused() -> None:
    with pytest.raises(OutOfDomain, match="tube voltage is 40"):
        effective_kev(40.0)
    with pytest.raises(OutOfDomain, match="photon energy is 1000"):
        hu_curve(1000.0, 120.0)


GRID = Grid((10, 12, 14), (4.8, 4.8, 4.8), (-31.2, -26.4, -21.6))


def fine_ct(hu: np.ndarray, spacing: float, around: Grid, flip: bool = False) -> HuMap:
    """A CT of isotropic voxels centred on ``around``; ``flip``: rows and slices stored the other way."""
    centre = around.to_patient_mm([(n - 1) / 2 for n in reversed(around.shape_zyx)])
    half = np.array([(n - 1) / 2 * spacing for n in reversed(hu.shape)])
    if not flip:
        return HuMap(Grid(hu.shape, (spacing,) * 3, tuple(centre - half)), hu)
    direction = (1.0, 0, 0, 0, -1.0, 0, 0, 0, -1.0)
    origin = centre + half * np.array([-1, 1, 1])
    return HuMap(Grid(hu.shape, (spacing,) * 3, tuple(origin), direction), hu[::-1, ::-1])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), spacing=st.sampled_from([0.9766, 1.3, 3.0, 7.0]), flip=st.booleans())
def test_averaging_conserves_the_attenuation_of_an_object_inside(
    seed: int, spacing: float, flip: bool
) -> None:
    rng = np.random.default_rng(seed)
    edge = int(60 // spacing)
    hu = np.full((edge, edge, edge), -1000.0, np.float32)
    inner = slice(edge // 4, edge - edge // 4)
    hu[inner, inner, inner] = rng.uniform(-800, 1200, hu[inner, inner, inner].shape)
    ct = fine_ct(hu, spacing, GRID, flip)
    made = attenuation_map(ct, GRID, 208.4, 120.0)
    # beyond the CT's ends its last slices, here air, are repeated: the integral stays
    assert made.per_cm.sum(dtype=float) * GRID.voxel_ml == pytest.approx(
        per_cm_of_hu(ct.hu, 208.4, 120.0).sum() * ct.grid.voxel_ml, rel=1e-4
    )
    k, j, i = np.indices(GRID.shape_zyx)
    weight = made.per_cm / made.per_cm.sum()
    mass_centre = GRID.to_patient_mm([(weight * i).sum(), (weight * j).sum(), (weight * k).sum()])
    fine = per_cm_of_hu(ct.hu, 208.4, 120.0)
    kk, jj, ii = np.indices(ct.hu.shape)
    expected = ct.grid.to_patient_mm([float((fine * n).sum() / fine.sum()) for n in (ii, jj, kk)])
    assert mass_centre == pytest.approx(expected, abs=0.1)


def test_beyond_the_ct_the_nearest_slice_is_repeated_and_never_zero() -> None:
    hu = np.zeros((4, 12, 14), np.float32)
    hu[0] = 40.0
    ct = HuMap(Grid((4, 12, 14), (4.8, 4.8, 4.8), (-31.2, -26.4, -7.2)), hu)
    made = attenuation_map(ct, GRID, 208.4, 120.0)
    assert made.covered.tolist() == [False] * 3 + [True] * 4 + [False] * 3
    assert made.per_cm[0, 5, 5] == pytest.approx(float(per_cm_of_hu(40.0, 208.4, 120.0)))
    assert made.per_cm[9, 5, 5] == pytest.approx(0.1351, abs=2e-4)
    assert made.per_cm[:, 5, 5].min() > 0.13


def test_a_ct_elsewhere_or_oblique_is_refused() -> None:
    hu = np.zeros((4, 12, 14), np.float32)
    with pytest.raises(Inconsistent, match="no place in common"):
        attenuation_map(HuMap(Grid((4, 12, 14), (4.8, 4.8, 4.8), (0, 0, 900)), hu), GRID, 208.4, 120.0)
    c, s = np.cos(0.1), np.sin(0.1)
    oblique = Grid((4, 12, 14), (4.8, 4.8, 4.8), (-31, -26, -7), (c, -s, 0, s, c, 0, 0, 0, 1))
    with pytest.raises(Inconsistent, match="oblique"):
        attenuation_map(HuMap(oblique, hu), GRID, 208.4, 120.0)


def disc(radius: float, centre: float = 0.0, square: bool = False) -> HuMap:
    y, x = np.mgrid[:64, :64] - 31.5
    inside = (np.abs(x - centre) < radius) if square else np.hypot(x - centre, y) < radius
    hu = np.where(inside, 0.0, -1000.0)
    return HuMap(Grid((4, 64, 64), (4.8, 4.8, 4.8), (-151.2, -151.2, -7.2)), np.stack([hu] * 4))


def test_a_body_that_reaches_the_edge_of_the_ct_is_said() -> None:
    grid = Grid((4, 64, 64), (4.8, 4.8, 4.8), (-151.2, -151.2, -7.2))
    assert attenuation_map(disc(25), grid, 208.4, 120.0).findings == ()
    for cut in (disc(25, 10), disc(20, square=True)):
        found = attenuation_map(cut, grid, 208.4, 120.0).findings
        assert [(f.rule, f.severity, f.measured) for f in found] == [("ct-truncated", Severity.WARNING, 4)]


def test_an_unstated_tube_voltage_is_assumed_and_said() -> None:
    grid = Grid((4, 64, 64), (4.8, 4.8, 4.8), (-151.2, -151.2, -7.2))
    made = attenuation_map(disc(25), grid, 208.4)
    assert (made.kvp, [f.rule for f in made.findings]) == (120.0, ["ct-kvp"])


def test_the_synthetic_nema_set_has_the_attenuation_it_was_made_with(shared: Path) -> None:
    folder = shared / "real" / "spect_raw" / "synthetic_nema_lu177"
    read = read_projections([folder / "nm_tomo.dcm"], ZoneInfo("UTC"))
    ct, _ = read_ct(sorted((folder / "CT").iterdir()))
    assert photopeak_kev(read) == pytest.approx(208.366, abs=0.01)
    made = attenuation_map(ct, read.grid, photopeak_kev(read), 130.0)
    assert made.per_cm.shape == read.grid.shape_zyx
    assert made.covered.sum() == 48
    assert float(np.median(made.per_cm[made.per_cm > 0.1])) == pytest.approx(0.135, rel=0.005)  # its README
