"""What every registered engine keeps to. A new engine comes under it by being registered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.dose.registry import available, build
from dicomnode.errors import EngineUnavailable, Inconsistent, OutOfDomain
from dicomnode.model import Anatomy, DensityMap, Grid, Nuclide, TiaMap
from dicomnode.physics.nuclides import nuclide

pytestmark = pytest.mark.parametrize("name", sorted(available()))

LU177 = nuclide("Lu-177")


def statistical(engine) -> bool:
    """True where the result is random and judged by its own sigma."""
    return "uncertainty" in type(engine).Settings.model_fields


def smoothed(engine) -> bool:
    """True where the result is random, its voxels' errors are alike, and sigma holds a model's error too."""
    return "histories" in type(engine).Settings.model_fields


OPTIONS = {"denoise": {"histories": 50_000}, "gate": {"decays": 3e4}, "montecarlo": {"decays": 3e5}}
"""What engines with statistics simulate here, so that this suite is quick."""


def make(name: str):
    """The engine; skips where what it needs is not installed."""
    try:
        return build(name, OPTIONS.get(name, {}))
    except EngineUnavailable as error:
        pytest.skip(f"run make test-{name} ({error})")


def masses_kg(result, anatomy: Anatomy) -> np.ndarray:
    """Mass that the dose refers to: water for dose to water, else the voxel's own."""
    if result.medium == "water":
        return np.full(anatomy.grid.shape_zyx, anatomy.grid.voxel_ml * 1e-3)
    return anatomy.density.mass_g * 1e-3


def test_zero_in_zero_out(name, make_uniform, make_source):
    anatomy = make_uniform()
    result = make(name).dose(make_source(anatomy, (0, 0, 0), 0.0), anatomy, LU177)
    assert not result.gy.any()
    assert not result.sigma_gy.any()
    assert result.balance.emitted_j == result.balance.deposited_j == result.balance.escaped_j == 0.0


@settings(max_examples=2, deadline=None)
@given(factor=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_linear_in_the_tia(name, factor, seed):
    grid = Grid((5, 6, 7), (4.0, 5.0, 6.0))
    anatomy = Anatomy(
        DensityMap(grid, np.full(grid.shape_zyx, 1.04, np.float32)), np.ones(grid.shape_zyx, bool)
    )
    one, two = np.random.default_rng(seed).random((2, *grid.shape_zyx)).astype(np.float32)
    engine = make(name)
    # seeds of their own: with common random numbers the difference would be less than sigma says
    r_one, r_two, r_sum = (
        engine.dose(TiaMap(grid, v), anatomy, LU177, seed=3 * seed + n)
        for n, v in enumerate((one, two, one * np.float32(factor) + two))
    )
    expected = r_one.gy * np.float64(factor) + r_two.gy
    sigma = np.sqrt((factor * r_one.sigma_gy) ** 2 + r_two.sigma_gy**2 + r_sum.sigma_gy**2)
    z = (r_sum.gy - expected) / np.where(sigma > 0, sigma, 1)
    if smoothed(engine):
        assert np.abs(z).max() < 4
        assert abs(r_sum.gy.mean() / expected.mean() - 1) < 2e-3
        return
    if statistical(engine):
        assert abs(z.mean()) < 4 / np.sqrt(z.size)
        assert 0.75 < z.std() < 1.3  # 210 voxels; sigma itself is known to 16 % with 20 batches
        return
    assert np.abs(r_sum.gy - expected).max() <= 2e-6 * expected.max()


@pytest.mark.parametrize("nuclide_name", ["Lu-177", "I-131", "Y-90"])
def test_energy_in_is_deposited_and_escaped(name, nuclide_name, make_uniform, make_source):
    anatomy = make_uniform(density=1.04)
    tia = make_source(anatomy, (slice(4, 8), 9, slice(3, 12)))
    result = make(name).dose(tia, anatomy, nuclide(nuclide_name))
    balance, energy = result.balance, nuclide(nuclide_name).energy
    emitted = tia.total_mbq_s * 1e6 * (energy.electron_mev + energy.photon_mev) * 1.602176634e-13
    assert balance.emitted_j == pytest.approx(emitted, rel=1e-12)
    assert (result.gy * masses_kg(result, anatomy)).sum() == pytest.approx(balance.deposited_j, rel=1e-6)
    assert balance.deposited_j + balance.escaped_j == pytest.approx(emitted, rel=1e-5)
    assert 0 <= balance.escaped_j < emitted


def test_air_around_and_gas_within_are_never_hot(name, make_uniform):
    shape = (12, 12, 12)
    density = np.full(shape, 1.04, np.float32)
    density[:, :3] = density[6, 6, 6] = 0.0012
    body = np.ones(shape, bool)
    body[:, :3] = False
    grid = Grid(shape, (4.0, 4.0, 4.0))
    anatomy, tia = Anatomy(DensityMap(grid, density), body), TiaMap(grid, np.full(shape, 10.0, np.float32))
    engine = make(name)
    result = engine.dose(tia, anatomy, LU177)
    tissue = result.gy[8, 8, 8]
    assert result.gy[~body].max() <= tissue
    # Divided by 0.1 g/cm3 at least, not by 0.0012: a decay whose electrons all stay makes it 10.4 times the
    # dose of tissue. Transport: of 148 keV 1.2 keV below 10 keV stay, its betas leave half as much again
    # before they are out, and those of tissue give what they give to tissue, all times 0.012: 0.2 times it.
    assert result.gy[6, 6, 6] <= (1 if statistical(engine) else 12) * tissue
    assert result.sigma_gy[6, 6, 6] >= 0.9 * result.gy[6, 6, 6]
    balance = result.balance
    assert balance.deposited_j + balance.escaped_j == pytest.approx(balance.emitted_j, rel=1e-5)


def test_shift_the_source_shift_the_dose(name, make_uniform, make_source):
    anatomy = make_uniform((15, 15, 15))
    engine = make(name)
    r_one = engine.dose(make_source(anatomy, (5, 6, 7)), anatomy, LU177)
    r_two = engine.dose(make_source(anatomy, (7, 5, 8)), anatomy, LU177)
    moved = np.roll(r_one.gy, (2, -1, 1), (0, 1, 2))
    inner = (slice(3, 12),) * 3
    difference = np.abs(moved - r_two.gy)
    if statistical(engine):
        sigma = np.hypot(np.roll(r_one.sigma_gy, (2, -1, 1), (0, 1, 2)), r_two.sigma_gy)
        assert difference[7, 5, 8] <= 4 * sigma[7, 5, 8]
        assert (difference[6:9, 4:7, 7:10] <= 4 * sigma[6:9, 4:7, 7:10] + 1e-5 * r_one.gy.max()).all()
        return
    if smoothed(engine):
        sigma = np.hypot(np.roll(r_one.sigma_gy, (2, -1, 1), (0, 1, 2)), r_two.sigma_gy)
        assert (difference[inner] <= 4 * sigma[inner] + 1e-5 * r_one.gy.max()).all()
        return
    assert difference[inner].max() <= 1e-6 * r_one.gy.max()


def test_the_mean_survives_a_finer_voxel(name):
    """A ball of 24 mm radius in water at 6 and at 3 mm: its mean dose agrees within 1 % of it."""
    engine, means = make(name), []
    coarse = np.indices((14, 14, 14)).astype(float) - 6.5
    ball = (coarse**2).sum(axis=0) <= 16
    for factor, edge in ((1, 6.0), (2, 3.0)):
        fine = ball.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)
        grid = Grid(fine.shape, (edge,) * 3)
        anatomy = Anatomy(DensityMap(grid, np.ones(fine.shape, np.float32)), np.ones(fine.shape, bool))
        means.append(engine.dose(TiaMap(grid, fine * np.float32(100)), anatomy, LU177).gy[fine].mean())
    assert means[0] == pytest.approx(means[1], rel=0.01)


