"""Cost of an uncertainty: this code, its analogue mode, GATE and EGSnrc on one problem.

GATE is run where .venv-gate is in the checkout (``make test-gate``) or DICOMNODE_GATE_PYTHON names a Python
that has it.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from costs import PHOTON_SHARE, Costs, by_gate, cost, ours, patient
from page import Table
from published import EGSNRC_RATE

NAME, EDGE = "Lu-177", 128
DECAYS, GATE_DECAYS, RUNS, BLOCK = 2e7, 2e6, 3, 8
COMPONENTS = ("electron", "photon")
GATE_PYTHON = Path(__file__).resolve().parents[2] / ".venv-gate/bin/python"


def gate_python() -> str:
    """The Python that has opengate, or nothing."""
    given = os.environ.get("DICOMNODE_GATE_PYTHON", "")
    return given or (str(GATE_PYTHON) if GATE_PYTHON.exists() else "")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def row(label: str, runs: list[Costs], mine: list[Costs]) -> tuple[str, ...]:
    """Means of the runs; of costs also the range."""
    cells = []
    for name in COMPONENTS:
        variance = sum(r[name][0] for r in runs) / len(runs)
        seconds = [1e6 * r[name][1] for r in runs]
        cells += [_range(seconds, 2), f"{1e6 * variance:.0f}"]
    costs, base = [1e12 * cost(r) for r in runs], sum(1e12 * cost(r) for r in mine) / len(mine)
    gain = "" if runs is mine else f"{sum(costs) / len(costs) / base:.3g}"
    return label, *cells, _range(costs, 0), gain


def _range(values: list[float], digits: int) -> str:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def egsnrc(analogue: list[Costs], mine: list[Costs]) -> tuple[str, ...]:
    """Our analogue variance at its published rate."""
    variance = sum(v for r in analogue for v, _ in r.values()) / len(analogue)
    base = sum(cost(r) for r in mine) / len(mine)
    costs = [variance / rate for rate in reversed(EGSNRC_RATE)]
    slow, fast = EGSNRC_RATE
    return (
        f"EGSnrc, {slow:.1g} to {fast:.2g} decays per CPU s (not run)", "", "", "", "",
        " to ".join(f"{1e12 * c:.0f}" for c in costs), " to ".join(f"{c / base:.3g}" for c in costs),
    )  # fmt: skip


def gate(problem_python: str, mine: list[Costs]) -> tuple[str, ...]:
    label = "GATE 10 option 3, cut 0.1 mm"
    if not problem_python:
        return f"{label}: no environment, not run", *[""] * 6
    return row(label, [by_gate(patient(EDGE, NAME), NAME, GATE_DECAYS, problem_python)], mine)


def tables() -> list[Table]:
    """All codes one after the other."""
    problem, before = patient(EDGE, NAME), os.getloadavg()[1]
    mine = [ours(problem, DECAYS, False) for _ in range(RUNS)]
    blocks = [ours(problem, DECAYS, False, BLOCK) for _ in range(RUNS)]
    analogue = [ours(problem, DECAYS / 10, True) for _ in range(RUNS)]
    rows = [
        row("this code", mine, mine),
        row(f"this code, `shared_block_voxels = {BLOCK}`", blocks, mine),
        row("this code, analogue mode", analogue, mine),
        gate(gate_python(), mine),
        egsnrc(analogue, mine),
    ]
    best = sum(cost(r) for r in mine) / RUNS
    equal = sum(v for r in analogue for v, _ in r.values()) / RUNS / best
    fewer = [(r["photon"][1] * r["electron"][0] / (r["electron"][1] * r["photon"][0])) ** 0.5 for r in mine]
    load = " and ".join(f"{x:.1f}" for x in (before, os.getloadavg()[1]))
    note = (
        f"{NAME}, all emissions, {EDGE}^3 voxels of 4 mm, air around a body of tissue, lung and bone; one "
        f"thread, CPU seconds; {processor()}, load before and after {load}. keV^2: variance of a voxel's "
        "energy for one decay in it, mean over voxels above 20 % of the largest dose (mostly lung). Cost: "
        "(sum over electrons and photons of the root of variance x time)^2, what a given uncertainty costs "
        "with time divided between them in the best way: here with "
        f"{sum(fewer) / RUNS:.0f} times fewer decays for photons. Means of {RUNS} runs and their range, "
        f"{DECAYS:.0e} decays (photons {DECAYS / PHOTON_SHARE:.0e}, analogue {DECAYS / 10:.0e}); GATE one "
        f"run of {GATE_DECAYS:.0e}, its start-up taken off; EGSnrc: our analogue variance at its rate. "
        f"Analogue decays of equal uncertainty per CPU second and core: {equal:.2g}."
    )
    head = ("", "electrons, us", "keV^2", "photons, us", "keV^2", "cost, keV^2 us", "cost over ours")
    return [Table("Cost of an uncertainty", head, rows, note)]
