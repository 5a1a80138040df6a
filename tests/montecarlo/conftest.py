"""The media of the EGSnrc references, and small problems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicomnode.montecarlo import cpu, radial
from dicomnode.montecarlo.simulate import Problem
from dicomnode.montecarlo.source import electron_component, members, photon_component
from dicomnode.montecarlo.world import Cuts, make_world
from dicomnode.physics.interactions import Medium, medium_of
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue

# shared/reference/egsnrc/README.md, "Media".
EGSNRC_MEDIA = (
    Medium("SOFT", 1.04, ((1, 0.101172), (6, 0.111), (7, 0.026), (8, 0.761828))),
    Medium(
        "LUNG", 0.26,
        ((1, 0.103), (6, 0.105), (7, 0.031), (8, 0.749), (11, 0.002), (15, 0.002), (16, 0.003), (17, 0.003),
         (19, 0.002)),
    ),
    Medium(
        "BONE", 1.85,
        ((1, 0.047234), (6, 0.14433), (7, 0.04199), (8, 0.446096), (12, 0.0022), (15, 0.10497), (16, 0.00315),
         (20, 0.20993), (30, 0.0001)),
    ),
)  # fmt: skip
CUTS = Cuts(electron=0.01, photon=0.001, delta=0.01, brems=0.01, step_k=0.05)


@pytest.fixture
def egsnrc(shared) -> Path:
    return shared / "reference" / "egsnrc"


def point_kernel(name: str, which: str, edges_mm, histories: int, batches: int = 8):
    """(MeV per decay by shell, its sigma) around a point source in water."""
    found = members(nuclide(name))
    component = electron_component(found, 0.01) if which == "electron" else photon_component(found, 0.001)
    water = medium_of(tissue("water"))
    world = make_world(
        np.ones((1, 1, 1), np.float32), np.zeros((1, 1, 1), int), (2000.0,) * 3, [water], CUTS,
        component.source.highest_mev * 1.001, False,
    )  # fmt: skip
    rows = []
    for batch in range(batches):
        tally = np.zeros(len(edges_mm))
        radial.run(
            world,
            component.source,
            histories // batches,
            np.uint64(11),
            batch,
            edges_mm,
            tally,
            cpu.scratch(),
        )
        rows.append(tally / (histories // batches) * component.source.per_decay)
    mean, sigma = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(batches)
    mean[0] += component.local_mev
    return mean, sigma


def water_cube(name: str, count: int = 7, edge: float = 4.0) -> Problem:
    """One source voxel in the middle of water."""
    decays = np.zeros((count,) * 3)
    decays[(count // 2,) * 3] = 1e6
    return Problem(
        decays, np.ones(decays.shape, np.float32), np.zeros(decays.shape, int),
        (medium_of(tissue("water")),), (edge,) * 3, members(nuclide(name)),
    )  # fmt: skip


@pytest.fixture
def kernel_of():
    return point_kernel


@pytest.fixture
def cube():
    return water_cube


@pytest.fixture
def phantom(egsnrc):
    """(problem of the phantom with lung, tissue and bone, label map, its file) by nuclide."""
    maps = np.load(egsnrc / "phantom_a_maps.npz")

    def zyx(name):
        return np.ascontiguousarray(maps[name].transpose(2, 1, 0))

    def make(name: str) -> Problem:
        return Problem(
            zyx("source_fraction") * 1e6, zyx("density_g_cm3"), zyx("material_index").astype(int),
            EGSNRC_MEDIA, (4.0,) * 3, members(nuclide(name)),
        )  # fmt: skip

    return make, zyx("region_label"), zyx("material_index")
