"""Every table and figure of docs/physics.md (``make physics-study``).

    python benchmarks/physics_study [scattering] [points] [tail] [end] [positrons] [faces] [phantom] [bundled]
                                    [engines] [vsv] [variance] [speed] [figures]

Without names all of them. Needs the reference data beside the checkout (or DICOMNODE_SHARED). Tables go to
docs/studies/physics-tables.md by way of results/physics-study.json, figures to docs/figures; each part
tells its CPU minutes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import bundled
import elastic
import engines
import faces
import figures
import phantom
import points
import positrons
import speed
import variance
from egsnrc import NUCLIDES
from page import Table, keep

from dicomnode.montecarlo.kernels import source_digest

PARTS: dict[str, Callable[[], list[Table]]] = {
    "scattering": elastic.tables,
    "points": lambda: [points.against_egsnrc(name) for name in NUCLIDES],
    "tail": lambda: [points.tail()],
    "end": lambda: [points.end()],
    "positrons": positrons.tables,
    "faces": lambda: [faces.faces()],
    "phantom": lambda: [phantom.regions(), phantom.voxels()],
    "bundled": bundled.tables,
    "engines": engines.tables,
    "vsv": lambda: [engines.vsv_against_egsnrc()],
    "variance": variance.tables,
    "speed": speed.tables,
    "figures": figures.draw,
}


def cpu_seconds() -> float:
    """Of this process and of those that it has started."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    wanted = parser.parse_args().parts or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for part in wanted:
        started = cpu_seconds()
        tables = PARTS[part]()
        minutes = (cpu_seconds() - started) / 60
        if tables:
            keep(part, tables, minutes, source_digest(), list(PARTS))
        print(f"{part}: {minutes:.1f} CPU minutes", flush=True)


if __name__ == "__main__":
    main()
