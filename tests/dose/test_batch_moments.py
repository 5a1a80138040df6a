"""The engine montecarlo keeps its batches: small, exact, and what noise really does."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.dose.registry import build
from dicomnode.model import DensityMap, DoseMap, Grid, TiaMap
from dicomnode.model.moments import cut, dispersion_of, mean_moments, moments, of_degree
from dicomnode.physics.anatomy import anatomy_from_density
from dicomnode.physics.chains import with_progeny
from dicomnode.physics.nuclides import nuclide

GRID = Grid((11, 12, 13), (4.0, 4.0, 4.0))


def run(name: str, seed: int = 0, decays: float = 2e4) -> DoseMap:
    """A hot ball in water-like tissue with air around."""
    inside = np.zeros(GRID.shape_zyx, bool)
    inside[1:10, 1:11, 1:12] = True
    activity = np.where(inside, 0.1, 0.0)
    activity[4:7, 4:7, 5:8] = 1.0
    anatomy = anatomy_from_density(DensityMap(GRID, np.where(inside, 1.03, 0.0012)))
    source = with_progeny(name) if name == "Ac-225" else nuclide(name)
    return build("montecarlo", {"decays": decays, "threads": 1}).dose(
        TiaMap(GRID, activity), anatomy, source, seed=seed
    )


@pytest.mark.parametrize("name", ["Lu-177", "Ac-225"])
def test_the_mean_of_the_batches_is_the_dose(name) -> None:
    """20 batches of 165 moments. They differ from the dose by the balance of each batch, which is second
    order, and by float32; alpha particles, which are not transported, are part of every batch."""
    found = run(name)
    assert found.noise.moments_gy.shape == (20, 165)
    assert found.noise.decays.sum() == pytest.approx(2e4, rel=0.01)
    own = moments(np.ascontiguousarray(cut(found.gy.astype(float), found.noise.box_zyx)), found.noise.degree)
    assert np.linalg.norm(mean_moments(found.noise) - own) < 2e-3 * np.linalg.norm(own)


def test_a_seed_gives_the_same_batches_and_runs_merge() -> None:
    one, two = run("Lu-177", 1), run("Lu-177", 2)
    assert np.array_equal(one.noise.moments_gy, run("Lu-177", 1).noise.moments_gy)
    both = one.noise.merged(two.noise)
    assert len(both.decays) == 40
    assert np.allclose(
        mean_moments(both), (mean_moments(one.noise) + mean_moments(two.noise)) / 2, rtol=1e-12, atol=0
    )


@pytest.mark.long
def test_batches_scatter_as_independent_runs_do() -> None:
    """The first moment of 40 runs against what each run's batches say: a ratio of variances, F(39, 760),
    whose 0.1 % quantiles are 0.46 and 1.85."""
    runs = [run("Y-90", seed, 4e3) for seed in range(40)]
    spread = np.var([mean_moments(r.noise)[0] for r in runs], ddof=1)
    within = np.mean([np.var(r.noise.moments_gy[:, 0], ddof=1) / 20 for r in runs])
    assert 0.46 < spread / within < 1.85


def test_what_one_voxel_loses_its_neighbour_gets() -> None:
    """177Lu at 4 mm: only energy that crosses faces is left to chance, so sums over many voxels scatter far
    less than independent voxels would (0.03 to 0.05 in the study); 90Y crosses several voxels (0.9 to
    2.4)."""
    for name, low, high in (("Lu-177", 0.005, 0.3), ("Y-90", 0.4, 5.0)):
        found = run(name, decays=1e5)
        assert low < dispersion_of(of_degree(found.noise, 4), np.square(found.sigma_gy.astype(float))) < high
