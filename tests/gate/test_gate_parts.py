"""What is made ready for GATE, and what is checked before it starts: no opengate needed."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli.gate import gate
from dicomnode.dose.gate import GateSettings, Run, next_round
from dicomnode.dose.registry import build
from dicomnode.errors import EngineUnavailable, OutOfDomain
from dicomnode.model import Anatomy, DensityMap, Grid
from dicomnode.montecarlo.gate.data import (
    BY_ELEMENT,
    DATA_SETS,
    FOLDERS,
    NUCLEI,
    Installation,
    find,
    require_data,
)
from dicomnode.montecarlo.gate.run import Machine, Scene, parts_of, simulate
from dicomnode.montecarlo.gate.source import emitted
from dicomnode.montecarlo.gate.volumes import materials_of
from dicomnode.physics.chains import with_progeny
from dicomnode.physics.nuclides import nuclide

OPTION3 = "G4EmStandardPhysics_option3"


@pytest.fixture
def data(tmp_path) -> Path:
    """Names of all files that are looked for, for hydrogen and oxygen."""
    for name in DATA_SETS.values():
        (tmp_path / name).mkdir()
    files = [NUCLEI, *(pattern.format(Z=z) for pattern in BY_ELEMENT for z in (1, 8))]
    for name in [*files, *(f"{folder}/one" for folder in FOLDERS[OPTION3])]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def installed(data: Path) -> Installation:
    return Installation(sys.executable, "10.1.1", "10.1.1", data)


def test_complete_data_are_taken(data):
    require_data(installed(data), OPTION3, ["H", "O"])


@pytest.mark.parametrize(
    ("removed", "match"),
    [
        (NUCLEI, r"lack G4ENSDFSTATE3\.0/ENSDFSTATE\.dat"),  # Geant4 would abort() without a word
        ("G4EMLOW8.8/brem_SB/br8", r"lack G4EMLOW8\.8/brem_SB/br8"),
        (
            "G4EMLOW8.8/ion_stopping_data/icru90/one",
            r"lack G4EMLOW8\.8/ion_stopping_data/icru90/",
        ),  # signal 11
    ],
)
def test_a_missing_file_is_named_before_anything_starts(data, removed, match):
    (data / removed).unlink()
    with pytest.raises(EngineUnavailable, match=match):
        require_data(installed(data), OPTION3, ["H", "O"])


def test_an_empty_file_counts_as_missing(data):
    (data / NUCLEI).write_text("")
    with pytest.raises(EngineUnavailable, match="ENSDFSTATE"):
        require_data(installed(data), OPTION3, ["H"])


def test_a_missing_folder_is_named_because_opengate_would_download_it(data):
    (data / "G4NDL4.7.1").rmdir()
    with pytest.raises(EngineUnavailable, match=r"lack G4NDL4\.7\.1 .*dicomnode gate setup"):
        require_data(installed(data), OPTION3, ["H"])


def test_elements_and_lists_need_their_own_files(data):
    with pytest.raises(EngineUnavailable, match=r"pe-cs-20\.dat"):
        require_data(installed(data), OPTION3, ["H", "Ca"])
    with pytest.raises(EngineUnavailable, match=r"msc_GS/"):
        require_data(installed(data), "G4EmStandardPhysics_option4", ["H", "O"])


def test_no_data_folder_at_all(tmp_path):
    with pytest.raises(EngineUnavailable, match=r"does not exist\. Run `dicomnode gate setup`"):
        require_data(installed(tmp_path / "none"), OPTION3, ["H"])


def test_jobs_are_told_to_download_nothing_and_where_all_twelve_lie(data):
    environment = installed(data).environment
    assert environment["GATEONRTD"] == "1"
    assert len(environment) == 13
    assert environment["G4LEDATA"] == str(data / "G4EMLOW8.8")


def test_a_python_without_opengate_is_told_what_to_install(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')  # no site-packages
    bare.chmod(0o755)
    with pytest.raises(
        EngineUnavailable, match=r"opengate is not installed in .*pip install \"dicomnode\[gate\]\""
    ):
        build("gate", {"python": str(bare)})
    with pytest.raises(EngineUnavailable, match="cannot be started"):
        find(str(tmp_path / "nowhere"))


def test_looking_for_opengate_does_not_import_it():
    with contextlib.suppress(EngineUnavailable):
        find()
    assert "opengate" not in sys.modules
    assert "opengate_core" not in sys.modules


def test_setup_refuses_a_folder_that_is_not_complete(tmp_path, data):
    (data / NUCLEI).unlink()
    result = CliRunner().invoke(gate, ["setup", "--data", str(data)])
    assert result.exit_code == 1
    assert "ENSDFSTATE" in result.output or "not installed" in result.output
    assert CliRunner().invoke(gate, ["setup"]).exit_code == 2


def test_177lu_is_emitted_as_icru_has_it_without_lines_too_weak_to_travel():
    """ICRP 107: electrons 147.98 keV, photons 35.10 keV; among the X-rays a line of 19 eV."""
    found = emitted(nuclide("Lu-177"))
    electron, photon = found.components
    assert [one.particle for one in found.components] == ["e-", "gamma"]
    assert electron.nominal_mev + photon.nominal_mev + found.local_mev == pytest.approx(
        0.14798 + 0.03510, abs=2e-5
    )
    assert photon.nominal_mev == pytest.approx(0.03510, abs=1e-4)
    assert photon.per_decay < 0.3  # 1.55 with the weak lines
    assert min(s.energy_mev.min() for s in photon.spectra) >= 0.001
    assert electron.spectra[0].per_decay == pytest.approx(1.0, abs=1e-3)
    assert electron.spectra[0].mean_mev == pytest.approx(0.13333, abs=1e-5)


def test_spectra_are_densities():
    """GATE multiplies weights by widths: their integral is one particle."""
    beta = emitted(nuclide("Y-90")).components[0].spectra[0]
    assert (beta.weight * np.diff(beta.energy_mev)).sum() == pytest.approx(1.0, rel=1e-12)
    assert len(beta.energy_mev) == len(beta.weight) + 1


def test_positrons_bring_their_annihilation_and_it_is_not_emitted_twice():
    """F-18: 0.9673 positrons; 0.2498 MeV mean (ICRP 107); 1.022 MeV each on annihilation."""
    found = emitted(nuclide("F-18"))
    positron = next(one for one in found.components if one.name == "positron")
    assert positron.nominal_mev == pytest.approx(0.967 * (0.2498 + 1.022), rel=0.003)
    assert not [
        s for one in found.components if one.name == "photon" for s in one.spectra if s.energy_mev.max() > 0.1
    ]


def test_alphas_of_a_chain_stay_where_they_are_and_are_told_apart():
    source = with_progeny("Ac-225")
    found = emitted(source)
    assert found.alpha_mev == pytest.approx(source.energy.alpha_mev, rel=1e-9)
    total = found.local_mev + sum(one.nominal_mev for one in found.components)
    energy = source.energy
    assert total == pytest.approx(energy.alpha_mev + energy.electron_mev + energy.photon_mev, rel=1e-6)
    with pytest.raises(OutOfDomain, match="equilibrium"):
        emitted(with_progeny("Ac-225", {"Bi-213": 0.5}))


def machine(jobs=2, threads=1) -> Machine:
    return Machine(installed(Path()), OPTION3, 0.05, jobs, threads, "")


@pytest.mark.parametrize(("jobs", "threads"), [(1, 1), (3, 1), (2, 4)])
def test_jobs_and_threads_share_the_decays_and_do_not_multiply_them(jobs, threads):
    component = emitted(nuclide("Lu-177")).components[0]
    parts = parts_of(component, 1e5, machine(jobs, threads), count(1))
    assert len(parts) == jobs
    assert sum(sum(p.events) for p in parts) == pytest.approx(1e5 * component.per_decay, rel=1e-4)
    assert all(n % threads == 0 for p in parts for n in p.events)
    assert len({p.seed for p in parts}) == jobs


def test_no_process_gets_more_events_than_geant4_can_count():
    component = emitted(nuclide("Lu-177")).components[0]
    parts = parts_of(component, 1e10, machine(), count(1))
    assert max(sum(p.events) for p in parts) < 2**31
    assert sum(sum(p.events) for p in parts) == pytest.approx(1e10 * component.per_decay, rel=1e-8)


def test_densities_stay_those_of_the_patient():
    """Geant4's own lung (G4_LUNG_ICRP) has 1.04 g/cm3; inflated lung has to come from the CT."""
    grid = Grid((1, 1, 4), (4.0, 4.0, 4.0))
    density = np.array([[[0.26, 0.2601, 1.04, 1.92]]], np.float32)
    names = ("lung_icru44", "soft_tissue_icru44", "bone_cortical_icru44")
    material = np.array([[[0, 0, 1, 2]]], np.uint16)
    label, found = materials_of(Anatomy(DensityMap(grid, density), density > 0, material, names), 0.02)
    assert [one.g_per_cm3 for one in found] == pytest.approx([0.26005, 1.04, 1.92], rel=1e-6)
    assert label[0, 0, 0] == label[0, 0, 1]
    assert found[label[0, 0, 0]].composition.name == "lung_icru44"
    assert found[label[0, 0, 3]].mean_excitation_ev == pytest.approx(112.0, rel=0.02)  # NIST, ICRU 44 bone
    for k in range(4):
        assert found[label[0, 0, k]].g_per_cm3 == pytest.approx(density[0, 0, k], rel=0.01)


