"""When a simulation ends, and what it says of itself where it was short."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dicomnode.dose.registry import build
from dicomnode.errors import ConfigError
from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import PER_MEV, Problem, Tally, simulate
from dicomnode.montecarlo.source import electron_component, members
from dicomnode.physics.chains import with_progeny
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue


def quiet(_fraction, _what):
    return None


def even(name: str, count: int, margin: int = 1) -> Problem:
    """Even activity in water, with voxels around it that have none."""
    decays = np.zeros((count,) * 3)
    inner = (slice(margin, count - margin),) * 3
    decays[inner] = 1e6
    return Problem(
        decays, np.ones(decays.shape, np.float32), np.zeros(decays.shape, int),
        (medium_of(tissue("water")),), (4.0,) * 3, members(nuclide(name)),
    )  # fmt: skip


def test_a_nuclide_without_electrons_is_planned_by_its_photons():
    """7Be: 49 keV of photons and 6 meV of electrons per decay. Judged by these, the plan was 5e8 photons a
    batch; 1e6 photons of 478 keV in 64 voxels reach 3 %."""
    found = simulate(even("Be-7", 6), TransportSettings(uncertainty=0.05, threads=1), 1, quiet)
    assert found.uncertainty <= 0.05
    assert found.decays_simulated["photon"] < 5e7


def test_a_time_is_kept_where_the_problem_is_large():
    """125,000 source voxels of 90Y: 20 batches to 0.3 % would take a quarter of an hour on one core. The time
    ends it long before: a hundredth of those decays gives ten times that uncertainty at least."""
    problem = even("Y-90", 52)
    found = simulate(problem, TransportSettings(seconds=1, threads=1), 1, quiet)
    assert found.uncertainty > 0.03
    assert (found.sigma_mev[problem.decays > 0] > 0).all()


def test_time_left_is_used():
    """A small problem reaches 0.3 % in less: it goes on, and gets better than that."""
    started = time.monotonic()
    found = simulate(even("Lu-177", 4), TransportSettings(seconds=3, threads=1), 1, quiet)
    assert time.monotonic() - started >= 3
    assert found.uncertainty < 0.003


def test_a_time_without_end_is_refused():
    with pytest.raises(ConfigError, match="seconds: Input should be a finite number"):
        build("montecarlo", {"seconds": "inf"})


def test_tallies_do_not_overflow():
    """Two batches of 2^62 units are 2^33 MeV, the 8.6e9 MeV at which 64 bits turn negative."""
    tally = Tally(electron_component(members(nuclide("Y-90")), 0.01), 1)
    for _ in range(2):
        tally.add(np.array([2**62]), np.array([2**62, 0, 0, 0]), 1)
    assert tally.energy[0] / PER_MEV == tally.totals[0] / PER_MEV == 2.0**33
    assert tally.variance() == pytest.approx(0.0)


def test_sigma_covers_voxels_that_few_histories_began_in():
    """Half a decay for each of 1000 voxels: in most no electron began. What they are given for it is known in
    the mean alone; their sigma was that of photons (36 % beyond 3 sigma of the even truth, now none)."""
    problem, beyond = even("Lu-177", 14, 2), []
    inner = problem.decays > 0
    for seed in range(4):
        found = simulate(problem, TransportSettings(decays=500, threads=1), seed, quiet)
        truth = found.mev[inner].mean()
        beyond.append(np.mean(np.abs(found.mev[inner] - truth) > 3 * found.sigma_mev[inner]))
    assert np.mean(beyond) < 0.01


def test_enough_histories_have_the_sigma_of_their_batches():
    """Three or more electrons a batch and voxel: 8 runs of 64 voxels know the spread to 3 %."""
    problem = even("Lu-177", 6)
    settings = TransportSettings(decays=64 * 20 * 4, threads=1)
    found = [simulate(problem, settings, seed, quiet) for seed in range(8)]
    inner = problem.decays > 0
    spread = np.var([f.mev for f in found], axis=0, ddof=1)[inner].mean()
    stated = np.mean([f.sigma_mev[inner] ** 2 for f in found])
    assert 0.85 < np.sqrt(spread / stated) < 1.15


@pytest.mark.parametrize("name", ["C-11", "F-18", "I-124"])
def test_energy_of_positrons_is_balanced_to_1e_9(name):
    """ICRP 107 prints 0.511 MeV for a photon of annihilation; the transport's have 0.51099895 MeV. The
    balance was off by 3e-6 of the energy of 11C."""
    grid = Grid((3, 4, 5), (4.0, 3.0, 2.0))
    anatomy = Anatomy(DensityMap(grid, np.ones(grid.shape_zyx)), np.ones(grid.shape_zyx, bool))
    tia = TiaMap(grid, np.ones(grid.shape_zyx))
    made = build("montecarlo", {"decays": 1000, "threads": 1}).dose(tia, anatomy, nuclide(name)).balance
    assert made.deposited_j + made.escaped_j == pytest.approx(made.emitted_j, rel=1e-9)
    energy = nuclide(name).energy
    mev = energy.electron_mev + energy.photon_mev + energy.positron_mev
    assert made.emitted_j == pytest.approx(tia.total_mbq_s * 1e6 * mev * 1.602176634e-13, rel=5e-6)


def test_decays_assigned_by_hand_are_simulated_to_every_digit():
    """The record said 0.1235, and so many were simulated."""
    found = members(with_progeny("Pb-212", {"Bi-212": 0.123456, "Tl-208": 0, "Po-212": 1 / 3}))
    decays = {emitted.name: amount for emitted, amount in found}
    assert decays == pytest.approx({"Pb-212": 1, "Bi-212": 0.123456, "Po-212": 1 / 3}, rel=1e-11)
