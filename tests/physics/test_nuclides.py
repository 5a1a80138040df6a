"""Nuclides against published mean energies and the emission table of the EGSnrc runs."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.errors import OutOfDomain, Unsupported
from dicomnode.physics.nuclides import available_names, canonical_name, emissions, nuclide


@pytest.mark.parametrize(
    ("name", "electron_kev", "photon_kev"),
    # shared/reference/egsnrc/README.md, mean energy emitted per decay
    [("Lu-177", 147.98, 35.10), ("Y-90", 932.96, 0.0), ("I-131", 191.88, 382.76)],
)
def test_mean_energies_are_those_that_egsnrc_sampled(name, electron_kev, photon_kev):
    energy = nuclide(name).energy
    assert 1000 * energy.electron_mev == pytest.approx(electron_kev, abs=0.01)
    assert 1000 * energy.photon_mev == pytest.approx(photon_kev, abs=0.01)


def test_one_gbq_of_90y_in_one_kilogram_gives_49_7_gray():
    y90 = nuclide("Y-90")  # A0 / lambda x Delta / mass
    gray = 1e9 / y90.decay_per_s * y90.energy.electron_mev * 1.602176634e-13
    assert gray == pytest.approx(49.7, abs=0.1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Lu-177", "Lu-177"), ("lu177", "Lu-177"), ("177Lu", "Lu-177"), ("177-LU", "Lu-177"),
        ("^177^Lutetium", "Lu-177"), ("Tc-99m", "Tc-99m"), ("99mTc", "Tc-99m"), ("tc99M", "Tc-99m"),
        ("99Mo", "Mo-99"), ("Iodine 131", "I-131"), ("[131I]", "I-131"), ("99m Technetium", "Tc-99m"),
    ],
)  # fmt: skip
def test_names_are_understood_as_people_and_dicom_write_them(text, name):
    assert canonical_name(text) == name


def test_every_name_of_icrp_107_is_its_own_canonical_name():
    assert len(available_names()) == 1252  # ICRP 107, table 1
    assert all(canonical_name(name) == name for name in available_names())


def test_an_unknown_nuclide_lists_near_names():
    with pytest.raises(OutOfDomain, match=r"'Lu-171x'|Lu-17"):
        nuclide("Lu-188")
    with pytest.raises(OutOfDomain, match="names of ICRP 107"):
        nuclide("technetium")


def test_half_lives():
    assert nuclide("Lu-177").half_life_s / 86400 == pytest.approx(6.647)  # ICRP 107
    assert nuclide("F-18").half_life_s / 60 == pytest.approx(109.77)
    assert nuclide("Po-212").half_life_s == pytest.approx(0.299e-6)


def test_the_binned_spectrum_keeps_yield_and_energy(shared):
    used = np.load(shared / "reference/egsnrc/emissions_used.npz")
    edges, per_bin = emissions("Lu-177").beta.binned(2000)
    assert edges == pytest.approx(used["Lu177_beta_edges_MeV"])
    assert np.abs(per_bin - used["Lu177_beta_yield_per_bin"]).max() < 1e-8
    assert per_bin.sum() == pytest.approx(1.0, abs=1e-6)


def test_lines_are_those_of_the_reference(shared):
    used = np.load(shared / "reference/egsnrc/emissions_used.npz")
    assert np.array_equal(emissions("I-131").gamma, used["I131_gamma_MeV_yield"])
    assert np.array_equal(emissions("I-131").conversion, used["I131_conversion_e_MeV_yield"])


def test_positrons_and_annihilation_of_18f():
    found = emissions("F-18")
    assert found.beta is None
    assert found.positron.yield_per_decay == pytest.approx(0.9673)  # ICRP 107
    assert found.annihilation[:, 1].sum() == pytest.approx(2 * 0.9673)
    assert nuclide("F-18").energy.positron_mev == pytest.approx(0.2416, abs=2e-4)


def test_mixed_beta_spectra_are_refused_and_not_guessed():
    with pytest.raises(Unsupported, match="sum of the beta-minus and beta-plus"):
        emissions("Cu-64")
    assert nuclide("Cu-64").energy.electron_mev > 0
    with pytest.raises(Unsupported, match="fission"):
        emissions("Cf-252")
