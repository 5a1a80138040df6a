"""Chains of alpha emitters."""

from __future__ import annotations

import pytest

from dicomnode.errors import OutOfDomain
from dicomnode.physics.chains import BRANCHES, chain, has_progeny, with_progeny
from dicomnode.physics.nuclides import nuclide


@pytest.mark.parametrize(
    ("name", "alphas"),
    # alpha particles per decay of the parent, all progeny decaying
    [("Ac-225", 4.0), ("Ra-223", 4.0), ("Th-227", 5.0), ("Pb-212", 1.0), ("At-211", 1.0)],
)
def test_alpha_particles_per_decay_of_the_parent(name, alphas):
    from dicomnode.physics.nuclides import emissions

    counted = sum(m.decays * emissions(m.nuclide.name).alpha[:, 1].sum() for m in chain(name))
    assert counted == pytest.approx(alphas, abs=2e-3)


def test_energy_of_225ac_with_progeny():
    energy = with_progeny("Ac-225").energy
    # alpha energies 5.787, 6.304, 7.067, 0.122, 8.375 x 0.979 MeV of ICRP 107 (27.5) and recoils (0.5)
    assert energy.alpha_mev == pytest.approx(27.99, abs=0.05)
    assert energy.alpha_mev > 4 * nuclide("Ac-225").energy.alpha_mev


def test_branching_adds_up():
    for member, daughters in BRANCHES.items():
        # below 1 where a daughter is stable (114mIn, 137Cs) or outlives the patient (99Tc under 99Mo)
        assert 0.87 < sum(fraction for _, fraction in daughters) < 1.0002, member


@pytest.mark.parametrize(
    "name",
    ["Ac-225", "Ra-224", "Th-228", "Ra-226", "Sr-90", "W-188", "Dy-166", "Mo-99", "Ge-68", "Tb-149"],
)
def test_progeny_that_matter_have_to_be_stated(name):
    assert has_progeny(name)


@pytest.mark.parametrize(
    "name",
    # 131I: 1.1 % of 131mXe, 0.8 % of the charged energy; 99mTc: 99Tc lives 2e5 y
    ["F-18", "Lu-177", "I-131", "Y-90", "Tc-99m", "Ho-166", "Re-188", "Cu-64", "Tb-161", "Zr-89", "In-111"],
)
def test_progeny_that_emit_next_to_nothing_need_no_word(name):
    assert not has_progeny(name)


def test_strontium_brings_its_yttrium():
    """ICRP 107: 90Sr 0.196 and 90Y 0.933 MeV of electrons per decay."""
    assert with_progeny("Sr-90").energy.electron_mev == pytest.approx(0.1958 + 0.9331, abs=0.002)


def test_a_nuclide_whose_chain_is_not_known_is_refused():
    with pytest.raises(OutOfDomain, match="nuclide with a known chain is Ra-226"):
        with_progeny("Ra-226")


def test_the_long_lived_daughter_of_211at_is_left_out():
    assert "Bi-207" not in [m.nuclide.name for m in chain("At-211")]


def test_progeny_assigned_by_hand_replace_those_of_equilibrium():
    none = with_progeny(
        "Ac-225", dict.fromkeys(["Fr-221", "At-217", "Bi-213", "Po-213", "Pb-209", "Tl-209"], 0)
    )
    assert none.energy == nuclide("Ac-225").energy
    assert none.name == "Ac-225+assigned"
    assert "Bi-213 0" in none.source
    half = with_progeny("Ac-225", {"Bi-213": 0.5, "Po-213": 0.49})
    assert (
        nuclide("Ac-225").energy.alpha_mev < half.energy.alpha_mev < with_progeny("Ac-225").energy.alpha_mev
    )


def test_wrong_assignments_are_refused():
    with pytest.raises(OutOfDomain, match="Fr-221, At-217"):
        with_progeny("Ac-225", {"Lu-177": 1})
    with pytest.raises(OutOfDomain, match="decays of Bi-213"):
        with_progeny("Ac-225", {"Bi-213": -1})
    with pytest.raises(OutOfDomain, match="Lu-177"):
        with_progeny("Lu-177")
