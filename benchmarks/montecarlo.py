"""Our Monte Carlo against GATE, EGSnrc and itself without variance reduction, at equal uncertainty.

    python benchmarks/montecarlo.py [--edge 128] [--decays 2e7] [--block 1] [--gate-python PYTHON]

177Lu (or ``--nuclide``), 128 x 128 x 128 voxels of 4 mm, a body of tissue, lung and bone in air. Every code
gets the same maps. For each component (electrons, photons) two things are measured: CPU seconds per decay,
and the variance of a voxel's energy for one decay in that voxel, averaged over the voxels above 20 % of the
largest dose. Their product is the cost of a given uncertainty; with time divided between the components in
the best way the cost is (sum of sqrt(variance x time))^2. GATE's start-up is taken off. EGSnrc is not run: it
is the analogue variance, measured here, at 0.7e5 to 1.6e5 decays per CPU second and core (measured earlier on
this problem). One process, one thread; run it on a machine with nothing else to do. The table of
docs/physics-tables.md comes of the same functions (physics_study/costs.py) by `make physics-study`.
"""

from __future__ import annotations

import argparse

from physics_study.costs import Costs, by_gate, cost, ours, patient
from physics_study.published import EGSNRC_RATE


def report(what: str, found: Costs) -> None:
    rate = 1 / sum(t for _, t in found.values())
    parts = ", ".join(f"{k} {t * 1e6:.2f} us {v * 1e6:.0f} keV2" for k, (v, t) in found.items())
    print(f"{what:34s} {rate:9.3g} decays/s  ({parts})  cost {cost(found) * 1e12:.0f} keV2 us", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--decays", type=float, default=2e7)
    parser.add_argument("--gate-decays", type=float, default=2e6)
    parser.add_argument("--edge", type=int, default=128)
    parser.add_argument("--nuclide", default="Lu-177")
    parser.add_argument("--block", type=int, default=8, help="shared_block_voxels of a second measurement")
    parser.add_argument("--noisy", action="store_true", help="activity and density as in a patient")
    parser.add_argument("--gate-python", default="", help="the Python that has opengate")
    given = parser.parse_args()
    problem = patient(given.edge, given.nuclide, given.noisy)
    mine = ours(problem, given.decays, analogue=False)
    report("this code", mine)
    shared = ours(problem, given.decays, analogue=False, block=given.block)
    report(f"this code, blocks of {given.block}", shared)
    analogue = ours(problem, given.decays / 10, analogue=True)
    report("this code, analogue", analogue)
    gains = [cost(analogue) / cost(found) for found in (mine, shared)]
    print(f"  gain over the analogue mode: {gains[0]:.1f}; with blocks {gains[1]:.1f}")
    variance = sum(v for v, _ in analogue.values())
    equal = variance / cost(mine)
    print(f"  analogue decays of equal uncertainty: {equal:.3g} per CPU s and core")
    low, high = (equal / rate for rate in reversed(EGSNRC_RATE))
    print(f"  over EGSnrc ({EGSNRC_RATE[0]:.1g} to {EGSNRC_RATE[1]:.2g} per CPU s): {low:.0f} to {high:.0f}")
    if given.gate_python:
        theirs = by_gate(problem, given.nuclide, given.gate_decays, given.gate_python)
        report("GATE 10 option 3", theirs)
        print(f"  over GATE: {cost(theirs) / cost(mine):.0f}; {cost(theirs) / cost(shared):.0f}")


if __name__ == "__main__":
    main()
