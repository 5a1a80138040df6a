"""How the 177Lu S-values of 4.42 mm voxels depend on steps, cut-offs and scattering (docs/physics.md)."""

from __future__ import annotations

import numpy as np

from dicomnode.montecarlo import cpu
from dicomnode.montecarlo.source import electron_component, members
from dicomnode.montecarlo.world import Cuts, make_world
from dicomnode.physics import scattering
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.kernels import JOULE_PER_MEV
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue

EDGE_MM, COUNT = 4.42, 7
BATCHES, HISTORIES = 10, 1_000_000
EGSNRC_SELF, EGSNRC_FACE = 0.25228, 3.4825e-3  # mGy/(MBq s), electrons
FACES = ((2, 3, 3), (4, 3, 3), (3, 2, 3), (3, 4, 3), (3, 3, 2), (3, 3, 4))


def s_values(cuts: Cuts) -> tuple[np.ndarray, np.ndarray]:
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


def report(what: str, cuts: Cuts) -> None:
    mean, sigma = s_values(cuts)
    one, face = mean / (EGSNRC_SELF, EGSNRC_FACE)
    spread = sigma / (EGSNRC_SELF, EGSNRC_FACE)
    print(
        f"{what:30s} self {one:.4f}({spread[0]:.4f}) face {face:.4f}({spread[1]:.4f}) of EGSnrc", flush=True
    )


def main() -> None:
    default = Cuts(electron=0.01, photon=0.001, delta=0.01, brems=0.01, step_k=0.05)
    for step in (0.02, 0.05, 0.1, 0.2, 0.3):
        report(f"step {step}", default._replace(step_k=step))
    for far in (1.0, 8.0):
        report(f"steps away from faces x {far:.0f}", default._replace(far_steps=far))
    for delta in (0.03, 0.1):
        report(f"delta rays from {delta * 1e3:.0f} keV", default._replace(delta=delta))
    report("electrons to 5 keV", default._replace(electron=0.005))
    law = scattering.transport_coefficients
    for factor in (0.8, 1.2, 1.5, 2.0):

        def scaled(*given, factor=factor, **named):  # type: ignore[no-untyped-def]
            g, total = law(*given, **named)
            return factor * g, factor * total

        scattering.transport_coefficients = scaled
        report(f"elastic scattering x {factor}", default)
    scattering.transport_coefficients = law


if __name__ == "__main__":
    main()
