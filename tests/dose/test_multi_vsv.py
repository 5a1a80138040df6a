"""Multiple VSV against the plain sum of twenty convolutions, and against EGSnrc."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve

from dicomnode.dose.coarse import coarse_length, prolong, restrict
from dicomnode.dose.multi_vsv import mixture
from dicomnode.dose.registry import build
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap
from dicomnode.physics.kernels import JOULE_PER_MEV, water_kernel
from dicomnode.physics.media import (
    FORMAT,
    INTERIM,
    MEDIA_G_PER_CM3,
    electrons_per_mass,
    mean_excitation_ev,
    media,
    medium_kernel,
    medium_kernels,
    read_kernels,
    stopping_ratio,
)
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue
from dicomnode.physics.voxel_kernels import voxel_kernel

RHO = np.array(MEDIA_G_PER_CM3)


def mottled(shape, spacing, used=MEDIA_G_PER_CM3) -> tuple[TiaMap, Anatomy]:
    """Media side by side, air among them, and a few hot voxels on a background."""
    rng = np.random.default_rng(1)
    density = rng.choice([0.0012, *used, 2.5], shape).astype(np.float32)
    grid = Grid(shape, spacing)
    tia = rng.random(shape) * 0.05 + (rng.random(shape) > 0.995) * 10
    return TiaMap(grid, tia), Anatomy(DensityMap(grid, density), np.ones(shape, bool))


def plain_sum(tia: TiaMap, anatomy: Anatomy, name: str, kernel_of: str = "target") -> np.ndarray:
    """Twenty kernels, twenty convolutions, twenty masks: the method as it is published."""
    shape = tia.grid.shape_zyx
    which = np.abs(anatomy.density.g_per_cm3[..., None] - RHO).argmin(axis=-1)
    decays = tia.mbq_s_per_ml.astype(float) * tia.grid.voxel_ml * 1e6
    index = [np.abs(np.arange(-(n - 1), n)) for n in shape]
    window = tuple(slice(n - 1, 2 * n - 1) for n in shape)
    total = np.zeros(shape)
    for k, kernel in enumerate(medium_kernels(name)):
        if not (which == k).any():
            continue
        full = voxel_kernel(kernel, tia.grid.spacing_mm, shape).total_mev[np.ix_(*index)]
        source = decays if kernel_of == "target" else decays * (which == k)
        mev = fftconvolve(source, full)[window]
        total += np.where(which == k, mev, 0.0) if kernel_of == "target" else mev
    return total * JOULE_PER_MEV / (RHO[which] * tia.grid.voxel_ml * 1e-3)


@pytest.mark.parametrize(
    ("name", "kernel_of", "precision", "used"),
    [
        ("Lu-177", "target", "double", RHO[[0, 6, 10, 19]]),
        ("Y-90", "target", "double", RHO[[1, 10]]),
        ("I-131", "source", "single", RHO[[3, 11, 18]]),
        *(
            pytest.param(name, kernel_of, "double", RHO, marks=pytest.mark.long)
            for name in ("Lu-177", "Y-90", "I-131")
            for kernel_of in ("target", "source")
        ),
    ],
)
def test_it_equals_the_plain_sum_of_the_kernels_to_1e_4_of_the_maximum(name, kernel_of, precision, used):
    tia, anatomy = mottled((18, 25, 30), (4.0, 4.0, 5.0), used)
    options = {"kernel_of": kernel_of, "precision": precision}
    fast = build("multi-vsv", options).dose(tia, anatomy, nuclide(name)).gy
    slow = plain_sum(tia, anatomy, name, kernel_of)
    assert np.abs(fast - slow).max() <= 1e-4 * slow.max()


@pytest.mark.parametrize("kernel_of", ["target", "source"])
def test_tiles_change_nothing(kernel_of):
    tia, anatomy = mottled((33, 40, 47), (4.0, 4.0, 4.0))
    one, many = (
        build("multi-vsv", {"tile_voxels": n, "kernel_of": kernel_of}).dose(tia, anatomy, nuclide("Lu-177"))
        for n in (160, 17)
    )
    assert np.abs(one.gy - many.gy).max() <= 1e-6 * one.gy.max()
    assert np.allclose(one.sigma_gy, many.sigma_gy, rtol=1e-4, atol=1e-7 * one.gy.max())


def test_uniform_water_gives_what_single_vsv_gives(make_uniform, make_source):
    """At 1.00 g/cm3 the medium is Schneider's tissue there: 0.4 % fewer electrons per mass."""
    anatomy = make_uniform((20, 20, 20))
    tia = make_source(anatomy, (slice(6, 14),) * 3)
    one, two = (build(name).dose(tia, anatomy, nuclide("Lu-177")).gy for name in ("vsv", "multi-vsv"))
    assert np.abs(two / one - 1).max() < 0.02
    assert two[10, 10, 10] == pytest.approx(one[10, 10, 10], rel=0.002)


