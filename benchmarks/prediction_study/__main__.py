"""The study behind docs/prediction.md: predicted dose beside long transport on simulated torsos.

``make prediction-study`` makes what is missing of the truth in --cache (some two CPU minutes a patient and
nuclide), the dose by each engine, and the table of docs/prediction.md.

    python benchmarks/prediction_study [--cases 4:Lu-177 4:I-131 2:Lu-177] [--cache FOLDER]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np
from cases import Case, torso
from measures import coverage, errors
from page import Row, write
from truth import truth

from dicomnode.dose.registry import build
from dicomnode.model import DoseMap
from dicomnode.physics.nuclides import nuclide

ENGINES: dict[str, tuple[str, dict[str, object]]] = {
    "vsv": ("vsv", {"workers": 1}),
    "multi-vsv, published": ("multi-vsv", {"workers": 1}),
    "multi-vsv, both and linear": ("multi-vsv", {"workers": 1, "kernel_of": "both", "between": "linear"}),
    "denoise": ("denoise", {"threads": 1}),
    "denoise, 4 photons a voxel": ("denoise", {"threads": 1, "histories": 425_000}),
}
ENGINE_SEED = 1
CASES = ("4:Lu-177", "4:I-131")


def timed(case: Case, nuclide_name: str, engine: str, options: dict[str, object]) -> tuple[DoseMap, float]:
    """(dose, CPU seconds)."""
    made, begun = build(engine, options), time.process_time()
    result = made.dose(case.tia, case.anatomy, nuclide(nuclide_name), seed=ENGINE_SEED)
    return result, time.process_time() - begun


def study(seed: int, name: str, cache: Path) -> dict[str, Row]:
    """Row -> region -> (error of the mean, rms by voxel), %; also "CPU s" and "within sigma"."""
    case = torso(seed)
    halves = truth(case, name, cache).gy
    found = {label: timed(case, name, *engine) for label, engine in ENGINES.items()}
    scale = np.maximum(found["denoise"][0].gy.astype(np.float64), 1e-30)
    rows = {}
    for label, (dose, seconds) in found.items():
        rows[label] = errors(case, dose.gy.astype(np.float64), halves, scale)
        rows[label] |= {"CPU s": (seconds, 0.0), "within sigma": (coverage(case, dose, halves), 0.0)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, help="seed of a patient, colon, nuclide")
    parser.add_argument("--cache", type=Path, default=Path("build/prediction-study"))
    given = parser.parse_args()
    cases = [(int(seed), name) for seed, name in (case.split(":") for case in given.cases)]
    timed(torso(cases[0][0]), "I-131", "denoise", {"threads": 1, "histories": 2000})  # compiles
    found: dict[str, dict[int, dict[str, Row]]] = {}
    for seed, name in cases:
        found.setdefault(name, {})[seed] = study(seed, name, given.cache)
        write(Path("docs/prediction.md"), found)


if __name__ == "__main__":
    main()
