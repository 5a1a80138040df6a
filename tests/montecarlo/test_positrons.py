"""Collisions and annihilation of positrons: what is sampled is the law, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from dicomnode.montecarlo import cpu, random
from dicomnode.montecarlo.electron import BREMS, PHOTONS, SHARE, annihilate_in_flight, bhabha_transfer
from dicomnode.montecarlo.particle import ENERGY, FATE, MOVES, PHOTON, STOPPED, WAITING, U
from dicomnode.montecarlo.world import Cuts, electron_tables
from dicomnode.physics import electrons
from dicomnode.physics.interactions import AVOGADRO, ELECTRON_MEV, ELECTRON_RADIUS_CM, medium_of
from dicomnode.physics.tissues import tissue

WATER = medium_of(tissue("water"))
CUT = 0.01
HISTORIES = 200_000


@njit
def transfers(energy, cut, count, rng):
    out = np.empty(count)
    for n in range(count):
        out[n] = bhabha_transfer(energy, cut, rng)
    return out


@njit
def annihilations(energy, count, p, q, stack, stacked, rng):
    out = np.empty((count, 2, 4))  # direction and energy of both photons
    for n in range(count):
        p[U], p[U + 1], p[U + 2] = 0.6, 0.0, 0.8
        p[ENERGY], q[WAITING], q[FATE] = energy, 0, MOVES
        annihilate_in_flight(p, q, stack, stacked, energy, rng)
        for photon in range(2):
            for field in range(4):
                out[n, photon, field] = stack[photon, U + field]
    return out


def room():
    p, q, stack, stacked, rng = cpu.scratch()
    random.start(rng, np.uint64(3), 0, 0)
    return p, q, stack, stacked, rng


def mean_and_sigma(values):
    return values.mean(), values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("energy", [0.012, 0.1, 0.6, 3.0])
def test_transfers_of_positrons_have_the_moments_of_bhabha(energy):
    found = transfers(energy, CUT, HISTORIES, room()[-1])
    assert found.min() >= CUT * (1 - 1e-12)
    assert found.max() <= energy
    w = np.geomspace(CUT, energy, 20_001)
    b1, b2, b3, b4 = electrons.bhabha_terms(energy)
    x = w / energy
    law = (1 - b1 * x + b2 * x**2 - b3 * x**3 + b4 * x**4) / w**2
    for power in (1.0, 2.0, -1.0):
        mean, sigma = mean_and_sigma(found**power)
        assert mean == pytest.approx(np.trapezoid(law * w**power, w) / np.trapezoid(law, w), abs=4 * sigma)


def share_law(energy):
    """Heitler's differential law in the share z of one photon: (z, density), from pi r_e^2 on."""
    gamma = energy / ELECTRON_MEV + 1
    low = 1 / (gamma + 1 + np.sqrt(gamma**2 - 1))
    z = np.geomspace(low, 1 - low, 20_001)
    return z, (-((gamma + 1) ** 2) + (gamma**2 + 4 * gamma + 1) / z - 1 / z**2) / (
        (gamma + 1) * (gamma**2 - 1)
    )


@pytest.mark.parametrize("energy", [0.02, 0.25, 0.6, 3.0])
def test_photons_of_annihilation_in_flight_carry_all_energy_and_momentum(energy):
    p, q, stack, stacked, rng = room()
    found = annihilations(energy, 20_000, p, q, stack, stacked, rng)
    assert q[FATE] == STOPPED
    assert p[ENERGY] == 0.0
    assert (stacked[:2, 3] == PHOTON).all()
    each = found[:, :, 3]
    assert each.sum(axis=1) == pytest.approx(energy + 2 * ELECTRON_MEV, rel=1e-14)
    momentum = (found[:, :, :3] * each[:, :, None]).sum(axis=1)
    whole = np.sqrt(energy * (energy + 2 * ELECTRON_MEV))
    assert momentum == pytest.approx(
        np.broadcast_to(whole * np.array([0.6, 0.0, 0.8]), momentum.shape), abs=1e-7
    )
    z, law = share_law(energy)
    share = each[:, 0] / (energy + 2 * ELECTRON_MEV)
    for power in (1.0, 2.0, -1.0):
        mean, sigma = mean_and_sigma(share**power)
        assert mean == pytest.approx(np.trapezoid(law * z**power, z) / np.trapezoid(law, z), abs=4 * sigma)


@pytest.mark.parametrize("energy", [0.02, 0.25, 0.6, 3.0])
def test_the_total_of_annihilation_is_the_integral_of_its_shares(energy):
    z, law = share_law(energy)
    expected = np.pi * ELECTRON_RADIUS_CM**2 * AVOGADRO * WATER.z_over_a * np.trapezoid(law, z)
    assert electrons.annihilation(WATER, np.array([energy]))[0] == pytest.approx(expected, rel=1e-6)


def test_one_positron_of_250_kev_in_120_annihilates_in_flight():
    """In water: the cross section over the stopping power, from there to the cut, is what the tables hold."""
    energy = np.linspace(CUT, 0.25, 4001)
    loss = electrons.collision_stopping(WATER, energy, True) + electrons.radiative_stopping(WATER, energy)
    expected = np.trapezoid(electrons.annihilation(WATER, energy) / loss, energy)
    assert 1 / expected == pytest.approx(120, rel=0.02)
    walk = electron_tables(WATER, Cuts(CUT, 0.001, CUT, CUT, 0.05), 0.25, positron=True).walk
    part = (walk[:, PHOTONS] - walk[:, SHARE]) / walk[:, PHOTONS]
    found = (np.diff(walk[:, BREMS]) * (part[1:] + part[:-1]) / 2).sum()
    assert found == pytest.approx(expected, rel=5e-3)