def test_same_arguments_and_seed_same_bytes(name, make_uniform, make_source):
    anatomy = make_uniform()
    tia = make_source(anatomy, (slice(3, 9), slice(2, 7), 5))
    one, two = (make(name).dose(tia, anatomy, LU177, seed=7) for _ in range(2))
    assert one.gy.tobytes() == two.gy.tobytes()
    assert one.sigma_gy.tobytes() == two.sigma_gy.tobytes()


def test_lung_beside_tissue_goes_the_right_way(name):
    """Equal activity per volume: per mass, lung of 0.26 g/cm3 receives more than tissue of 1.04.

    Engines for unbounded water say so by ``capability.heterogeneous``: for them density must not matter.
    """
    shape = (12, 12, 24)
    density = np.full(shape, 1.04, np.float32)
    density[:, :, 12:] = 0.26
    grid = Grid(shape, (5.0, 5.0, 5.0))
    anatomy = Anatomy(DensityMap(grid, density), np.ones(shape, bool))
    engine = make(name)
    gy = engine.dose(TiaMap(grid, np.full(shape, 10.0, np.float32)), anatomy, LU177).gy
    ratio = gy[4:8, 4:8, 18:22].mean() / gy[4:8, 4:8, 2:6].mean()
    if engine.capability.heterogeneous:
        assert 2.5 < ratio < 4.5  # 4 were all energy absorbed where it is emitted
    else:
        assert ratio == pytest.approx(1.0, rel=0.02)


def ball_share(radius_mm: float, edge_mm: float, n: int) -> np.ndarray:
    """Share of each voxel's volume within a centred ball."""
    centre = (np.indices((n,) * 3) - (n - 1) / 2) * edge_mm
    sub = (np.arange(6) + 0.5) / 6 * edge_mm - edge_mm / 2
    share = np.zeros((n,) * 3)
    for x, y, z in np.array(np.meshgrid(sub, sub, sub)).reshape(3, -1).T:
        share += (centre[0] + x) ** 2 + (centre[1] + y) ** 2 + (centre[2] + z) ** 2 <= radius_mm**2
    return share / len(sub) ** 3


