"""Tissues, densities from CT numbers, and the body."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import DensityMap, Grid, HuMap
from dicomnode.physics.anatomy import HuCurve, anatomy_from_ct, anatomy_from_density, density_from_hu
from dicomnode.physics.tissues import schneider_classes, tissue, tissues


def test_every_composition_adds_up():
    assert len(tissues()) > 60
    for found in tissues().values():
        assert sum(found.mass_fractions.values()) == pytest.approx(1.0, abs=1e-12)


def test_published_values():
    bone = tissue("Bone cortical ICRU44")  # NIST, table 2: Bone, Cortical (ICRU-44)
    assert bone.density_g_per_cm3 == 1.92
    assert bone.mass_fractions["Ca"] == pytest.approx(0.225)
    assert tissue("water").mass_fractions["H"] == pytest.approx(2 * 1.008 / 18.015, abs=5e-5)
    assert tissue("kidney").density_g_per_cm3 == 1.05  # ICRP 110, annex B
    assert len(schneider_classes()) == 24
    with pytest.raises(OutOfDomain, match="liver"):
        tissue("livre")


@pytest.mark.parametrize(
    ("hu", "density"),
    # Schneider 2000, equations 17-21: -1000 air, -741 lung 0.26, -98 adipose 0.93, 0 near water, 14-23 1.03,
    # 99 connective tissue 1.12, 100 marrow and bone 1.076, 1524 cortical bone 1.92
    [
        (-1000, 0.0012),
        (-741, 0.268),
        (-98, 0.930),
        (0, 1.018),
        (20, 1.03),
        (99, 1.1187),
        (100, 1.076),
        (1524, 1.919),
    ],
)
def test_density_by_schneider(hu, density):
    assert float(density_from_hu(hu)) == pytest.approx(density, abs=0.001)


def test_density_rises_with_ct_number_and_stays_positive():
    density = density_from_hu(np.arange(-2000, 6000, dtype=float))
    assert density.min() == 0.0012
    assert density.max() == 3.0
    falls = np.flatnonzero(np.diff(density) < -0.003) - 2000
    # one step down in the paper itself: connective tissue (1.120) ends where marrow and bone (1.076) begin
    assert falls.tolist() == [99]


def test_a_scanner_may_have_a_curve_of_its_own():
    curve = HuCurve(hu_density=((-1000, 0.001), (0, 1.0), (1000, 1.6)))
    assert density_from_hu([500.0, -500.0, 3000.0], curve) == pytest.approx([1.3, 0.5005, 2.8])
    with pytest.raises(ValidationError, match="rising HU"):
        HuCurve(hu_density=((0, 1.0), (-10, 1.1)))
    with pytest.raises(ValidationError, match="two or more pairs"):
        HuCurve(hu_density=((0, 1.0),))


def test_a_curve_goes_on_beyond_what_was_measured():
    """Inserts from -700 to 1000 HU. Held at its ends, lung of -850 HU had 0.3 g/cm3 and bone of 1500 HU
    1.6; Schneider's lines have 0.156 and 1.905."""
    curve = HuCurve(hu_density=((-700, 0.3), (0, 1.0), (1000, 1.6)))
    assert density_from_hu([-850.0, 1500.0, 5000.0, -1024.0], curve) == pytest.approx(
        [0.1506, 1.9, 3.0, 0.0012]
    )


@pytest.mark.parametrize("fault", [float("nan"), float("inf")])
def test_a_curve_of_no_numbers_is_refused(fault):
    for pair in ((5.0, fault), (fault, 2.0)):
        with pytest.raises(ValidationError, match="rising HU"):
            HuCurve(hu_density=((0.0, 1.0), pair))


@pytest.fixture
def torso() -> HuMap:
    """Tissue block with lungs that are open at the last slice, a bone, gut gas, and a couch apart."""
    hu = np.full((12, 30, 30), -1000.0)
    hu[:, 5:25, 4:26] = 40
    hu[4:, 8:18, 7:13] = -800
    hu[:6, 20:22, 14:16] = 900
    hu[1:3, 10:12, 18:20] = -980
    hu[:, 28, :] = -300
    return HuMap(Grid((12, 30, 30), (4, 4, 5)), hu)


def test_the_body_has_its_lungs_and_gas_but_not_the_couch(torso):
    found = anatomy_from_ct(torso)
    expected = np.zeros((12, 30, 30), bool)
    expected[:, 5:25, 4:26] = True
    assert np.array_equal(found.body, expected)
    assert found.density.g_per_cm3[0, 0, 0] == np.float32(0.0012)
    names = {
        v: found.material_names[found.material[v]] for v in [(0, 0, 0), (6, 10, 9), (0, 20, 14), (0, 6, 6)]
    }
    assert list(names.values()) == [
        "schneider_air",
        "schneider_lung",
        "schneider_bone_9",
        "schneider_soft_tissue",
    ]


def test_composition_from_density_follows_the_same_line(torso):
    by_ct = anatomy_from_ct(torso)
    by_density = anatomy_from_density(by_ct.density)
    same = by_ct.material == by_density.material
    assert same[by_ct.body].mean() == 1.0
    assert by_density.material_names == by_ct.material_names


def test_labels_name_the_tissue_whatever_the_density():
    grid = Grid((1, 1, 3), (4, 4, 4))
    density = DensityMap(grid, np.array([[[0.3, 1.0, 1.9]]], np.float32))
    labels = np.array([[[7, 2, 2]]])
    found = anatomy_from_density(density, labels, {2: "liver", 7: "lung"})
    assert [found.material_names[m] for m in found.material.reshape(-1)] == ["lung", "liver", "liver"]
    with pytest.raises(Inconsistent, match=r"without a name: \[7\]"):
        anatomy_from_density(density, labels, {2: "liver"})
    with pytest.raises(OutOfDomain, match="tissue"):
        anatomy_from_density(density, labels, {2: "liver", 7: "unobtainium"})


def test_no_body_is_an_error():
    grid = Grid((2, 2, 2), (4, 4, 4))
    with pytest.raises(Inconsistent, match="no body found"):
        anatomy_from_ct(HuMap(grid, np.full((2, 2, 2), -1000.0)))
