"""Multiple VSV against the plain sum of twenty convolutions, and against EGSnrc."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.signal import fftconvolve

from dicomnode.dose import density_kernels_gpu
from dicomnode.dose.density_kernels import mixture
from dicomnode.dose.half_grid import coarse_length, prolong, restrict
from dicomnode.dose.registry import build
from dicomnode.errors import EngineUnavailable, OutOfDomain
from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap
from dicomnode.physics.chains import with_progeny
from dicomnode.physics.kernel_files import KernelSet, Shells, to_bytes
from dicomnode.physics.kernels import JOULE_PER_MEV
from dicomnode.physics.media import MEDIA_G_PER_CM3, file_name, media, medium_kernels, water
from dicomnode.physics.nuclides import nuclide
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


@pytest.mark.parametrize("kernel_of", ["target", "source", "both"])
def test_tiles_change_nothing(kernel_of):
    tia, anatomy = mottled((33, 40, 47), (4.0, 4.0, 4.0))
    one, many = (
        build("multi-vsv", {"tile_voxels": n, "kernel_of": kernel_of}).dose(tia, anatomy, nuclide("Lu-177"))
        for n in (160, 17)
    )
    assert np.abs(one.gy - many.gy).max() <= 1e-6 * one.gy.max()
    assert np.allclose(one.sigma_gy, many.sigma_gy, rtol=1e-3, atol=1e-6 * one.gy.max())


def test_uniform_water_gives_what_single_vsv_gives(make_uniform, make_source):
    """At 1.00 g/cm3 the medium is Schneider's adipose tissue: it absorbs 2.5 % fewer of the photons."""
    anatomy = make_uniform((20, 20, 20))
    tia = make_source(anatomy, (slice(6, 14),) * 3)
    one, two = (build(name).dose(tia, anatomy, nuclide("Lu-177")).gy for name in ("vsv", "multi-vsv"))
    assert np.abs(two / one - 1).max() < 0.035
    assert two[10, 10, 10] == pytest.approx(one[10, 10, 10], rel=0.004)


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
@pytest.mark.parametrize("kernel_of", ["target", "source", "both"])
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


def test_the_record_names_the_file_of_each_nuclide():
    digests = build("multi-vsv").identity.digests
    assert digests["kernels-Lu-177"] == medium_kernels("Lu-177")[0].digest
    assert len(digests["kernels-Lu-177"]) == 64


def test_kernels_scale_with_areal_density_about():
    """The density scaling theorem (O'Connor 1957) where composition is alike; bone stops less per gram."""
    half = np.array([k.electron.radius_of(0.5) * k.density_g_per_cm3 for k in medium_kernels("Lu-177")])
    assert half[:8] == pytest.approx(half[0], rel=0.005)  # one composition, lung of 0.2 to 0.88 g/cm3
    # ESTAR at 0.15 MeV: 3.24 MeV cm2/g in water, 2.86 in cortical bone (ICRU 44); bone scatters more
    assert 1.02 < half[-1] / half[0] < 1.14


def test_an_alpha_emitter_with_its_progeny_keeps_its_alphas_in_the_voxel(tmp_path, make_uniform, make_source):
    """225Ac chain: 28 MeV of alphas and recoils per decay; kernels of a folder for the rest.

    The kernels here leave all electrons within 1 mm and photons evenly within 300 mm (of water).
    """
    name, anatomy = with_progeny("Ac-225"), make_uniform((15, 15, 15))
    found, shells = (water(), *media()), {}
    for part, reach in (("electron", 0.1), ("photon", 30.0)):
        r = np.array([0.0, 0.5 * reach, reach])
        mev = np.tile(getattr(name.energy, f"{part}_mev") * np.array([0.0, 0.5, 1.0]), (len(found), 1))
        shells[part] = Shells(r, mev, np.zeros((len(found), 2)), np.zeros(len(found)))
    made = KernelSet(name.name, found, shells["electron"], shells["photon"], "test")
    (tmp_path / file_name(name.name)).write_bytes(to_bytes(made))
    tia = make_source(anatomy, (7, 7, 7), 1.0)
    alpha_gy = 1e6 * name.energy.alpha_mev * 1.602176634e-13 / 1e-3
    for engine in ("vsv", "multi-vsv"):
        result = build(engine, {"kernel_folder": str(tmp_path)}).dose(tia, anatomy, name)
        assert result.alpha_gy[7, 7, 7] == pytest.approx(alpha_gy, rel=0.001)
        assert result.alpha_gy.sum() == pytest.approx(result.alpha_gy[7, 7, 7])
        most = name.energy.electron_mev / name.energy.alpha_mev  # a part of the electrons leaves the voxel
        assert 0.5 * most < result.gy[7, 7, 7] / alpha_gy - 1 < 1.02 * most
        balance = result.balance
        assert balance.deposited_j + balance.escaped_j == pytest.approx(balance.emitted_j, rel=1e-5)


