"""One GATE simulation, run as a program by the Python that has opengate: ``python job.py FOLDER``.

Geant4 allows one simulation per process, aborts the process where a file is missing, and keeps its memory;
so it never runs inside the node. This file imports nothing of the package: the Python that has opengate
need not have dicomnode. ``FOLDER`` holds what ``gate.write_job`` put there; ``tally.npz`` is the answer.
``python job.py --where`` prints what is installed, as JSON, without importing opengate.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

SHELL_MM = 10.0  # vacuum around the patient in which what leaves is caught
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def where() -> dict[str, str | None]:
    """Versions of opengate and its core, and the folder where the core looks for its data."""
    found: dict[str, str | None] = {"opengate": None, "core": None, "data": None}
    for key, names in (("opengate", ["opengate"]), ("core", ["opengate-core-novis", "opengate-core"])):
        for name in names:
            try:
                found[key] = importlib.metadata.version(name)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    spec = importlib.util.find_spec("opengate_core")  # finds the package, does not run it
    if spec is not None and spec.submodule_search_locations:
        found["data"] = str(Path(next(iter(spec.submodule_search_locations))) / "geant4_data")
    return found


def build(folder: Path, job: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """(simulation, tally of the patient, tally of the world, counter of events)."""
    import opengate as gate

    simulation = gate.Simulation()
    simulation.verbose_level, simulation.g4_verbose = "NONE", False
    simulation.progress_bar = True  # read by gate.progress_of
    simulation.random_seed = job["seed"]
    simulation.number_of_threads = job["threads"]
    simulation.output_dir = str(folder)
    extent = [n * edge for n, edge in zip(job["size"], job["spacing_mm"], strict=True)]
    simulation.world.size = [length + 4 * SHELL_MM for length in extent]
    simulation.world.material = "G4_Galactic"
    _physics(simulation, job)
    _patient(simulation, folder, job, extent)
    for k, emitted in enumerate(job["sources"]):
        _source(simulation, folder, job, f"source{k}", emitted)
    deposited = _tally(simulation, "deposited", "patient", job["size"], job["spacing_mm"])
    total = _tally(simulation, "total", "world", [1, 1, 1], simulation.world.size)
    return simulation, deposited, total, simulation.add_actor("SimulationStatisticsActor", "counter")


def _physics(simulation: Any, job: dict[str, Any]) -> None:
    physics = simulation.physics_manager
    physics.physics_list_name = job["physics_list"]
    for particle in ("gamma", "electron", "positron"):
        setattr(physics.global_production_cuts, particle, job["cut_mm"])
    physics.user_limits_particles = ["gamma", "electron", "positron"]


def _patient(simulation: Any, folder: Path, job: dict[str, Any], extent: list[float]) -> None:
    """The voxels, within a shell of vacuum that takes the energy of all that enters it.

    Limits of a region hold in the volumes inside it as well, unless those are a region of their own: without
    the second line of limits every particle would stop where it is born.
    """
    import opengate as gate

    units = gate.g4_units
    book = simulation.volume_manager.material_database
    for material in job["materials"]:
        density = material["g_per_cm3"] * units.g_cm3
        book.add_material_weights(material["name"], material["elements"], material["fractions"], density)
        potential = material["mean_excitation_ev"] * units.eV
        simulation.physics_manager.material_ionisation_potential[material["name"]] = potential
    shell = simulation.add_volume("Box", "shell")
    shell.size = [length + 2 * SHELL_MM for length in extent]
    shell.material = "G4_Galactic"
    patient = simulation.add_volume("Image", "patient")
    patient.mother = "shell"
    patient.image = str(folder / job["labels"])
    patient.material = job["materials"][0]["name"]
    patient.voxel_materials = [[k, k + 1, material["name"]] for k, material in enumerate(job["materials"])]
    simulation.physics_manager.set_min_ekine("shell", 1.0 * units.TeV)
    simulation.physics_manager.set_min_ekine("patient", 0.0)


def _source(simulation: Any, folder: Path, job: dict[str, Any], name: str, emitted: dict[str, Any]) -> None:
    """One spectrum. ``n`` is what each thread emits: the events are divided by the threads."""
    source = simulation.add_source("VoxelSource", name)
    source.image = str(folder / job["activity"])
    source.attached_to = "patient"
    source.particle = job["particle"]
    source.n = emitted["events"] // job["threads"]
    source.direction.type = "iso"
    if emitted["continuous"]:
        source.energy.type = "spectrum_histogram"
        source.energy.spectrum_energy_bin_edges = emitted["energy_mev"]
        source.energy.spectrum_weights = emitted["weight"]  # densities, per MeV
    else:
        source.energy.type = "spectrum_discrete"
        source.energy.spectrum_energies = emitted["energy_mev"]
        source.energy.spectrum_weights = emitted["weight"]


def _tally(simulation: Any, name: str, volume: str, size: list[int], spacing: list[float]) -> Any:
    tally = simulation.add_actor("DoseActor", name)
    tally.attached_to = volume
    tally.size, tally.spacing = size, spacing
    # In voxels a step ends at each face, so a random point of it lies in the right voxel. At the end of the
    # step ("post") it would lie on the face, between two.
    tally.hit_type = "random"
    tally.edep_squared.active = volume == "patient"
    tally.edep.write_to_disk = tally.edep_squared.write_to_disk = False
    return tally


def main(folder: Path) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # never outlive the process that started us
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    os.environ.update(job["environment"])
    import numpy as np

    simulation, deposited, total, counter = build(folder, job)
    simulation.run()
    np.savez(
        folder / "partial.npz",
        mev=np.asarray(deposited.edep.image, dtype=np.float64),
        mev_squared=np.asarray(deposited.edep_squared.image, dtype=np.float64),
        emitted_mev=float(np.asarray(total.edep.image, dtype=np.float64).sum()),
        events=int(counter.counts.events),
    )
    (folder / "partial.npz").rename(folder / "tally.npz")


if __name__ == "__main__":
    if sys.argv[1] == "--where":
        sys.stdout.write(json.dumps(where()))
    else:
        main(Path(sys.argv[1]))