def test_kernels_of_the_source_conserve_energy_and_those_of_the_target_need_not(make_uniform):
    """Electrons of 90Y stay on a grid this wide, whatever media they meet."""
    tia, anatomy = mottled((16, 16, 16), (12.0, 12.0, 12.0))
    middle = np.zeros((16, 16, 16), np.float32)
    middle[6:10, 6:10, 6:10] = 1.0
    density = np.where(anatomy.density.g_per_cm3 < 0.1, 0.2, anatomy.density.g_per_cm3)
    anatomy = Anatomy(DensityMap(anatomy.grid, density), anatomy.body)
    options = {"kernel_of": "source", "mass": "voxel"}
    balance = build("multi-vsv", options).dose(TiaMap(tia.grid, middle), anatomy, nuclide("Y-90")).balance
    assert balance.deposited_j == pytest.approx(balance.emitted_j, rel=0.005)  # bremsstrahlung escapes


def phantom(shared, which):
    maps = np.load(shared / "reference/egsnrc/phantom_a_maps.npz")
    doses = np.load(shared / f"reference/egsnrc/phantom_a_dose_{which}.npz")
    grid = Grid((40, 40, 40), tuple(maps["voxel_mm"]))
    anatomy = Anatomy(DensityMap(grid, maps["density_g_cm3"].transpose(2, 1, 0)), np.ones((40, 40, 40), bool))
    tia = TiaMap(grid, maps["source_fraction"].transpose(2, 1, 0) * (1e6 / grid.voxel_ml))  # 1e12 decays
    truth = 1e12 * sum(doses[k].astype(float) for k in ("D_electron", "D_photon") if k in doses)
    labels, materials = (maps[k].transpose(2, 1, 0) for k in ("region_label", "material_index"))
    regions = [labels == k for k in (1, 2, 3)] + [(labels == 0) & (materials == k) for k in (0, 1, 2)]
    return anatomy, tia, truth.transpose(2, 1, 0), regions


def ratios(result, truth, regions, mass):
    means = [
        [np.average(a[r], weights=mass[r]) for a in (result.gy, truth, result.sigma_gy)] for r in regions
    ]
    return [(gy / true, abs(gy - true) / sigma) for gy, true, sigma in means]


@pytest.mark.parametrize("which", ["Lu177", "Y90", "I131"])
@pytest.mark.parametrize("kernel_of", ["target", "source"])
@pytest.mark.parametrize("between", ["nearest", "linear"])
def test_in_lung_tissue_and_bone_it_is_right_within_its_own_statement(shared, which, kernel_of, between):
    """EGSnrc, phantom a: every region mean within 2.5 of the engine's own sigma."""
    anatomy, tia, truth, regions = phantom(shared, which)
    result = build("multi-vsv", {"kernel_of": kernel_of, "between": between}).dose(
        tia, anatomy, nuclide(which)
    )
    assert max(z for _, z in ratios(result, truth, regions, anatomy.density.mass_g)) <= 2.5


@pytest.mark.parametrize(("which", "limit"), [("Lu177", 0.01), ("Y90", 0.02), ("I131", 0.01)])
def test_sources_in_lung_tissue_and_bone_have_the_mean_dose_of_egsnrc(shared, which, limit):
    """Mixed media, where single VSV is off by 15 % (177Lu in lung), 190 % (90Y) and 25 % (131I)."""
    anatomy, tia, truth, regions = phantom(shared, which)
    result = build("multi-vsv", {"between": "linear"}).dose(tia, anatomy, nuclide(which))
    for ratio, _ in ratios(result, truth, regions[:3], anatomy.density.mass_g):
        assert ratio == pytest.approx(1.0, abs=limit)


def test_nearest_and_mixed_media():
    density = np.array([0.001, 0.2, 0.22, 0.225, 0.23, 1.06, 1.9, 3.0], np.float32)
    near, mixed = mixture(density, "nearest"), mixture(density, "linear")
    window = slice(None)
    assert np.allclose(near.weights(RHO, window), [0.2, 0.2, 0.2, 0.25, 0.25, 1.08, 1.9, 1.9])
    assert np.allclose(mixed.weights(RHO, window), [0.2, 0.2, 0.22, 0.225, 0.23, 1.06, 1.9, 1.9])


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_restriction_is_the_transpose_of_prolongation_and_conserves_the_sum(n):
    rng = np.random.default_rng(n)
    fine, coarse = rng.random((n, n + 1, n + 2)), rng.random([coarse_length(k) for k in (n, n + 1, n + 2)])
    whole = tuple(slice(0, k) for k in fine.shape)
    assert (restrict(fine) * coarse).sum() == pytest.approx((fine * prolong(coarse, whole)).sum(), rel=1e-12)
    assert restrict(fine).sum() == pytest.approx(fine.sum(), rel=1e-12)