@pytest.mark.parametrize("kernel_of", ["target", "source", "both"])
def test_torch_gives_what_scipy_gives(kernel_of, monkeypatch):
    """The path for GPUs, on the processor."""
    monkeypatch.setattr(density_kernels_gpu.GpuWork, "place", "cpu")
    tia, anatomy = mottled((17, 20, 23), (4.0, 4.0, 5.0))
    options = {"kernel_of": kernel_of, "between": "linear", "precision": "double"}
    one, two = (
        build("multi-vsv", options | {"device": device}).dose(tia, anatomy, nuclide("Lu-177"))
        for device in ("cpu", "gpu")
    )
    assert np.abs(one.gy - two.gy).max() <= 1e-6 * one.gy.max()


def test_without_a_gpu_it_says_what_to_do(make_uniform, make_source):
    import torch

    if torch.cuda.is_available():
        pytest.skip("a CUDA device is there")
    anatomy = make_uniform((4, 4, 4))
    engine, tia = build("multi-vsv", {"device": "gpu"}), make_source(anatomy, (1, 1, 1))
    with pytest.raises(EngineUnavailable, match="use device = cpu"):
        engine.dose(tia, anatomy, nuclide("Lu-177"))


@pytest.mark.parametrize("name", ["Lu-177", "Y-90"])
def test_by_both_it_is_the_sum_over_pairs_of_media(name):
    """The slow twin: a kernel for each pair of media, that of their mean density, as dose."""
    used = RHO[[1, 10, 18]]
    tia, anatomy = mottled((9, 10, 11), (4.0, 4.0, 5.0), used)
    density = np.clip(anatomy.density.g_per_cm3, 0.25, 1.76).astype(np.float32)
    anatomy = Anatomy(DensityMap(tia.grid, density), anatomy.body)
    result = build("multi-vsv", {"kernel_of": "both", "precision": "double"}).dose(
        tia, anatomy, nuclide(name)
    )
    shape = tia.grid.shape_zyx
    index = [np.abs(np.arange(-(n - 1), n)) for n in shape]
    window = tuple(slice(n - 1, 2 * n - 1) for n in shape)
    whole = np.ix_(*index)

    @cache
    def octant(k: int) -> np.ndarray:
        return voxel_kernel(medium_kernels(name)[k], tia.grid.spacing_mm, shape).total_mev[whole]

    decays = tia.mbq_s_per_ml.astype(float) * tia.grid.voxel_ml * 1e6
    slow = np.zeros(shape)
    for source in used:
        for target in used:
            mean = (source + target) / 2
            k = min(int(np.searchsorted(RHO, mean, side="right")) - 1, len(RHO) - 2)
            part = (mean - RHO[k]) / (RHO[k + 1] - RHO[k])
            kernel = ((1 - part) * octant(k) + part * octant(k + 1)) / mean
            mev = fftconvolve(decays * np.isclose(density, source), kernel)[window]
            slow += np.where(np.isclose(density, target), mev, 0.0)
    slow *= JOULE_PER_MEV / (tia.grid.voxel_ml * 1e-3)
    assert np.abs(result.gy - slow).max() <= 1e-3 * slow.max()


@pytest.mark.parametrize(("density", "medium"), [(0.12, 0.20), (2.6, 1.90)])
def test_beyond_the_media_the_voxel_has_its_own_mass_where_media_are_mixed(density, medium, make_uniform):
    """90Y stays within a block of 20 cm; as published the dose is that of the thinnest or densest medium."""
    anatomy = make_uniform((10, 10, 10), (20.0, 20.0, 20.0), density)
    tia = TiaMap(anatomy.grid, np.ones(anatomy.grid.shape_zyx))
    near, mixed = (
        build("multi-vsv", {"between": how}).dose(tia, anatomy, nuclide("Y-90"))
        for how in ("nearest", "linear")
    )
    assert near.gy[5, 5, 5] / mixed.gy[5, 5, 5] == pytest.approx(density / medium, rel=0.01)
    true = 1e6 * nuclide("Y-90").energy.electron_mev * 1.602176634e-13 / (density * 1e-3)  # all of it stays
    assert mixed.gy[5, 5, 5] == pytest.approx(true, rel=0.01)
    assert near.sigma_gy[5, 5, 5] > abs(density / medium - 1) * near.gy[5, 5, 5]
