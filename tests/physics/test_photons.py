"""Photon coefficients against NIST (Hubbell and Seltzer, NISTIR 5632, 1995: values printed there)."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.errors import OutOfDomain
from dicomnode.physics import photons
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.tissues import Tissue, tissue, tissues

WATER = medium_of(tissue("water"))


@pytest.mark.parametrize(
    ("mev", "cm2_per_g"),
    [
        (0.001, 4078.0), (0.01, 5.329), (0.03, 0.3756), (0.1, 0.1707), (0.5, 0.09687),
        (1.0, 0.07072), (2.0, 0.04942), (10.0, 0.02219),
    ],
)  # fmt: skip
def test_water_has_the_attenuation_of_nist(mev, cm2_per_g):
    assert photons.coefficients(WATER, mev).total[0] == pytest.approx(cm2_per_g, rel=1e-3)


def test_there_is_no_joint_at_800_kev():
    energy = np.linspace(0.7, 0.9, 201)
    total = photons.coefficients(WATER, energy).total
    slope = np.diff(np.log(total)) / np.diff(np.log(energy))
    assert np.abs(np.diff(slope)).max() < 0.01


def test_bone_absorbs_by_calcium_above_its_k_edge():
    bone = medium_of(tissue("bone_cortical_icru44"))
    below, above = photons.coefficients(bone, [4.0e-3, 4.1e-3]).photoelectric
    assert above > 1.8 * below
    # NISTIR 5632, table 4, cortical bone (ICRU 44): 1.331 at 30 keV, 0.1855 at 100 keV
    assert photons.coefficients(bone, [0.03, 0.1]).total == pytest.approx([1.331, 0.1855], rel=1e-3)


def test_pairs_begin_at_twice_the_mass_of_the_electron():
    found = photons.coefficients(WATER, [1.02, 1.25, 10.0]).pair
    assert found[0] == 0
    assert found[1:] == pytest.approx([1.77e-5, 5.09e-3], rel=0.03)  # NIST XCOM, water


def test_all_tissues_have_finite_coefficients():
    energy = np.geomspace(1e-3, 10, 400)
    for each in tissues().values():
        found = photons.coefficients(medium_of(each, each.density_g_per_cm3 or 1.0), energy)
        assert np.isfinite(found.total).all()
        assert (found.total > 0).all()


def test_an_element_without_data_is_refused():
    with pytest.raises(OutOfDomain, match="element of amalgam is Hg"):
        medium_of(Tissue("amalgam", 11.0, {"Hg": 1.0}, "none"))