def test_a_window_is_prolonged_as_the_whole_is():
    coarse = np.random.default_rng(0).random([coarse_length(21)] * 3)
    whole = prolong(coarse, (slice(0, 21),) * 3)
    window = (slice(3, 9), slice(4, 21), slice(0, 7))
    assert np.array_equal(prolong(coarse, window), whole[window])


def test_a_polynomial_of_the_fifth_degree_is_prolonged_exactly():
    nodes = 2.0 * (np.arange(coarse_length(12)) - 2)
    coarse = np.broadcast_to(nodes**5 - 3 * nodes**2, (len(nodes),) * 3)
    voxels = np.arange(12.0)
    assert prolong(coarse, (slice(0, 1), slice(0, 1), slice(0, 12)))[0, 0] == pytest.approx(
        voxels**5 - 3 * voxels**2
    )


def test_a_large_grid_is_bounded_in_memory_by_its_tiles(make_uniform, make_source):
    engine = build("multi-vsv", {"memory_limit_gb": 0.01})
    anatomy = make_uniform((40, 40, 40))
    with pytest.raises(OutOfDomain, match=r"memory_limit_gb = 0\.01"):
        engine.dose(make_source(anatomy, (1, 1, 1)), anatomy, nuclide("Lu-177"))
    build("multi-vsv", {"precision": "single"})._require_memory((400, 512, 512))


def test_the_record_says_that_the_kernels_are_interim():
    digests = build("multi-vsv").identity.digests
    assert len(digests) == 60
    assert all(INTERIM in name and len(digest) == 64 for name, digest in digests.items())
    assert len(set(digests.values())) == 60


def test_interim_kernels_scale_with_areal_density_and_keep_the_energy():
    water = water_kernel("Lu-177")
    for medium in media():
        kernel = medium_kernel("Lu-177", medium)
        assert kernel.medium == INTERIM
        assert kernel.total_mev == pytest.approx(water.total_mev, rel=1e-9)
        scale = medium.g_per_cm3 * stopping_ratio(medium.composition, 0.1480)
        half = kernel.electron.radius_of(0.5) * scale
        assert half == pytest.approx(water.electron.radius_of(0.5), rel=1e-3)
    with pytest.raises(OutOfDomain, match=r"density of a medium with kernels is 1 g/cm3"):
        medium_kernel("Lu-177", type(media()[0])(1, tissue("water")))


def test_electrons_and_excitation_of_cortical_bone_are_those_of_nist():
    """NIST, composition tables (ICRU 44): Z/A of water 0.55508, bone 0.51478; I = 75.0 and 112.0 eV."""
    water, bone = tissue("water"), tissue("bone_cortical_icru44")
    assert electrons_per_mass(water) == pytest.approx(0.55508, rel=1e-4)
    assert electrons_per_mass(bone) == pytest.approx(0.51478, rel=1e-3)
    assert mean_excitation_ev(water) == pytest.approx(75.0, rel=0.01)
    assert mean_excitation_ev(bone) == pytest.approx(112.0, rel=0.02)
    assert stopping_ratio(water, 0.1) == 1.0
    assert 0.85 < stopping_ratio(bone, 0.1) < 0.51478 / 0.55508  # more tightly bound: below the ratio of Z/A


def write_kernels(path, **changed):
    """A file in the format for simulated kernels, with the interim ones in it."""
    kernels = medium_kernels("Y-90")
    content = {
        "format": FORMAT, "nuclide": "Y-90", "origin": "a simulation", "g_per_cm3": RHO,
        "r_mm_electron": np.stack([k.electron.r_mm for k in kernels]),
        "mev_electron": np.stack([k.electron.mev for k in kernels]),
        "beyond_mev_electron": np.array([k.electron.beyond_mev for k in kernels]),
    }  # fmt: skip
    np.savez(path, **content | changed)
    return path.read_bytes()


def test_a_kernel_file_takes_the_place_of_the_interim_ones(tmp_path):
    found = read_kernels(write_kernels(tmp_path / "k.npz"), "Y-90")
    assert len(found) == 20
    for new, old in zip(found, medium_kernels("Y-90"), strict=True):
        assert new.medium == "a simulation"
        assert new.photon is None
        assert new.digest != old.digest
        assert np.array_equal(new.electron.mev, old.electron.mev)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"format": "else"}, "format is 'else'"),
        ({"nuclide": "Lu-177"}, "nuclide is 'Lu-177', expected 'Y-90'"),
        ({"g_per_cm3": RHO * 2}, "made for densities"),
    ],
)
def test_a_kernel_file_of_another_kind_is_refused(tmp_path, changed, match):
    with pytest.raises(Inconsistent, match=match):
        read_kernels(write_kernels(tmp_path / "k.npz", **changed), "Y-90")
