"""The engine ``denoise``: unbiased whatever the histories, and nearer the truth than either of its parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from dicomnode.dose.denoising.columns import absorption
from dicomnode.dose.denoising.correction import Corrected, corrected
from dicomnode.dose.denoising.prior import PhotonPrior, photon_prior
from dicomnode.dose.inputs import decays
from dicomnode.dose.registry import build
from dicomnode.dose.transported import transported_media
from dicomnode.errors import OutOfDomain
from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap
from dicomnode.montecarlo.component import component_estimates
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import Problem
from dicomnode.montecarlo.source import members
from dicomnode.physics.anatomy import anatomy_from_density
from dicomnode.physics.media import medium_kernels
from dicomnode.physics.nuclides import nuclide

EDGE_MM = 6.0
RUNS = 16


def block() -> tuple[TiaMap, Anatomy, dict[str, np.ndarray]]:
    """A body of soft tissue in air with lung, a bar of bone, a hot source and activity everywhere."""
    shape = (20, 22, 26)
    density = np.full(shape, 0.0012, np.float32)
    density[1:-1, 1:-1, 1:-1] = 1.04
    density[3:-3, 3:12, 3:12] = 0.26
    density[4:-4, 14:18, 6:9] = 1.6
    tia = np.where(density > 0.1, 5.0, 0.0)
    tia[8:12, 10:14, 18:22] = 200.0
    grid = Grid(shape, (EDGE_MM,) * 3)
    anatomy = anatomy_from_density(DensityMap(grid, density))
    regions = {
        "lung": density == np.float32(0.26),
        "bone": density == np.float32(1.6),
        "source": tia == 200,
        "rest": (density == np.float32(1.04)) & (tia < 200),
    }
    return TiaMap(grid, tia), anatomy, regions


@dataclass(frozen=True, eq=False)
class Runs:
    """Independent halves of short runs, (RUNS, 2, z, y, x), a long run in two halves, and the kernels."""

    anatomy: Anatomy
    regions: dict[str, np.ndarray]
    short: np.ndarray
    long: np.ndarray
    prior: PhotonPrior
    absorbed: np.ndarray

    def corrected(self, transport: np.ndarray) -> tuple[np.ndarray, Corrected]:
        found = corrected(
            transport, self.prior, self.anatomy.density.g_per_cm3, self.anatomy.body, self.absorbed,
            (EDGE_MM,) * 3,
        )  # fmt: skip
        mev = np.zeros(self.anatomy.body.shape)
        mev[self.anatomy.body] = found.mev
        return mev, found


@pytest.fixture(scope="module")
def runs() -> Runs:
    tia, anatomy, regions = block()
    material, media = transported_media(anatomy)
    problem = Problem(
        decays(tia), anatomy.density.g_per_cm3, material, media, tia.grid.spacing_mm,
        members(nuclide("Lu-177")),
    )  # fmt: skip
    settings = TransportSettings(threads=1, batches=5)
    short = component_estimates(problem, settings, 5, "photon", RUNS * 20_000, 2 * RUNS)
    long = component_estimates(problem, settings, 6, "photon", 600_000, 2)
    prior = photon_prior(tia, anatomy.density.g_per_cm3, medium_kernels("Lu-177"), 1)
    halves = short.reshape(RUNS, 2, *short.shape[1:])
    return Runs(anatomy, regions, halves, long, prior, absorption(media)[material])


def test_the_mean_over_runs_is_that_of_many_histories_in_every_region(runs):
    """Photons of 16 runs of 20 000 histories against 600 000; kernels alone are off by 8 to 60 % here."""
    found = [runs.corrected(one)[0] for one in runs.short]
    truth = runs.long.mean(axis=0)
    for name, mask in runs.regions.items():
        means = np.array([mev[mask].sum() for mev in found]) / truth[mask].sum()
        noise = np.hypot(
            means.std(ddof=1) / RUNS**0.5, runs.long[:, mask].sum(axis=1).std() / truth[mask].sum()
        )
        assert abs(means.mean() - 1) < 3 * noise + 0.01, (name, means.mean(), noise)


def test_each_class_of_tissue_keeps_the_energy_of_the_transport(runs):
    """By the normal equations of the columns one, lung and bone, and the residual's mean taken off."""
    _, found = runs.corrected(runs.short[0])
    mean = runs.short[0].mean(axis=0)[runs.anatomy.body]
    for kind in range(3):
        here = found.kind == kind
        assert found.mev[here].sum() == pytest.approx(mean[here].sum(), rel=1e-4)


def test_voxels_are_nearer_the_truth_than_kernels_or_the_same_histories_alone(runs):
    """Debiased rms over the body, relative to the photon dose: 5 % where the two alone have 30 % or more."""
    mev, _ = runs.corrected(runs.short[0])
    body = runs.anatomy.body
    kernel = runs.prior.target * runs.anatomy.density.mass_g
    rms = {}
    for name, map_ in (("denoised", mev), ("kernels", kernel), ("raw", runs.short[0].mean(axis=0))):
        off = [(map_ - half)[body] / mev[body] for half in runs.long]
        square = float((off[0] * off[1]).mean())
        rms[name] = np.sqrt(max(square, 0.0))
    assert rms["denoised"] < 0.08, rms
    assert rms["denoised"] < 0.3 * min(rms["kernels"], rms["raw"]), rms


def test_noise_by_halves_is_the_spread_of_runs(runs):
    """By region, over 16 runs: the stated standard uncertainty within a factor 1.6 of the true one."""
    found = [runs.corrected(one) for one in runs.short]
    maps = np.array([mev for mev, _ in found])
    spread = maps.std(axis=0, ddof=1)
    stated = np.zeros((RUNS, *spread.shape))
    for number, (_, one) in enumerate(found):
        stated[number][runs.anatomy.body] = one.noise_mev
    for name, mask in runs.regions.items():
        ratio = np.sqrt((stated[:, mask] ** 2).mean() / (spread[mask] ** 2).mean())
        assert 1 / 1.6 < ratio < 1.6, (name, ratio)


def test_any_number_of_threads_gives_the_same_bytes():
    tia, anatomy, _ = block()
    one, two = (
        build("denoise", {"threads": n, "histories": 20_000}).dose(tia, anatomy, nuclide("Lu-177"), seed=3)
        for n in (1, 2)
    )
    assert one.gy.tobytes() == two.gy.tobytes()
    assert one.sigma_gy.tobytes() == two.sigma_gy.tobytes()


def test_a_nuclide_almost_without_photons_is_not_corrected():
    """90Y: 1e-6 of its energy are photons. Without lung or gas the seed of the transport changes nothing."""
    grid = Grid((8, 9, 10), (EDGE_MM,) * 3)
    density = DensityMap(grid, np.full(grid.shape_zyx, 1.04, np.float32))
    tia, anatomy = TiaMap(grid, np.ones(grid.shape_zyx)), Anatomy(density, np.ones(grid.shape_zyx, bool))
    engine = build("denoise", {"histories": 20_000})
    one, two = (engine.dose(tia, anatomy, nuclide("Y-90"), seed=s) for s in (1, 2))
    assert one.gy.tobytes() == two.gy.tobytes()


def test_a_grid_beyond_the_memory_limit_is_refused_before_the_work():
    tia, anatomy, _ = block()
    with pytest.raises(OutOfDomain, match="memory_limit_gb"):
        build("denoise", {"memory_limit_gb": 1e-3}).dose(tia, anatomy, nuclide("Lu-177"))
