"""The study behind docs/comparing.md: which measure sees which fault at how many decays, with real Monte
Carlo.

``make compare-study`` runs it and writes docs/compare-study.json, docs/compare-study.md and the figures of
docs/figures/. Every number there comes from here. Two steps, each of which goes on where it was stopped:

    python benchmarks/compare_study run      Monte Carlo into --cache: about 40 CPU minutes
    python benchmarks/compare_study judge    every measure and gate, then tables and figures: about 30

References are the transport of the engine ``montecarlo`` in two phantoms (``phantoms``) with three
nuclides. Faults are planted (``planted``), some simulated (``study.SIMULATED``).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from phantoms import PHANTOMS
from planted import NUCLIDES
from runs import fill
from study import SIMULATED, Case, alarms_at, power_at
from tables import write

LEVELS = (10**4, 10**5, 10**6, 10**7, 10**8)
DRAWS = {"chest": 12, "torso": 6}


def judge(phantom_name: str, nuclide: str, cache: Path) -> None:
    """Results of one phantom and nuclide, kept beside the Monte Carlo."""
    part = cache / f"{phantom_name}-{nuclide}.json"
    case = Case(PHANTOMS[phantom_name](), nuclide, cache)
    powers, alarms = [], []
    for decays in LEVELS:
        start = time.perf_counter()
        found = power_at(case, decays, DRAWS[phantom_name])
        if found is not None:
            powers.append(found)
        alarms += alarms_at(case, decays)
        print(phantom_name, nuclide, f"{decays:.0e}", f"{time.perf_counter() - start:.0f} s", flush=True)
    part.write_text(json.dumps({"power": powers, "alarms": alarms}) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", nargs="?", choices=("run", "judge", "write", "all"), default="all")
    parser.add_argument("--engine", choices=("montecarlo",), default="montecarlo")
    parser.add_argument("--phantoms", nargs="+", default=["chest", "torso"], choices=list(PHANTOMS))
    parser.add_argument("--nuclides", nargs="+", default=list(NUCLIDES), choices=NUCLIDES)
    parser.add_argument("--cache", type=Path, default=Path("build/compare-study"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    given = parser.parse_args()
    for phantom in given.phantoms:
        if given.step in ("run", "all"):
            fill(PHANTOMS[phantom](), given.cache, tuple(given.nuclides), SIMULATED)
        if given.step in ("judge", "all"):
            for nuclide in given.nuclides:
                judge(phantom, nuclide, given.cache)
    if given.step in ("judge", "write", "all"):
        write([given.cache / f"{p}-{n}.json" for p in given.phantoms for n in given.nuclides], given.out)


if __name__ == "__main__":
    main()
