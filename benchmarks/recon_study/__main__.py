"""The study behind docs/reconstruction.md: phantoms, count levels, noise seeds and nine methods.

    python benchmarks/recon_study [cases] [therapy] [page] [--part 0/1]

``make recon-study`` does all three: ``cases`` makes an image of every phantom, count level, seed and method
(results/recon-study.jsonl, a line each), ``therapy`` a dose of three scans by every method
(results/recon-therapy.jsonl), ``page`` docs/studies/recon-study.md and the figures. A line is appended when
its case is done, so that the study can be stopped and taken up again, and two processes share the cases
(``--part 0/2``, ``--part 1/2``).

Scans are made by ``simulation.projections``: half voxels, 5 % wider blur, septal tail, scatter that TEW gets
right on average only, a CT that lies 2 to 3 mm off. Seconds are CPU seconds of one thread, of this machine.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cases
import page
import therapy
import torch

STEPS = ("cases", "therapy", "page")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--part", default="0/1", help="k/n: this process does every n-th case")
    given = parser.parse_args()
    steps = given.steps or STEPS
    if unknown := set(steps) - set(STEPS):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    if "cases" in steps:
        part, parts = map(int, given.part.split("/"))
        cases.run(part, parts)
    if "therapy" in steps:
        therapy.run()
    if "page" in steps:
        page.write(list(cases.records()), therapy.records())


if __name__ == "__main__":
    main()
