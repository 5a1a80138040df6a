"""Local deposition."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.dose.inputs import mean_range_mm
from dicomnode.dose.local import ORGAN_PHOTON_SHARE
from dicomnode.dose.registry import build
from dicomnode.physics.chains import with_progeny
from dicomnode.physics.media import water_kernel
from dicomnode.physics.nuclides import nuclide


def test_one_gbq_of_90y_in_one_kilogram_gives_49_7_gray(make_uniform, make_source):
    anatomy = make_uniform((10, 10, 10), (10.0, 10.0, 10.0))  # 1 L of water
    y90 = nuclide("Y-90")
    tia = make_source(anatomy, (slice(None),) * 3, 1.0 / y90.decay_per_s)  # 1000 MBq / 1000 mL / lambda
    assert build("local").dose(tia, anatomy, y90).gy == pytest.approx(49.7, abs=0.1)


def test_alpha_dose_is_kept_apart(make_uniform, make_source):
    anatomy = make_uniform((4, 4, 4))
    tia = make_source(anatomy, (slice(None),) * 3)
    ac225 = with_progeny("Ac-225")
    result = build("local").dose(tia, anatomy, ac225)
    energy = ac225.energy
    assert result.alpha_gy / result.gy == pytest.approx(
        energy.alpha_mev / (energy.alpha_mev + energy.electron_mev)
    )
    assert build("local").dose(tia, anatomy, nuclide("Lu-177")).alpha_gy is None


@pytest.mark.parametrize("name", ["Lu-177", "I-131"])
def test_the_share_of_photons_absorbed_lies_between_a_kidney_pair_and_a_kilogram(name):
    """Balls of 300 g and 1 kg: share of the photon energy absorbed, by the kernel and the ball's geometry."""
    photon, shares = water_kernel(name).photon, []
    for mass_g in (300, 1000):
        radius = (3 * mass_g * 1e3 / (4 * np.pi)) ** (1 / 3)
        r = np.linspace(0, 2 * radius, 2001)
        middle = (r[1:] + r[:-1]) / 2
        gamma = 1 - 3 * middle / (4 * radius) + middle**3 / (16 * radius**3)
        shares.append((np.diff(photon.within(r)) * gamma).sum() / photon.total_mev)
    assert shares[0] < ORGAN_PHOTON_SHARE < shares[1]


@pytest.mark.parametrize("name", ["Lu-177", "I-131", "Y-90"])
def test_the_range_formula_is_near_the_kernels(name):
    electron = water_kernel(name).electron
    near = electron.r_mm < 15
    energy, r = np.diff(electron.mev[near]), (electron.r_mm[near][1:] + electron.r_mm[near][:-1]) / 2
    assert mean_range_mm(nuclide(name).energy.electron_mev) == pytest.approx(
        (energy * r).sum() / energy.sum(), rel=0.45
    )


def test_its_sigma_covers_what_vsv_adds(make_uniform, make_source):
    """A small hot ball: the two engines differ by less than 2 sigma of the simpler."""
    anatomy = make_uniform((20, 20, 20))
    tia = make_source(anatomy, (slice(8, 12),) * 3)
    for name in ("Lu-177", "I-131", "Y-90"):
        simple, better = (build(e).dose(tia, anatomy, nuclide(name)) for e in ("local", "vsv"))
        hot = simple.gy > 0
        assert (np.abs(simple.gy - better.gy) <= 2 * simple.sigma_gy)[hot].mean() > 0.95


def test_alpha_particles_do_not_cross_faces(make_uniform, make_source):
    """Of 223Ra and progeny 26.8 MeV stay where they are; its electrons (0.9 MeV) may cross, and are 4 % of
    the dose: so much, and not all of it, is in doubt in the middle of 3 x 3 x 3 voxels."""
    anatomy = make_uniform((9, 9, 9))
    tia = make_source(anatomy, (slice(3, 6),) * 3)
    result = build("local").dose(tia, anatomy, with_progeny("Ra-223"))
    middle = (4, 4, 4)
    energy = with_progeny("Ra-223").energy
    electrons = energy.electron_mev / (energy.electron_mev + energy.alpha_mev)
    assert result.sigma_gy[middle] < 1.1 * electrons * result.gy[middle]


def test_beyond_the_grid_there_is_nothing(make_uniform, make_source):
    """One voxel of 20 mm, 90Y: vsv finds a fifth less; sigma was a millionth of the dose."""
    anatomy = make_uniform((1, 1, 1), (20.0, 20.0, 20.0))
    tia = make_source(anatomy, (0, 0, 0))
    simple, better = (build(e).dose(tia, anatomy, nuclide("Y-90")) for e in ("local", "vsv"))
    assert 0.15 < 1 - better.gy.item() / simple.gy.item() < 0.25
    assert abs(better.gy - simple.gy).item() < 2 * simple.sigma_gy.item()
