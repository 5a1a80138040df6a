"""Regions as the filled part of each voxel: volumes and means against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.regions.structures import read_structures
from dicomnode.errors import Inconsistent
from dicomnode.model import DensityMap, DoseMap, EnergyBalance, Grid, LabelMap, TiaFit, TiaMap
from dicomnode.results.dvh import cumulative_dvh
from dicomnode.results.organs import organ_doses
from dicomnode.results.settings import ResultsSettings

Build = Callable[..., Dataset]
Save = Callable[[Dataset], Path]
SPECT = Grid((40, 40, 40), (4.8, 4.8, 4.8), (-95.0, -94.0, -96.0))
FOR = "1.2.9"


def sphere(radius: float, centre: np.ndarray, step: float = 1.0) -> list[np.ndarray]:
    heights = np.arange(-radius + step / 2, radius, step)
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    ring = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(180)])
    return [ring * np.sqrt(radius**2 - z**2) + centre + (0, 0, z) for z in heights]


def read_point_by_point(dose: np.ndarray, radius: float, centre: np.ndarray) -> tuple[float, float, float]:
    """Mean, D98 and D2 of a sphere by another way: the dose at points 0.4 mm apart within it."""
    axis = np.arange(-radius, radius, 0.4) + 0.2
    points = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    points = points[np.square(points).sum(axis=1) < radius**2] + centre
    x, y, z = np.rint(SPECT.to_index(points)).astype(int).T
    found = dose[z, y, x]
    low, high = np.percentile(found, [2, 98])
    return float(found.mean()), float(low), float(high)


@pytest.mark.parametrize("ml", [1.0, 2.0, 5.5, 10.0, 50.0])
@pytest.mark.parametrize("shift", [0.0, 0.37, 0.5])
def test_a_sphere_keeps_volume_and_mean_within_one_percent(
    make_rtstruct: Build, save: Save, ml: float, shift: float
) -> None:
    """Masks of voxels half filled kept 0.90, 0.95 and 0.96 of 2, 5.5 and 10 mL."""
    radius = (ml * 750 / np.pi) ** (1 / 3)
    centre = 4.8 * shift * np.array([1.0, -1.0, 0.7])
    path = save(make_rtstruct([("lesion", sphere(radius, centre), "CLOSED_PLANAR")]))
    regions, _ = read_structures([path], SPECT, FOR)
    assert regions.volume_ml["lesion"] == pytest.approx(ml, rel=0.01)
    assert regions.voxel_volume_ml("lesion") == pytest.approx(regions.volume_ml["lesion"], rel=1e-4)
    z, y, x = np.indices(SPECT.shape_zyx)
    away = SPECT.to_patient_mm(np.stack([x, y, z], axis=-1)) - centre
    gy = 1.0 + 9.0 * np.exp(-np.square(away).sum(axis=-1) / (1.6 * radius**2))  # steep, as lesions are
    dose = DoseMap(SPECT, gy, 0.05 * gy, EnergyBalance(1, 1, 0))
    fit = TiaFit(TiaMap(SPECT, gy), TiaMap(SPECT, 0.1 * gy), "trapezoid", ())
    (organ,) = organ_doses(dose, DensityMap(SPECT, np.ones_like(gy)), regions, fit, ResultsSettings())
    mean, d98, d2 = read_point_by_point(gy, radius, centre)
    assert organ.mean_gy == pytest.approx(mean, rel=0.01)
    assert (organ.d98_gy, organ.d2_gy) == (pytest.approx(d98, rel=0.03), pytest.approx(d2, rel=0.03))
    share = regions.shares["lesion"]
    assert np.average(SPECT.to_patient_mm(np.argwhere(share)[:, ::-1]), axis=0,
                      weights=share[share > 0]) == pytest.approx(centre, abs=0.15)  # fmt: skip


def test_turned_planes_fill_the_grid_as_straight_ones_do(make_rtstruct: Build, save: Save) -> None:
    c, s = np.cos(0.5), np.sin(0.5)
    turned = [q @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) for q in sphere(12.0, np.zeros(3))]
    straight = save(make_rtstruct([("s", sphere(12.0, np.zeros(3)), "CLOSED_PLANAR")]))
    regions, _ = read_structures([save(make_rtstruct([("s", turned, "CLOSED_PLANAR")]))], SPECT, FOR)
    other, _ = read_structures([straight], SPECT, FOR)
    assert regions.voxel_volume_ml("s") == pytest.approx(other.voxel_volume_ml("s"), rel=0.005)
    assert np.abs(regions.shares["s"] - other.shares["s"]).max() < 0.05


def test_organ_figures_count_a_voxel_by_its_share() -> None:
    """Whole voxel of 1 Gy, half of 3 Gy, a tenth of 10 Gy: (1 + 1.5 + 1) / 1.6 Gy of 1.6 mL."""
    grid = Grid((1, 1, 4), (10.0, 10.0, 10.0))
    share = np.array([[[1.0, 0.5, 0.1, 0.0]]], dtype=np.float32)
    gy = np.array([[[1.0, 3.0, 10.0, 50.0]]])
    dose = DoseMap(grid, gy, 0.1 * gy, EnergyBalance(1, 1, 0))
    fit = TiaFit(TiaMap(grid, gy), TiaMap(grid, 0.1 * gy), "trapezoid", ())
    regions = LabelMap(grid, {"r": share})
    density = DensityMap(grid, np.ones_like(gy))
    (organ,) = organ_doses(dose, density, regions, fit, ResultsSettings())
    assert organ.mean_gy == pytest.approx(3.5 / 1.6)
    assert (organ.volume_ml, organ.mass_g) == (pytest.approx(1.6), pytest.approx(1.6))
    assert organ.tia_mbq_s == pytest.approx(3.5)
    assert (organ.d2_gy, organ.d50_gy, organ.d98_gy) == (10.0, 1.0, 1.0)
    assert organ.max_gy == 3.0  # of voxels at least half filled
    (histogram,) = cumulative_dvh(dose, regions, bins=10)
    assert histogram.volume_ml == pytest.approx(1.6)
    assert histogram.volume_percent[[0, 1, 2, 4, 10]] == pytest.approx([100, 100, 37.5, 6.25, 6.25])


def test_overlapping_regions_are_shared_out_to_the_smaller_one() -> None:
    grid = Grid((1, 1, 3), (10.0, 10.0, 10.0))
    liver, lesion = np.array([[[1.0, 1.0, 0.5]]]), np.array([[[0.0, 0.4, 0.6]]])
    owned = LabelMap(grid, {"lesion": lesion, "liver": liver}).disjoint()
    assert list(owned) == ["liver", "lesion"]
    assert owned["lesion"].ravel() == pytest.approx([0.0, 0.4, 0.6])
    assert owned["liver"].ravel() == pytest.approx([1.0, 0.6, 0.4])


def test_a_share_outside_0_to_1_is_refused() -> None:
    grid = Grid((1, 1, 1), (10.0, 10.0, 10.0))
    with pytest.raises(Inconsistent, match="'r' has shares of 2 to 2"):
        LabelMap(grid, {"r": np.full((1, 1, 1), 2.0)})
    assert LabelMap(grid, {"r": np.ones((1, 1, 1), bool)}).shares["r"].dtype == np.float32
