"""The commands dose, nuclides and materials, on files."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli.dose import dose
from dicomnode.cli.materials import materials
from dicomnode.cli.nuclides import nuclides
from dicomnode.files.volumes import read_dose, write_volume
from dicomnode.model import Grid

GRID = Grid((10, 12, 14), (4.0, 4.0, 5.0), (-30.0, 10.0, 5.0))


@pytest.fixture
def files(tmp_path):
    """TIA of 1 MBq s/mL in the middle, CT of water in air, its density, and labels."""
    hu = np.full(GRID.shape_zyx, -1000.0)
    hu[1:9, 1:11, 1:13] = 0.0
    tia = np.zeros(GRID.shape_zyx)
    tia[5, 6, 7] = 1.0
    write_volume(tmp_path / "tia.mha", GRID, tia, "MBq s/mL")
    write_volume(tmp_path / "ct.mha", GRID, hu, "HU")
    write_volume(tmp_path / "rho.mha", GRID, np.where(hu < -500, 0.0012, 1.018), "g/cm3")
    write_volume(tmp_path / "labels.mha", GRID, np.where(hu < -500, 0, 4), "label")
    (tmp_path / "names.json").write_text('{"0": "air", "4": "liver"}')
    return tmp_path


def run(files, *arguments, ct=True):
    anatomy = ("--ct", files / "ct.mha") if ct else ("--density", files / "rho.mha")
    given = ("--tia", files / "tia.mha", *anatomy, "--out", files / "dose.mha", *arguments)
    return CliRunner().invoke(dose, [str(a) for a in given])


@pytest.mark.parametrize("engine", ["local", "vsv"])
def test_dose_from_a_ct_with_its_report(files, engine):
    outputs = ("--sigma-out", files / "s.mha", "--json", files / "r.json")
    out = run(files, "--nuclide", "177Lu", "--engine", engine, *outputs)
    assert out.exit_code == 0, out.output
    grid, gy = read_dose(files / "dose.mha")
    _, sigma = read_dose(files / "s.mha")
    report = json.loads((files / "r.json").read_text())
    assert grid.matches(GRID)
    assert np.unravel_index(gy.argmax(), gy.shape) == (5, 6, 7)
    # 1 MBq s/mL of 177Lu: 147.98 keV x 1.602e-16 J/keV x 1e6 / 1.018e-3 kg = 23.3 uGy, all electrons staying
    assert gy.max() == pytest.approx(2.329e-5, rel=0.001 if engine == "local" else 0.1)
    assert (sigma[gy > 0] > 0).all()
    assert report["nuclide"]["name"] == "Lu-177"
    assert report["decays"] == pytest.approx(1e6 * GRID.voxel_ml)
    energy = report["energy_j"]
    assert energy["deposited"] + energy["escaped"] == pytest.approx(energy["emitted"], rel=1e-5)
    assert report["engine"]["settings"]["minimum_density_g_per_cm3"] == 0.1


def test_ct_density_and_labelled_density_agree(files):
    doses = []
    for ct, more in (
        (True, ()),
        (False, ()),
        (False, ("--tissue", "labels.mha", "--tissue-names", "names.json")),
    ):
        more = [files / m if "." in m else m for m in more]
        out = run(files, "--nuclide", "Lu-177", "--engine", "vsv", *more, ct=ct)
        assert out.exit_code == 0, out.output
        doses.append(read_dose(files / "dose.mha")[1])
    assert doses[0] == pytest.approx(doses[1], rel=1e-5)
    assert np.array_equal(doses[1], doses[2])


def test_settings_reach_the_engine_and_the_report_prints(files):
    setting = ("--option", "density_scaling=none")
    out = run(files, "--nuclide", "Y-90", "--engine", "vsv", *setting, "--json", "-")
    report = json.loads(out.stdout[out.stdout.index("{") :])
    assert report["medium"] == "water"


def test_progeny_have_to_be_stated(files):
    refused = run(files, "--nuclide", "Ac-225", "--engine", "local")
    assert refused.exit_code == 2
    assert "state --progeny equilibrium or none" in refused.output
    alpha = {}
    for progeny in ("equilibrium", "none"):
        out = run(
            files,
            "--nuclide",
            "Ac-225",
            "--engine",
            "local",
            "--progeny",
            progeny,
            "--json",
            files / "r.json",
        )
        assert out.exit_code == 0, out.output
        alpha[progeny] = json.loads((files / "r.json").read_text())["nuclide"]["alpha_mev"]
    assert alpha["equilibrium"] == pytest.approx(27.99, abs=0.05)
    assert alpha["none"] == pytest.approx(5.89, abs=0.01)  # 5.787 and 0.105 MeV, ICRP 107


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--nuclide", "Lu-177", "--engine", "vsw"),
            "there are: denoise, gate, local, montecarlo, multi-vsv, vsv",
        ),
        (("--nuclide", "Lu-178x", "--engine", "vsv"), "names of ICRP 107 such as Lu-178"),
        (("--nuclide", "Er-169", "--engine", "vsv"), "I-131, Lu-177, "),
        (("--nuclide", "Lu-177", "--engine", "vsv", "--decays", "1e6"), "--decays does not apply"),
        (("--nuclide", "Lu-177", "--engine", "vsv", "--option", "workers"), "KEY=VALUE"),
        (("--nuclide", "Lu-177", "--engine", "vsv", "--density", "rho.mha"), "either --ct or --density"),
    ],
)
def test_what_cannot_be_done_says_why_and_writes_nothing(files, arguments, sentence):
    arguments = [files / a if str(a).endswith(".mha") else a for a in arguments]
    out = run(files, *arguments)
    assert out.exit_code == 2
    assert sentence in out.output
    assert not (files / "dose.mha").exists()


def test_nuclides_shows_what_is_used():
    found = json.loads(CliRunner().invoke(nuclides, ["lu177", "--json"]).output)
    assert found["energy_per_decay"]["electron_mev"] == pytest.approx(0.14798, abs=1e-5)
    assert found["water_kernel"] is True
    text = CliRunner().invoke(nuclides, ["225Ac"]).output
    assert "progeny Po-213: 0.97898 decays per decay" in text
    assert "Y-90" in CliRunner().invoke(nuclides, []).output
    assert CliRunner().invoke(nuclides, ["Zz-1"]).exit_code == 2


def test_materials_lists_compositions():
    found = json.loads(CliRunner().invoke(materials, ["--json"]).output)
    assert found["kidney"]["density_g_per_cm3"] == 1.05
    assert sum(found["kidney"]["mass_fractions"].values()) == pytest.approx(1.0)
    assert "ICRP 110" in CliRunner().invoke(materials, ["kidney"]).output


def test_the_commands_load_nothing_heavy_until_they_run():
    code = (
        "import sys, dicomnode.cli.dose, dicomnode.cli.nuclides, dicomnode.cli.materials; "
        "heavy = ('SimpleITK', 'scipy', 'torch', 'numba', 'matplotlib', 'pydantic', 'numpy'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
