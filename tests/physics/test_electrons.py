"""Stopping powers against ICRU 37 / NIST ESTAR, scattering against its own series."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import numpy as np
import pytest

from benchmarks.physics_study.published import ELSEPA_WATER
from dicomnode.physics import electrons, scattering
from dicomnode.physics.interactions import ELECTRON_MEV, data_digest, medium_of
from dicomnode.physics.tissues import tissue

WATER = medium_of(tissue("water"))


def test_the_data_are_those_of_the_readme():
    folder = files("dicomnode.physics") / "data"
    digest = hashlib.sha256((folder / "interactions.npz").read_bytes()).hexdigest()
    assert digest == data_digest()
    assert digest in (folder / "README.md").read_text()
    assert scattering.data_digest() in (folder / "README.md").read_text()


def test_water_stops_electrons_as_icru_37_says():
    found = electrons.collision_stopping(WATER, [0.01, 0.1, 1.0])
    assert found == pytest.approx([22.56, 4.115, 1.849], rel=5e-4)


def test_water_radiates_as_estar_says():
    # NIST ESTAR, liquid water, MeV cm2/g
    assert electrons.radiative_stopping(WATER, np.array([1.0]))[0] == pytest.approx(1.280e-2, rel=3e-3)


def test_ranges_in_water_are_those_of_estar():
    # NIST ESTAR, liquid water, g/cm2
    assert electrons.csda_range(WATER, [0.1, 1.0, 2.0]) == pytest.approx([1.431e-2, 0.4367, 0.9785], rel=2e-3)


def test_mean_excitation_energies_follow_icru_37():
    assert WATER.mean_excitation_ev == 75.0
    # ESTAR: compact bone (ICRU) 91.9, cortical bone (ICRP) 106.4 eV; ours has the composition of ICRU 44
    assert medium_of(tissue("bone_cortical_icru44")).mean_excitation_ev == pytest.approx(112, abs=6)


def test_hard_collisions_are_the_integral_of_moller():
    energy, cut = 0.5, 0.01
    w = np.geomspace(cut, energy / 2, 20001)
    tau = energy / ELECTRON_MEV
    law = electrons.BETHE * WATER.z_over_a / electrons.beta_squared(energy) * (
        1 / w**2 + 1 / (energy - w) ** 2 + (tau / (tau + 1) / energy) ** 2
        - (2 * tau + 1) / (tau + 1) ** 2 / (w * (energy - w))
    )  # fmt: skip
    number, loss = electrons.moller(WATER, np.array([energy]), cut)
    assert number[0] == pytest.approx(np.trapezoid(law, w), rel=1e-5)
    assert loss[0] == pytest.approx(np.trapezoid(law * w, w), rel=1e-5)


@pytest.mark.parametrize("energy", [0.05, 0.2, 0.6, 2.0])
def test_bhabha_and_moller_differ_by_what_icru_37_says(energy):
    """Stopping by all collisions above 1 eV: the terms of Berger and Seltzer are those of the two laws."""
    at = np.array([energy])
    hard = electrons.bhabha(WATER, at, 1e-6)[1] - electrons.moller(WATER, at, 1e-6)[1]
    whole = electrons.collision_stopping(WATER, at, True) - electrons.collision_stopping(WATER, at)
    assert hard == pytest.approx(whole, rel=5e-5)


def test_hard_collisions_of_positrons_are_the_integral_of_bhabha():
    energy, cut = 0.6, 0.01
    w = np.geomspace(cut, energy, 20001)
    b1, b2, b3, b4 = electrons.bhabha_terms(energy)
    x = w / energy
    law = 1 - b1 * x + b2 * x**2 - b3 * x**3 + b4 * x**4
    law *= electrons.BETHE * WATER.z_over_a / electrons.beta_squared(energy) / w**2
    number, loss = electrons.bhabha(WATER, np.array([energy]), cut)
    assert number[0] == pytest.approx(np.trapezoid(law, w), rel=1e-5)
    assert loss[0] == pytest.approx(np.trapezoid(law * w, w), rel=1e-5)


@pytest.mark.parametrize("strength", [0.02, 0.05, 0.1])
def test_sampled_deflections_have_the_moments_of_goudsmit_and_saunderson(strength):
    g, _ = scattering.transport_coefficients(WATER, np.array([0.05, 0.5, 1.5]), 0.01)
    nodes = scattering.quantile_nodes()
    fine = (nodes[:-1, None] + np.diff(nodes)[:, None] * (np.arange(20) + 0.5) / 20).ravel()
    weight = np.repeat(np.diff(nodes) / 20, 20)
    for row, values in enumerate(scattering.angle_tables(g, strength)):
        mu = 1 - np.interp(fine, nodes, values) * fine / (1 - fine + scattering.SMOOTHING)
        for order in (1, 2, 3, 5):
            moment = (weight * np.polynomial.legendre.Legendre.basis(order)(mu)).sum()
            assert moment == pytest.approx(np.exp(-strength * g[row, order] / g[row, 1]), rel=1e-3)


@pytest.mark.parametrize("positron", [False, True])
def test_elastic_scattering_in_water_is_that_of_elsepa(positron):
    mev = ELSEPA_WATER[:, 0]
    g = scattering.elastic_coefficients({1: 2.0, 8: 1.0}, mev, positron)
    expected = ELSEPA_WATER[:, 3:5] if positron else ELSEPA_WATER[:, 1:3]
    assert g[1:, 1:3] == pytest.approx(expected[1:], rel=0.003)
    assert g[0, 1:3] == pytest.approx(expected[0], rel=0.006)


def test_positrons_scatter_less_and_stop_a_little_otherwise():
    energy = np.array([0.5])
    minus, _ = scattering.transport_coefficients(WATER, energy, 0.01)
    plus, _ = scattering.transport_coefficients(WATER, energy, 0.01, positron=True)
    assert 0.85 < plus[0, 1] / minus[0, 1] < 1.0
    # Rohrlich and Carlson, Phys Rev 93 (1954) 38: positrons lose more at low energies, less above
    ratio = electrons.collision_stopping(WATER, [0.01, 1.0], True) / electrons.collision_stopping(
        WATER, [0.01, 1.0]
    )
    assert ratio == pytest.approx([1.10, 0.98], abs=0.005)
