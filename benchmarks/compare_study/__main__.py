"""The study behind docs/comparing.md: which measure sees which fault at how many decays, with real Monte
Carlo.

``make compare-study`` runs it and writes results/compare-study.json, docs/studies/compare-study.md
and the figures of docs/figures/. Every number there comes from here. Three steps; the first two go on where
they were stopped:

    python benchmarks/compare_study run      Monte Carlo into --cache: about 40 CPU minutes
    python benchmarks/compare_study judge    every measure and gate: about 20
    python benchmarks/compare_study write    tables and figures

References are the transport of the engine ``montecarlo`` in two phantoms (``phantoms``) with three
nuclides. Faults are planted (``planted``), some simulated (``study.SIMULATED``).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from phantoms import PHANTOMS
from planted import NUCLIDES
from runs import fill
from study import SIMULATED, Case, alarms_at, draw, example, power_of
from tables import write

LEVELS = (10**4, 10**5, 10**6, 10**7, 10**8)
DRAWS = {"chest": 5, "torso": 3}


def judge(phantom_name: str, nuclide: str, cache: Path, seconds: float) -> None:
    """Draws of one phantom and nuclide that are missing, each kept on disk; stops after some CPU seconds."""
    folder = cache / f"{phantom_name}-{nuclide}-judged"
    folder.mkdir(parents=True, exist_ok=True)
    case = Case(PHANTOMS[phantom_name](), nuclide, cache)
    counts = {d: min(DRAWS[phantom_name], len(case.references(d))) for d in LEVELS}
    todo: list[tuple[str, Callable[[], Any]]] = []
    for decays, count in counts.items():
        if count > 1:
            todo.append((f"{decays:.0e}-alarms.json", lambda d=decays: alarms_at(case, d)))
    for decays, count in counts.items():
        for k in range(count if count > 1 else 0):
            todo.append((f"{decays:.0e}-{k:03}.json", lambda d=decays, n=k: draw(case, d, n)))
    for name, make in todo:
        if time.process_time() > seconds:
            return
        _keep(folder / name, make)
    print(phantom_name, nuclide, "complete", flush=True)


def _keep(path: Path, make: Callable[[], Any]) -> None:
    if not path.exists():
        found = json.dumps(make())
        partial = path.with_suffix(".part")
        partial.write_text(found, encoding="utf-8")
        partial.replace(path)


def collect(cache: Path, phantoms: list[str], nuclides: list[str]) -> tuple[list[Any], list[Any]]:
    """Powers and alarms of all that was judged."""
    powers, alarms = [], []
    for phantom in phantoms:
        for nuclide in nuclides:
            folder = cache / f"{phantom}-{nuclide}-judged"
            for decays in LEVELS:
                draws = [json.loads(f.read_text()) for f in sorted(folder.glob(f"{decays:.0e}-[0-9]*.json"))]
                if len(draws) > 1:
                    powers.append(power_of((phantom, nuclide, decays), draws))
                for f in folder.glob(f"{decays:.0e}-alarms.json"):
                    alarms += json.loads(f.read_text())
    return powers, alarms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", nargs="?", choices=("run", "judge", "write", "all"), default="all")
    parser.add_argument("--engine", choices=("montecarlo",), default="montecarlo")
    parser.add_argument("--phantoms", nargs="+", default=["chest", "torso"], choices=list(PHANTOMS))
    parser.add_argument("--nuclides", nargs="+", default=list(NUCLIDES), choices=NUCLIDES)
    parser.add_argument("--cache", type=Path, default=Path("build/compare-study"))
    parser.add_argument("--seconds", type=float, default=1e9, help="CPU time after which judge stops.")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    given = parser.parse_args()
    for phantom in given.phantoms:
        if given.step in ("run", "all"):
            fill(PHANTOMS[phantom](), given.cache, tuple(given.nuclides), SIMULATED)
        if given.step in ("judge", "all"):
            for nuclide in given.nuclides:
                judge(phantom, nuclide, given.cache, given.seconds)
    if given.step in ("write", "all"):
        write(*collect(given.cache, given.phantoms, given.nuclides), given.out)
        torso = Case(PHANTOMS["torso"](), "Lu-177", given.cache)
        (given.out / "figures" / "compare-verdict.png").write_bytes(example(torso))


if __name__ == "__main__":
    main()
