"""Runs GATE 10 in processes of its own and adds up what they tallied.

A *round* simulates a number of decays: one simulation per component (electrons, photons, positrons), each
cut into parts for the processes that run side by side. What comes back is normalised by what was sampled
(events and energy counted by the simulation itself), never by what was asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import EngineUnavailable
from dicomnode.montecarlo.gate.data import ISOLATED, JOB, Installation, PhysicsList
from dicomnode.montecarlo.gate.source import Component
from dicomnode.montecarlo.gate.volumes import Material

Float64 = npt.NDArray[np.float64]
Report = Callable[[float], None]

# Geant4 counts the events of a run in 32 bits: beyond 2^31 a run crashes or is cut short (issue 964 of GATE).
EVENTS_PER_PROCESS = 1_000_000_000
LONGEST_SIGMAS = 6.0  # a sampled mean energy this far from the spectrum's is no accident


@dataclass(frozen=True, eq=False)
class Scene:
    """What is simulated.

    Attributes
    ----------
    label : index into ``materials`` of each voxel (z, y, x)
    activity : relative activity of each voxel (z, y, x)
    spacing_mm : voxel edges (x, y, z)
    """

    label: npt.NDArray[np.uint16]
    materials: tuple[Material, ...]
    activity: Float64
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Machine:
    """How it is simulated: where opengate is, physics, and how the work is spread."""

    installation: Installation
    physics_list: PhysicsList
    cut_mm: float
    jobs: int
    threads: int
    scratch: str


@dataclass(frozen=True, eq=False)
class Part:
    """One process: a share of the events of one component, with its seed."""

    component: Component
    events: tuple[int, ...]
    seed: int


@dataclass(eq=False)
class Tally:
    """Sums over events.

    Attributes
    ----------
    mev, mev_squared : energy deposited per voxel, and the sum of its squares by event
    emitted_mev : energy handed out by the sources (deposited anywhere, or leaving the grid)
    events : primaries simulated
    """

    mev: Float64
    mev_squared: Float64
    emitted_mev: float
    events: int

    def add(self, other: Tally) -> None:
        """Take the events of another process."""
        self.mev += other.mev
        self.mev_squared += other.mev_squared
        self.emitted_mev += other.emitted_mev
        self.events += other.events

    def per_decay(self, component: Component) -> tuple[Float64, Float64]:
        """(mean energy, its standard uncertainty) per voxel, MeV per decay.

        Normalised by the energy sampled, which takes out how it fluctuates with the primaries drawn.
        """
        scale = component.nominal_mev / self.emitted_mev
        variance = np.maximum(self.mev_squared - self.mev**2 / self.events, 0.0)
        return self.mev * scale, np.sqrt(variance) * scale


def parts_of(component: Component, decays: float, machine: Machine, seeds: Iterator[int]) -> list[Part]:
    """The processes that simulate ``decays`` of one component.

    Events of each process are a multiple of the threads: GATE takes its ``n`` for each thread.
    """
    wanted = [decays * spectrum.per_decay for spectrum in component.spectra]
    count = max(machine.jobs, -(-int(sum(wanted)) // EVENTS_PER_PROCESS))
    events = tuple(max(1, round(n / count / machine.threads)) * machine.threads for n in wanted)
    return [Part(component, events, next(seeds)) for _ in range(count)]


def simulate(scene: Scene, parts: Sequence[Part], machine: Machine, report: Report) -> dict[str, Tally]:
    """Run the parts, ``machine.jobs`` at a time; sums by component name, in the order of the parts.

    ``report`` is called with the fraction done; it may raise to interrupt. Processes are ended and files
    removed however this is left.

    Raises
    ------
    EngineUnavailable : a process failed, or sampled other energies than it was given
    """
    with _scratch(machine.scratch) as folder:
        _write_scene(folder, scene)
        folders = [_write_job(folder, k, part, scene, machine) for k, part in enumerate(parts)]
        _run(folders, machine, report)
        return _collect(folders, parts)


@contextmanager
def _scratch(where: str) -> Iterator[Path]:
    mark = f"dicomnode-gate-{socket.gethostname()}-"
    home = Path(where or tempfile.gettempdir())
    _remove_abandoned(home, mark)
    folder = Path(tempfile.mkdtemp(prefix=f"{mark}{os.getpid()}-", dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _remove_abandoned(home: Path, mark: str) -> None:
    """Folders of processes of this machine that were killed before they could clean up."""
    for left in home.glob(f"{mark}*-*"):
        owner = left.name.removeprefix(mark).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and left.stat().st_uid == os.geteuid():
            shutil.rmtree(left, ignore_errors=True)


def _write_scene(folder: Path, scene: Scene) -> None:
    """Labels and activity as MetaImage with the origin left at zero: GATE centres both on the patient."""
    write_mha(folder / "labels.mha", scene.label, scene.spacing_mm)
    write_mha(folder / "activity.mha", scene.activity, scene.spacing_mm)


def write_mha(path: Path, values: npt.NDArray[Any], spacing_mm: tuple[float, float, float]) -> None:
    """A MetaImage of unsigned short or double, axes as in memory (z, y, x)."""
    kind = {np.dtype(np.uint16): "MET_USHORT", np.dtype(np.float64): "MET_DOUBLE"}[values.dtype]
    size = " ".join(str(n) for n in reversed(values.shape))
    spacing = " ".join(repr(float(edge)) for edge in spacing_mm)
    head = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"ElementSpacing = {spacing}\nDimSize = {size}\nElementType = {kind}\nElementDataFile = LOCAL\n"
    )
    with path.open("wb") as file:
        file.write(head.encode("ascii"))
        file.write(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())


def _write_job(folder: Path, k: int, part: Part, scene: Scene, machine: Machine) -> Path:
    home = folder / f"part{k}"
    home.mkdir()
    job = {
        "labels": "../labels.mha",
        "activity": "../activity.mha",
        "size": list(reversed(scene.label.shape)),
        "spacing_mm": list(scene.spacing_mm),
        "materials": [
            {
                "name": one.name,
                "elements": list(one.composition.mass_fractions),
                "fractions": list(one.composition.mass_fractions.values()),
                "g_per_cm3": one.g_per_cm3,
                "mean_excitation_ev": one.mean_excitation_ev,
            }
            for one in scene.materials
        ],
        "particle": part.component.particle,
        "sources": [
            {
                "continuous": spectrum.continuous,
                "energy_mev": spectrum.energy_mev.tolist(),
                "weight": spectrum.weight.tolist(),
                "events": events,
            }
            for spectrum, events in zip(part.component.spectra, part.events, strict=True)
        ],
        "seed": part.seed,
        "threads": machine.threads,
        "physics_list": machine.physics_list,
        "cut_mm": machine.cut_mm,
        "environment": machine.installation.environment,
    }
    (home / "job.json").write_text(json.dumps(job), encoding="utf-8")
    return home


def _run(folders: Sequence[Path], machine: Machine, report: Report, poll_s: float = 0.1) -> None:
    waiting, running = list(folders), dict[Path, subprocess.Popen[bytes]]()
    try:
        while waiting or running:
            while waiting and len(running) < machine.jobs:
                home = waiting.pop(0)
                running[home] = _start(home, machine)
            time.sleep(poll_s)
            for home, process in list(running.items()):
                if process.poll() is not None:
                    del running[home]
                    _require_success(home, process.returncode)
            report(sum(progress_of(home) for home in folders) / len(folders))
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _start(home: Path, machine: Machine) -> subprocess.Popen[bytes]:
    with (home / "log").open("wb") as log:
        return subprocess.Popen(
            [machine.installation.python, *ISOLATED, str(JOB), str(home)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=home,
        )  # fmt: skip


def progress_of(home: Path) -> float:
    """Fraction done of one process: 1 with a tally, else by GATE's own bar of 50 squares."""
    if (home / "tally.npz").exists():
        return 1.0
    log = home / "log"
    if not log.exists():
        return 0.0
    tail = log.read_bytes()[-600:].decode("utf-8", errors="ignore")
    bars = [line.count("\N{BLACK SQUARE}") for line in tail.split("\r") if "\N{BLACK SQUARE}" in line]
    return 0.98 * bars[-1] / 50 if bars else 0.0


