"""Properties of the transport: reproducible, conserving, unbiased."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.errors import OutOfDomain
from dicomnode.montecarlo import random
from dicomnode.montecarlo.random import STATE
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import Run, simulate
from dicomnode.montecarlo.source import allot


def quiet(_fraction, _what):
    return None


def test_philox_gives_the_numbers_of_random123():
    """Known answers of the authors' kat_vectors: philox4x32 10, counter and key all zero."""
    state = np.zeros(STATE, np.uint64)
    random.start(state, np.uint64(0), 0, 0)
    random.refill(state)
    assert [int(n) for n in state[6:10]] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("name", ["Lu-177", "Y-90", "I-131", "F-18", "Ga-68", "Tc-99m", "In-111", "Ra-223"])
def test_energy_in_is_deposited_and_escaped(cube, name):
    run = Run(cube(name), TransportSettings(decays=1e3), seed=1)
    for component in run.components:
        energy, totals = run.batch(component, 0, 4000, lambda _: None)
        emitted, escaped, controlled, excess = totals
        assert int(energy.sum()) + controlled + escaped - excess == pytest.approx(int(emitted), rel=1e-6)
        assert emitted > 0


def test_one_seed_gives_the_same_map_on_any_number_of_threads(cube):
    one, three = (simulate(cube("I-131"), TransportSettings(decays=2e4, threads=n), 9, quiet) for n in (1, 3))
    assert one.mev.tobytes() == three.mev.tobytes()
    assert one.sigma_mev.tobytes() == three.sigma_mev.tobytes()
    other = simulate(cube("I-131"), TransportSettings(decays=2e4), 10, quiet)
    assert other.mev.tobytes() != one.mev.tobytes()


def test_sigma_is_the_spread_of_independent_runs(cube):
    found = [simulate(cube("Lu-177"), TransportSettings(decays=2e4), s, quiet) for s in range(12)]
    middle = (3, 3, 3)
    face = (3, 3, 2)
    for voxel in (middle, face):
        spread = np.std([f.mev[voxel] for f in found], ddof=1)
        stated = np.sqrt(np.mean([f.sigma_mev[voxel] ** 2 for f in found]))
        assert 0.5 < spread / stated < 1.7  # 12 runs know the spread to 21 %


def test_the_control_variate_changes_no_mean(cube):
    """With and without it on the same histories: only the energy drawn differs from its mean."""
    run = Run(cube("Lu-177"), TransportSettings(decays=1e5), seed=4)
    electrons = run.components[0]
    with_control, controlled = run.batch(electrons, 0, 100_000, lambda _: None)
    run.control[electrons.name][:] = 0
    without, totals = run.batch(electrons, 0, 100_000, lambda _: None)
    source = np.flatnonzero(run.weight)[0]
    difference = without - with_control
    assert difference[source] == controlled[2]
    assert 0.7 < controlled[2] / totals[0] < 0.9  # 4 mm of water: 17 ranges of the mean electron
    assert not np.delete(difference, source).any()


def test_more_decays_than_the_batches_hold_are_refused(cube):
    """1e11 decays of 90Y in 20 batches are 5e9 electrons each; the limit is 5e8, so 200 batches."""
    with pytest.raises(OutOfDomain, match="raise batches to 200"):
        simulate(cube("Y-90"), TransportSettings(decays=1e11), 1, lambda *_: None)


def test_a_goal_of_uncertainty_is_met(cube):
    found = simulate(cube("Lu-177"), TransportSettings(uncertainty=0.005), 3, quiet)
    assert found.uncertainty <= 0.005


def test_systematic_sampling_gives_every_voxel_its_share():
    weight = np.array([5.0, 0.0, 1.0, 3.5, 0.5])
    for offset in (0.0, 0.3, 0.99):
        share = allot(weight, 1000, offset)
        assert share.number.sum() == 1000
        assert np.abs(share.number - weight[share.voxel] * 100).max() <= 1
    shares = [allot(weight, 7, offset) for offset in np.linspace(0, 0.999, 500)]
    mean = np.mean([np.bincount(share.voxel, share.number, 5) for share in shares], axis=0)
    assert mean == pytest.approx(weight * 0.7, abs=0.02)
