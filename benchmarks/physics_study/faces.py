"""How the 177Lu S-values of 4.42 mm voxels depend on steps, cut-offs and scattering."""

from __future__ import annotations

import numpy as np
from egsnrc import REFERENCE, Array
from page import Table, with_sigma
from points import DEFAULT
from varied import scattering_times

from dicomnode.montecarlo import cpu
from dicomnode.montecarlo.source import electron_component, members
from dicomnode.montecarlo.world import Cuts, make_world
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.kernels import JOULE_PER_MEV
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue

EDGE_MM, COUNT = 4.42, 7
BATCHES, HISTORIES = 10, 1_000_000
FACES = ((2, 3, 3), (4, 3, 3), (3, 2, 3), (3, 4, 3), (3, 3, 2), (3, 3, 4))
VARIED = (
    *(
        (f"step {k} transport mean free paths", DEFAULT._replace(step_k=k), 1.0)
        for k in (0.02, 0.05, 0.1, 0.2, 0.3)
    ),
    (
        "steps away from faces no longer than near them (default 4 times)",
        DEFAULT._replace(far_steps=1.0),
        1.0,
    ),
    ("8 times", DEFAULT._replace(far_steps=8.0), 1.0),
    ("delta rays from 30 keV", DEFAULT._replace(delta=0.03), 1.0),
    ("from 100 keV", DEFAULT._replace(delta=0.1), 1.0),
    ("electrons followed to 5 keV", DEFAULT._replace(electron=0.005), 1.0),
    *((f"scattering x {x}", DEFAULT, x) for x in (0.8, 1.2, 1.5, 2.0)),
)


def s_values(cuts: Cuts) -> tuple[Array, Array]:
    """Means and standard uncertainties of (self, face neighbour), mGy/(MBq s), electrons."""
    component = electron_component(members(nuclide("Lu-177")), cuts.electron)
    shape = (COUNT,) * 3
    world = make_world(
        np.ones(shape, np.float32), np.zeros(shape, int), (EDGE_MM,) * 3, [medium_of(tissue("water"))],
        cuts, 0.5, False,
    )  # fmt: skip
    middle, rows, each = COUNT**3 // 2, [], HISTORIES // BATCHES
    for batch in range(BATCHES):
        tally, totals = np.zeros(COUNT**3, np.int64), np.zeros(cpu.TOTALS, np.int64)
        cpu.run(
            world, component.source, np.array([middle]), np.array([middle]), np.array([each]), np.uint64(5),
            batch, 2.0**30, np.zeros(COUNT**3), True, tally, totals, cpu.scratch(),
        )  # fmt: skip
        mev = tally.reshape(shape) / 2.0**30 / each * component.source.per_decay
        rows.append([mev[3, 3, 3] + component.local_mev, np.mean([mev[face] for face in FACES])])
    found = np.array(rows) * JOULE_PER_MEV / (EDGE_MM**3 * 1e-6) * 1e9
    return found.mean(axis=0), found.std(axis=0, ddof=1) / BATCHES**0.5


def faces() -> Table:
    """Self voxel and face neighbour over EGSnrc."""
    data, rows = np.load(REFERENCE / "vsv_4p42mm_Lu177.npz"), []
    theirs = np.array([data["S_electron"][0, 0, 0], data["S_electron"][1, 0, 0]])
    for label, cuts, factor in VARIED:
        with scattering_times(factor):
            mean, sigma = s_values(cuts)
        rows.append((label, *(with_sigma(m, s) for m, s in zip(mean / theirs, sigma / theirs, strict=True))))
    gate = np.load(REFERENCE.parent / "geant4" / "lu177_voxel_S_water_4p42mm.npz")
    there = [gate["S_electron"][0, 0, 0], gate["S_electron"][1, 0, 0]]
    rows.append(
        ("GATE reference of the project", *(f"{a / b:.4f}" for a, b in zip(there, theirs, strict=True)))
    )
    note = f"{HISTORIES:.0e} electrons each, default otherwise; ours' sigma alone."
    head = ("varied", "self voxel / EGSnrc", "face neighbour / EGSnrc")
    return Table("177Lu S-values of 4.42 mm, electrons, with the transport varied", head, rows, note)
