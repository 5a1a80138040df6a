"""Kernels made by our own transport."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli import cli
from dicomnode.errors import OutOfDomain
from dicomnode.montecarlo.kernels import cached_set, medium_set, point_kernel
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.kernel_files import from_bytes, to_bytes
from dicomnode.physics.media import medium_kernels
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue

LU177 = nuclide("Lu-177")


def test_a_kernel_holds_what_is_emitted():
    found = point_kernel(LU177, medium_of(tissue("lung_icru44")), 4000, 4000)
    assert found.total_mev == pytest.approx(0.18308, rel=2e-3)  # ICRP 107: 147.98 + 35.10 keV
    # lung of 0.26 g/cm3: half of the electron energy within 0.171 mm / 0.26 (EGSnrc in water 0.171 mm)
    assert found.electron.radius_of(0.5) == pytest.approx(0.171 / 0.26, rel=0.05)
    with pytest.raises(OutOfDomain, match="histories of a kernel is 10"):
        point_kernel(LU177, medium_of(tissue("water")), 10, 4000)


def test_bundled_kernels_are_those_that_the_transport_makes_today():
    """Few histories anew: radii of half and nine tenths of the electrons' energy in lung, tissue and bone."""
    bundled = medium_kernels("Lu-177")
    for index in (0, 10, 19):
        old = bundled[index]
        medium = medium_of(tissue(old.medium), old.density_g_per_cm3)
        new = point_kernel(LU177, medium, 20_000, 1000, seed=5)
        for share, tolerance in ((0.5, 0.02), (0.9, 0.01)):
            assert new.electron.radius_of(share) == pytest.approx(
                old.electron.radius_of(share), rel=tolerance
            )


def test_what_is_made_once_is_taken_from_the_cache(tmp_path):
    media = (medium_of(tissue("water")),)
    first, was_there = cached_set(LU177, media, 2000, 2000, 1, tmp_path)
    assert not was_there
    assert first == to_bytes(medium_set(LU177, media, 2000, 2000, 1))  # same arguments, same bytes
    again, was_there = cached_set(LU177, media, 2000, 2000, 1, tmp_path)
    assert was_there
    assert again == first
    assert len(list(tmp_path.iterdir())) == 1
    other, was_there = cached_set(LU177, media, 2000, 2000, 2, tmp_path)
    assert not was_there
    assert other != first
    assert from_bytes(first, "Lu-177", media)[0].total_mev == pytest.approx(0.18308, rel=2e-3)


def run(*arguments: str):
    return CliRunner().invoke(cli, ["kernels", *arguments])


def test_the_command_writes_voxel_s_values(tmp_path, egsnrc, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out, reference = tmp_path / "vsv.npz", np.load(egsnrc / "vsv_4p42mm_Lu177.npz")
    voxel = ("--voxel-mm", "4.42", "4.42", "4.42", "--offsets", "3", "--out", str(out))
    for decays, tolerance in (((), 0.001), (("--decays", "2e4"), 0.005)):
        done = run("--nuclide", "Lu-177", "--medium", "water", *voxel, *decays)
        assert done.exit_code == 0, done.output
        assert "keV per decay pass 1000 mm" in done.output
        ours = np.load(out)
        assert ours["S_total"][0, 0, 0] == pytest.approx(reference["S_total"][0, 0, 0], rel=tolerance)
        assert ours["S_electron"][1, 0, 0] == pytest.approx(reference["S_electron"][1, 0, 0], rel=0.05)
    assert len(list((tmp_path / "cache/dicomnode/kernels").glob("*.npz"))) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--nuclide", "Lu-177", "--medium", "cheese", "--voxel-mm", "4", "4", "4"), "tissue is 'cheese'"),
        (("--nuclide", "Lu-177", "--medium", "water"), "give --medium and --voxel-mm, or --all-media"),
        (("--nuclide", "Ac-225", "--all-media"), r"Ac-225; valid: Ac-225+progeny"),
        (("--nuclide", "Ac-225+some", "--all-media"), "Ac-225+some"),
        (("--nuclide", "Xy-1", "--all-media"), "nuclide is 'Xy-1'"),
    ],
)
def test_the_command_says_what_it_needs(tmp_path, arguments, said):
    done = run(*arguments, "--out", str(tmp_path / "x"))
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.long
def test_kernels_of_another_nuclide_are_made_for_the_engines(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = run("--nuclide", "Sm-153", "--all-media", "--decays", "2e3", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert medium_kernels("Sm-153", str(tmp_path))[10].total_mev == pytest.approx(
        nuclide("Sm-153").energy.electron_mev + nuclide("Sm-153").energy.photon_mev, rel=1e-4
    )


def test_compiled_code_goes_elsewhere_where_home_is_read_only(tmp_path):
    """As in the sandbox of a service; root may write anywhere, so HOME is a file here."""
    (tmp_path / "home").write_text("")
    code = "from dicomnode.montecarlo import device; import numba; print(numba.config.CACHE_DIR)"
    left = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    environment = left | {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith(str(tmp_path / "dicomnode-compiled-"))
