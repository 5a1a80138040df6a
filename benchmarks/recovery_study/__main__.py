"""The study behind docs/recovery.md: simulated patients, error and coverage of the correction by size.

    python benchmarks/recovery_study [--patients 40] [--page]

A patient's rows are appended to results/recovery-study.jsonl when it is done, so that the study can be
stopped and taken up again; ``--page`` only writes docs/studies/recovery-study.md and its picture. About 15
CPU s a patient.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import page
import study


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--patients", type=int, default=40)
    asked.add_argument("--page", action="store_true")
    options = asked.parse_args()
    if not options.page:
        study.run(options.patients)
    page.write()


main()