BALL_MEV = {"Lu-177": 0.150608, "Y-90": 0.878032, "I-131": 0.224518}
"""Absorbed per decay in the ball of 36 mm of water, MeV: dpk_water_*.npz of shared/reference/egsnrc times the
reduction factor below, integrated over distance."""


@pytest.mark.parametrize("nuclide_name", ["Lu-177", "Y-90", "I-131"])
def test_a_sphere_in_water_has_its_s_value(name, nuclide_name):
    """Mean dose of a uniform ball of 36 mm radius against the EGSnrc point kernel integrated over the ball.

    Share absorbed of energy deposited at distance r from its decay: 1 - 3r/4R + r^3/16R^3, the geometric
    reduction factor of a ball (Berger, MIRD 7). No voxels and no Fourier transform in it. A ball made of
    voxels is blurred by them, in proportion to their size: extrapolated from 4 and 2 mm to none.
    """
    radius, means, engine = 36.0, [], make(name)
    for edge, n in ((4.0, 20), (2.0, 40)):
        share = ball_share(radius, edge, n)
        grid = Grid(share.shape, (edge,) * 3)
        anatomy = Anatomy(DensityMap(grid, np.ones(share.shape, np.float32)), np.ones(share.shape, bool))
        result = engine.dose(TiaMap(grid, share.astype(np.float32)), anatomy, nuclide(nuclide_name))
        means.append(float((result.gy * share).sum() / share.sum()))
    # voxels of engines with statistics are independent, those of models are not
    join = np.sqrt(np.mean(result.sigma_gy[share > 0] ** 2)) if statistical(engine) else None
    sigma = join or float((result.sigma_gy * share).sum() / share.sum())
    mean = 2 * means[1] - means[0]
    expected_gy = 1e6 * BALL_MEV[nuclide_name] * 1.602176634e-13 / 1e-3  # 1 MBq s/mL in 1 g/cm3
    assert abs(mean - expected_gy) <= 2 * sigma  # the engine's own statement
    if engine.capability.nuclides is not None:  # those with kernels
        # 1.5 %: for 90Y, of longer range than a voxel, the blur is no longer in proportion to the voxel
        assert mean == pytest.approx(expected_gy, rel=0.015)


def test_sigma_is_never_missing(name, make_uniform, make_source):
    anatomy = make_uniform()
    result = make(name).dose(make_source(anatomy, (8, 8, 8)), anatomy, LU177)
    assert (result.sigma_gy[result.gy > 0] > 0).all()


def test_bad_input_is_an_error_and_never_a_map(name, make_uniform, make_source):
    anatomy, engine = make_uniform((4, 4, 4)), make(name)
    with pytest.raises(Inconsistent, match="negative in 1 voxels"):
        engine.dose(make_source(anatomy, (1, 1, 1), -1.0), anatomy, LU177)
    with pytest.raises(Inconsistent, match="NaN"):
        make_source(anatomy, (1, 1, 1), np.nan)
    other = make_uniform((4, 4, 5))
    with pytest.raises(Inconsistent, match="different grids"):
        engine.dose(make_source(other, (1, 1, 1)), anatomy, LU177)
    shifted = TiaMap(Grid((4, 4, 4), (4, 4, 4), (1.0, 0, 0)), np.ones((4, 4, 4)))
    with pytest.raises(Inconsistent, match="different grids"):
        engine.dose(shifted, anatomy, LU177)
    huge = make_uniform((2, 2, 2), (200.0, 200.0, 200.0))
    with pytest.raises(OutOfDomain, match="voxel edge is 200"):
        engine.dose(make_source(huge, (1, 1, 1)), huge, LU177)
    with pytest.raises(OutOfDomain, match="progeny of no known chain"):
        engine.dose(make_source(anatomy, (1, 1, 1)), anatomy, nuclide("Ra-226"))
    with pytest.raises(OutOfDomain, match="progeny"):
        engine.dose(make_source(anatomy, (1, 1, 1)), anatomy, nuclide("Ac-225"))
    heavy = make_uniform((4, 4, 4), density=7.8)
    with pytest.raises(OutOfDomain, match=r"density is 7\.8"):
        engine.dose(make_source(heavy, (1, 1, 1)), heavy, LU177)


def test_an_engine_for_some_nuclides_refuses_the_others(name, make_uniform, make_source):
    engine, anatomy = make(name), make_uniform((4, 4, 4))
    unknown = Nuclide("Xx-1", 1.0, LU177.energy, "none")
    if engine.capability.nuclides is None:
        return
    with pytest.raises(OutOfDomain, match="Xx-1"):
        engine.dose(make_source(anatomy, (1, 1, 1)), anatomy, unknown)


def test_progress_may_interrupt(name, make_uniform, make_source):
    class Stop(Exception):
        pass

    def stop(_fraction, _what):
        raise Stop

    anatomy = make_uniform((4, 4, 4))
    with pytest.raises(Stop):
        make(name).dose(make_source(anatomy, (1, 1, 1)), anatomy, LU177, progress=stop)