def test_rounds_stop_at_decays_at_an_uncertainty_and_at_a_time():
    assert next_round(GateSettings(), Run(0, 0, {})) == 1e6
    assert next_round(GateSettings(decays=3e5), Run(0, 0, {})) == 3e5
    assert next_round(GateSettings(decays=3e5), Run(3e5, 9, {})) == 0
    aim = GateSettings(uncertainty=0.01)
    assert next_round(aim, Run(0, 0, {})) == 1e5
    assert next_round(aim, Run(1e5, 9, {}, 0.02)) == pytest.approx(1.05 * 3e5)
    assert next_round(aim, Run(1e5, 9, {}, 1.0)) == 20 * 1e5  # the first estimate is noisy
    assert next_round(aim, Run(4e5, 9, {}, 0.0099)) == 0
    timed = GateSettings(seconds=100)
    assert next_round(timed, Run(1e5, 10, {}, 0.1)) == pytest.approx(9e5)
    assert next_round(timed, Run(1e6, 99.5, {}, 0.1)) == 0


def test_files_of_a_killed_process_are_removed_by_the_next(tmp_path):
    """Process numbers of Linux end at 4194304."""
    mark = f"dicomnode-gate-{socket.gethostname()}-"
    dead, alive, other = (tmp_path / f"{mark}{pid}-x" for pid in (4194305, os.getpid(), "y"))
    for folder in (dead, alive, other):
        folder.mkdir()
    scene = Scene(np.zeros((1, 1, 1), np.uint16), (), np.ones((1, 1, 1)), (1.0, 1.0, 1.0))
    simulate(scene, [], Machine(installed(Path()), OPTION3, 0.05, 1, 1, str(tmp_path)), print)
    assert sorted(tmp_path.iterdir()) == sorted([alive, other])