def _require_success(home: Path, status: int) -> None:
    if status == 0 and (home / "tally.npz").exists():
        return
    lines = (home / "log").read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    last = " | ".join(line.strip() for line in lines if line.strip() and "\N{BLACK SQUARE}" not in line)
    how = f"signal {-status}" if status < 0 else f"status {status}"
    raise EngineUnavailable(
        f"GATE: the simulation ended with {how}. Signals 6 and 11 are those of missing or damaged Geant4 "
        f"data: run `dicomnode gate check`. It last said: {last[-400:] or 'nothing'}"
    )


def _collect(folders: Sequence[Path], parts: Sequence[Part]) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for home, part in zip(folders, parts, strict=True):
        with np.load(home / "tally.npz", allow_pickle=False) as data:
            mev, squared = data["mev"], data["mev_squared"]
            tally = Tally(mev, squared, float(data["emitted_mev"]), int(data["events"]))
        require_spectrum(tally, part)
        if part.component.name in found:
            found[part.component.name].add(tally)
        else:
            found[part.component.name] = tally
    return found


def require_spectrum(tally: Tally, part: Part) -> None:
    """See that GATE simulated the events it was given, with the mean energy of their spectra.

    Raises
    ------
    EngineUnavailable : other events or energies; this opengate reads sources in another way
    """
    name = part.component.name
    if tally.events != sum(part.events):
        raise EngineUnavailable(
            f"GATE: {tally.events} {name}s were simulated where {sum(part.events)} were asked for; this "
            f"version of opengate counts otherwise"
        )
    rows = [
        (n, s.mean_mev, s.mean_square_mev2) for n, s in zip(part.events, part.component.spectra, strict=True)
    ]
    expected = sum(n * (mean + part.component.rest_mev) for n, mean, _ in rows)
    sigma = sqrt(sum(n * (square - mean**2) for n, mean, square in rows))
    # 2e-5: positions within a bin, and energy lost in floating point by Geant4
    if abs(tally.emitted_mev - expected) > LONGEST_SIGMAS * sigma + 2e-5 * expected:
        raise EngineUnavailable(
            f"GATE: {name}s of {tally.emitted_mev / tally.events:.6g} MeV were sampled on average where the "
            f"spectrum has {expected / tally.events:.6g} MeV; this opengate reads spectra otherwise"
        )
