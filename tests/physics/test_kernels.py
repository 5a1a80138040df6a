"""Our kernels against EGSnrc: point kernels in water, and voxel S-values scored in voxels.

The reference is shared/reference/egsnrc; its README states its statistics.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from io import BytesIO

import numpy as np
import pytest

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.physics import voxel_kernels
from dicomnode.physics.chains import with_progeny
from dicomnode.physics.kernel_files import KernelSet, Shells, from_bytes, origin_of, to_bytes
from dicomnode.physics.kernels import smooth_tail
from dicomnode.physics.media import (
    MEDIA_G_PER_CM3,
    file_name,
    kernel_bytes,
    kernel_digest,
    kernel_names,
    media,
    medium_kernels,
    water,
    water_kernel,
)
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.voxel_kernels import component_mev, full_sum, reach_voxels, voxel_kernel

VSV = [
    ("Lu-177", "vsv_4p42mm_Lu177.npz"),
    ("Y-90", "vsv_4p42mm_Y90.npz"),
    ("I-131", "vsv_4p42mm_I131.npz"),
    ("Lu-177", "vsv_2p4x2p4x3p0mm_Lu177.npz"),
]


# Energy per decay that passes 1 m of water, keV: data/README.md.
BEYOND_KEV = [("Lu-177", 0.0049), ("Y-90", 0.0073), ("I-131", 0.38)]


def test_files_have_the_digests_of_their_readme():
    folder = files("dicomnode.physics") / "data"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for name in map(file_name, kernel_names()):
        assert f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" in readme


@pytest.mark.parametrize("name", kernel_names())
def test_the_kernels_of_all_media_hold_the_energy_that_the_nuclide_emits(name):
    energy = (with_progeny(name.split("+")[0]) if "+" in name else nuclide(name)).energy
    for kernel in (water_kernel(name), *medium_kernels(name)):
        assert kernel.total_mev == pytest.approx(energy.electron_mev + energy.photon_mev, rel=2e-6)
        assert (np.diff(kernel.electron.mev) >= 0).all()
    assert "own Monte Carlo" in origin_of(kernel_bytes(name))


def egsnrc(shared, name, which):
    """(edges, MeV per shell, sigma) of the reference, at nominal energy."""
    data = np.load(shared / f"reference/egsnrc/dpk_water_{name.replace('-', '')}.npz")
    info = dict(zip(data["info_fields"].tolist(), data[f"info_{which}"].tolist(), strict=True))
    scale = info["MeV_per_decay_nominal"] / info["MeV_per_decay_sampled"]
    keys = (f"E_MeV_per_decay_{which}", f"E_sigma_{which}")
    return data[f"r_edges_mm_{which}"], *(data[key] * scale for key in keys)


def joined(edges, energy, sigma, known, thinnest):
    """Neighbouring shells joined until each is known to ``known`` and is as thick as ``thinnest`` r."""
    start = 0
    for stop in range(1, len(edges)):
        total, deviation = energy[start:stop].sum(), np.sqrt((sigma[start:stop] ** 2).sum())
        if deviation <= known * total and edges[stop] - edges[start] >= thinnest * edges[start]:
            yield edges[start], edges[stop], total, deviation
            start = stop


# The reference is a sphere of 500 mm in vacuum: nothing comes back from beyond, which is seen from 300 mm on.
UNBOUNDED_MM = 300.0


@pytest.mark.parametrize("name", ["Lu-177", "I-131"])
def test_photon_kernels_are_those_of_egsnrc_within_1_per_cent(shared, name):
    """Wherever the kernel, r2-weighted, is above 1 % of its maximum: statistics of both 0.5 % (k = 1)."""
    edges, energy, sigma = egsnrc(shared, name, "photon")
    ours = water_kernel(name).photon
    running = np.abs(ours.within(edges[1:]) - np.cumsum(energy))[edges[1:] <= UNBOUNDED_MM]
    assert running.max() < 0.005 * energy.sum()
    shells = [s for s in joined(edges, energy, sigma, 0.004, 0.1) if s[1] <= UNBOUNDED_MM]
    assert len(shells) > 25
    for inner, outer, mev, deviation in shells:
        assert abs(ours.within(outer) - ours.within(inner) - mev) <= 0.01 * mev + 2 * deviation, inner


TAIL_MM = {"Lu-177": 0.6, "I-131": 0.9}


@pytest.mark.parametrize("name", ["Lu-177", "Y-90", "I-131"])
def test_electron_kernels_are_those_of_egsnrc(shared, name):
    """Cumulative within 0.5 %; shells that hold a hundredth of the maximum within 1 % and 2 sigma of both.

    Near the end of the range the kernels of 177Lu and 131I are 2 % higher (docs/physics.md): 3 and 5 % of
    the energy lie there.
    """
    edges, energy, sigma = egsnrc(shared, name, "electron")
    ours = water_kernel(name).electron
    running = np.abs(ours.within(edges[1:]) - np.cumsum(energy))
    assert running.max() < 0.005 * energy.sum()
    shells = list(joined(edges, energy, sigma, 0.003, 0.1))
    most = max(mev / (outer - inner) for inner, outer, mev, _ in shells)
    for inner, outer, mev, deviation in shells:
        if mev / (outer - inner) > 0.01 * most:
            limit = 0.025 if inner >= TAIL_MM.get(name, 99) else 0.01
            allowed = limit * mev + 2 * np.hypot(deviation, 0.003 * mev)
            assert abs(ours.within(outer) - ours.within(inner) - mev) <= allowed, inner


@pytest.mark.parametrize(
    ("name", "radii_mm"),
    # 50, 90, 95 % radii of the electrons: shared/reference/egsnrc/README.md
    [("Lu-177", (0.171, 0.590, 0.734)), ("I-131", (0.302, 0.851, 1.036)), ("Y-90", (2.35, 5.44, 6.34))],
)
def test_radii_of_the_electrons(name, radii_mm):
    electron = water_kernel(name).electron
    assert [electron.radius_of(x) for x in (0.5, 0.9, 0.95)] == pytest.approx(radii_mm, rel=0.006)


@pytest.mark.parametrize(("name", "beyond_kev"), BEYOND_KEV)
def test_energy_beyond_the_reach_is_stated(name, beyond_kev):
    kernel = water_kernel(name)
    assert kernel.reach_mm == pytest.approx(1000)
    assert 1000 * kernel.beyond_mev == pytest.approx(beyond_kev, rel=0.02)  # data/README.md


@pytest.mark.parametrize(("name", "file"), VSV)
def test_voxel_s_values_are_those_of_egsnrc(shared, name, file):
    reference = np.load(shared / "reference/egsnrc" / file)
    made = voxel_kernel(water_kernel(name), tuple(reference["voxel_mm"]), (13, 13, 13))
    total = made.mgy_per_mbq_s(made.total_mev).transpose(2, 1, 0)  # the file is indexed x, y, z
    sigma = reference["S_total_sigma"] / reference["S_total"]
    known = np.isfinite(sigma) & (sigma < 0.015)
    off = np.abs(total / reference["S_total"] - 1)
    assert known[:2, 0, 0].all()
    assert known.sum() >= 6
    farther = known & (np.indices(known.shape).sum(axis=0) > 1)
    assert (off <= 0.02 + 2 * sigma)[farther].all()  # 0.5 (90Y 1), 1 and 2 %, plus statistics
    for face in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert off[face] <= 0.01 + 2 * sigma[face]
    assert off[0, 0, 0] <= 0.0015  # less than is asked


@pytest.mark.parametrize(("name", "file"), [v for v in VSV if v[0] != "Y-90"])
def test_far_photons_are_those_of_the_reference_integration(shared, name, file):
    reference = np.load(shared / "reference/egsnrc" / file)
    made = voxel_kernel(water_kernel(name), tuple(reference["voxel_mm"]), (13, 13, 13))
    ratio = made.mgy_per_mbq_s(made.photon_mev).transpose(2, 1, 0) / reference["S_photon_from_dpk"]
    ratio = ratio[np.isfinite(ratio)]
    assert ratio.mean() == pytest.approx(1.0, abs=0.0075)
    assert np.percentile(np.abs(ratio - 1), 95) < 0.015  # that column: "0.5 to 1 %"


@pytest.mark.parametrize("name", ["Lu-177", "Y-90", "I-131"])
@pytest.mark.parametrize("spacing", [(6.0, 6.0, 6.0), (5.0, 7.0, 9.5)])
def test_all_offsets_together_hold_the_energy_of_the_kernel(name, spacing):
    kernel = water_kernel(name)
    shape = tuple(n + 1 for n in reach_voxels(kernel, spacing))
    for part in kernel.components:
        assert full_sum(component_mev(part, spacing, shape)) == pytest.approx(part.mev[-1], rel=2e-4)


def test_the_self_share_follows_from_the_triangles():
    """F(0) for a voxel much larger than the range: 1 - <r>/2 sum(1/a) (first order in r / a)."""
    electron = water_kernel("Lu-177").electron
    near = electron.r_mm <= 3
    energy, r = np.diff(electron.mev[near]), (electron.r_mm[near][1:] + electron.r_mm[near][:-1]) / 2
    mean_mm = (energy * r).sum() / energy.sum()
    share = component_mev(electron, (40.0, 50.0, 60.0), (1, 1, 1))[0, 0, 0] / electron.mev[near][-1]
    assert share == pytest.approx(1 - mean_mm / 2 * (1 / 40 + 1 / 50 + 1 / 60), abs=5e-4)


def test_axes_are_not_mixed_up():
    kernel = water_kernel("Y-90")
    made = voxel_kernel(kernel, (2.0, 4.0, 6.0), (3, 3, 3)).total_mev
    swapped = voxel_kernel(kernel, (6.0, 4.0, 2.0), (3, 3, 3)).total_mev
    assert made == pytest.approx(swapped.transpose(2, 1, 0), rel=1e-3)
    assert made[0, 0, 1] > made[0, 1, 0] > made[1, 0, 0]  # x is the finest axis, z the coarsest


def test_a_nuclide_without_kernel_is_refused():
    with pytest.raises(OutOfDomain, match=r"Er-169.*I-131, Lu-177.*kernels --all-media"):
        water_kernel("Er-169")
    with pytest.raises(OutOfDomain, match="folder of kernels"):
        kernel_names("/nowhere")


def tiny(**changed) -> KernelSet:
    """A set of kernels in water and all media, for the format."""
    found = (water(), *media())
    r = np.array([0.0, 0.1, 1.0])
    mev = np.tile([0.0, 0.5, 0.75], (len(found), 1))
    part = Shells(r, mev, np.full((len(found), 2), 0.01), np.full(len(found), 0.25))
    given = {"nuclide": "Sm-153", "media": found, "electron": part, "photon": None, "origin": "test"}
    return KernelSet(**given | changed)


def test_a_folder_adds_the_kernels_of_its_files(tmp_path):
    (tmp_path / file_name("Sm-153")).write_bytes(to_bytes(tiny()))
    assert "Sm-153" in kernel_names(str(tmp_path))
    bone = medium_kernels("Sm-153", str(tmp_path))[-1]
    assert bone.density_g_per_cm3 == MEDIA_G_PER_CM3[-1]
    assert bone.photon is None
    assert bone.electron.r_mm == pytest.approx(np.array([0.0, 1.0, 10.0]) / 1.9)  # 0.1 g/cm2 is 1 mm of water
    assert bone.total_mev == pytest.approx(1.0)


def test_a_file_that_is_made_again_is_read_again(tmp_path):
    """The electron part loses a fifth of its energy in the second file: 1.0, then 0.8 MeV per decay."""
    path = tmp_path / file_name("Sm-153")
    path.write_bytes(to_bytes(tiny()))
    first = kernel_digest("Sm-153", str(tmp_path))
    assert water_kernel("Sm-153", str(tmp_path)).total_mev == pytest.approx(1.0)
    assert medium_kernels("Sm-153", str(tmp_path))[0].total_mev == pytest.approx(1.0)
    part = tiny().electron
    weaker = Shells(part.r_g_per_cm2, 0.8 * part.mev, part.relative_sigma, 0.8 * part.beyond_mev)
    path.write_bytes(to_bytes(tiny(electron=weaker)))
    for kernel in (water_kernel("Sm-153", str(tmp_path)), medium_kernels("Sm-153", str(tmp_path))[0]):
        assert kernel.total_mev == pytest.approx(0.8)
        assert kernel.digest == kernel_digest("Sm-153", str(tmp_path)) != first
    for read in (water_kernel, medium_kernels):
        with pytest.raises(Inconsistent, match="has changed since the engine was built"):
            read("Sm-153", str(tmp_path), first)


def test_the_same_kernels_are_the_same_bytes():
    assert to_bytes(tiny()) == to_bytes(tiny())


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"nuclide": "Lu-177"}, "nuclide is 'Lu-177', expected 'Sm-153'"),
        ({"media": (water(), *media()[1:], media()[1])}, r"no kernel in schneider_lung of 0\.2 g/cm3"),
    ],
)
def test_a_kernel_file_of_another_kind_is_refused(changed, match):
    with pytest.raises(Inconsistent, match=match):
        from_bytes(to_bytes(tiny(**changed)), "Sm-153", media())


def falling() -> Shells:
    part = tiny().electron
    return Shells(part.r_g_per_cm2, part.mev[:, ::-1], part.relative_sigma, part.beyond_mev)


def unfinished(mev: float) -> Shells:
    part = tiny().electron
    return Shells(part.r_g_per_cm2, part.mev, part.relative_sigma, np.full_like(part.beyond_mev, mev))


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (b"", "damaged, or not written to its end"),
        (b"not a kernel", "damaged, or not written to its end"),
        (to_bytes(tiny())[:-40], "damaged, or not written to its end"),
        (to_bytes(tiny())[:200] + b"!" + to_bytes(tiny())[201:], "damaged, or not written to its end"),
        (to_bytes(tiny(electron=falling())), "mev_electron falls with the radius"),
        (to_bytes(tiny(electron=unfinished(np.nan))), "beyond_mev_electron is negative or not finite"),
    ],
)
def test_a_damaged_kernel_file_is_refused(raw, match):
    """A copy that was cut short gave BadZipFile, a negative or rising kernel a dose."""
    with pytest.raises(Inconsistent, match=f"{match}.*; make it again with `dicomnode kernels"):
        from_bytes(raw, "Sm-153", media())


def test_a_kernel_file_that_lacks_an_array_is_refused():
    content = {"format": "dicomnode-medium-kernels-2", "nuclide": "Sm-153", "origin": "test"}
    out = BytesIO()
    np.savez(out, **content)
    with pytest.raises(Inconsistent, match="media is missing"):
        from_bytes(out.getvalue(), "Sm-153", media())


def test_smoothing_keeps_the_sum_and_finds_the_curve_under_the_noise():
    """An exponential with 5 % noise in 100 shells: within 1.5 % of it after, sum the same to 1e-12."""
    edges = np.concatenate([[0.0], np.geomspace(0.1, 300, 101)])
    true = np.exp(-edges[:-1] / 70) - np.exp(-edges[1:] / 70)
    noisy = true * (1 + 0.05 * np.random.default_rng(3).standard_normal(len(true)))
    smooth = smooth_tail(edges, noisy, 0.05 * noisy, 1.0)
    assert smooth.sum() == pytest.approx(noisy.sum(), rel=1e-12)
    assert np.array_equal(smooth[edges[:-1] < 0.9], noisy[edges[:-1] < 0.9])
    found = (edges[:-1] > 2) & (edges[1:] < 200)
    assert np.sqrt(np.mean((smooth / true - 1)[found] ** 2)) < 0.025


def test_twice_the_directions_change_little(monkeypatch):
    kernel, spacing = water_kernel("Lu-177"), (4.42, 4.42, 4.42)
    once = voxel_kernel(kernel, spacing, (6, 6, 6)).total_mev
    monkeypatch.setattr(voxel_kernels, "ANGLES", 2 * voxel_kernels.ANGLES)
    monkeypatch.setattr(voxel_kernels, "ANGLES_PER_VOXEL", 2 * voxel_kernels.ANGLES_PER_VOXEL)
    twice = voxel_kernel(kernel, spacing, (6, 6, 6)).total_mev
    assert np.abs(once - twice).max() < 1e-5 * twice[0, 0, 0]
    assert np.abs(once / twice - 1).max() < 0.005  # on the axes; 3e-4 rms


@pytest.mark.parametrize("offset", [(0, 0, 1), (0, 2, 1), (1, 0, 7), (3, 3, 0), (0, 0, 12)])
def test_it_is_the_mean_over_pairs_of_points(offset):
    """The slow twin: pairs of random points in source and target voxel, photons, long voxels."""
    photon, spacing = water_kernel("Lu-177").photon, (2.0, 3.0, 5.0)
    rng, edges = np.random.default_rng(5), np.array(spacing[::-1])
    pairs = (rng.random((400_000, 3)) - rng.random((400_000, 3)) + offset) * edges
    sampled = photon.per_mm3(np.linalg.norm(pairs, axis=1)) * np.prod(edges)
    made = component_mev(photon, spacing, (4, 4, 13))[offset]
    assert made == pytest.approx(sampled.mean(), rel=0.01, abs=4 * sampled.std() / 400_000**0.5)


def test_voxels_whose_quadrature_would_not_end_are_refused() -> None:
    """0.5 x 0.5 x 20 mm: ratio 40, some 1e10 points; the limit is 12."""
    with pytest.raises(OutOfDomain, match=r"longest over shortest voxel edge is 40 .*resample"):
        component_mev(water_kernel("Lu-177").electron, (0.5, 0.5, 20.0), (3, 3, 3))
