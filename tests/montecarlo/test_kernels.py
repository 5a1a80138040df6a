"""Kernels made by our own transport."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli import cli
from dicomnode.errors import OutOfDomain
from dicomnode.montecarlo.kernels import point_kernel
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue


def test_a_kernel_holds_what_is_emitted():
    found = point_kernel(nuclide("Lu-177"), medium_of(tissue("lung_icru44")), decays=4000)
    assert found.total_mev == pytest.approx(0.18308, rel=2e-3)  # ICRP 107: 147.98 + 35.10 keV
    # lung of 0.26 g/cm3: half of the electron energy within 0.171 mm / 0.26 (EGSnrc in water 0.171 mm)
    assert found.electron.radius_of(0.5) == pytest.approx(0.171 / 0.26, rel=0.05)
    with pytest.raises(OutOfDomain, match="decays of a kernel is 10"):
        point_kernel(nuclide("Lu-177"), medium_of(tissue("water")), decays=10)


def test_the_command_writes_voxel_s_values(tmp_path, egsnrc):
    out = tmp_path / "vsv.npz"
    arguments = ["kernels", "--nuclide", "Lu-177", "--medium", "water", "--voxel-mm", "4.42", "4.42", "4.42"]
    done = CliRunner().invoke(cli, [*arguments, "--offsets", "3", "--decays", "2e4", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "keV per decay pass 500 mm" in done.output
    ours, reference = np.load(out), np.load(egsnrc / "vsv_4p42mm_Lu177.npz")
    assert ours["S_total"][0, 0, 0] == pytest.approx(reference["S_total"][0, 0, 0], rel=0.005)
    assert ours["S_electron"][1, 0, 0] == pytest.approx(reference["S_electron"][1, 0, 0], rel=0.05)
    bad = CliRunner().invoke(cli, [*arguments[:3], "--medium", "cheese", *arguments[5:], "--out", str(out)])
    assert bad.exit_code == 2
    assert "tissue is 'cheese'" in bad.output
