"""Make the kernels that come with the package, or could: data/medium_kernels_*.npz.

    python tools/make_kernels.py [--nuclide Lu-177 ...] [--out dicomnode/physics/data]

Says of each file its SHA-256, the CPU seconds that it took, and the energy that passes its reach in water.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

from dicomnode.montecarlo.kernels import medium_set
from dicomnode.physics.chains import has_progeny, with_progeny
from dicomnode.physics.kernel_files import to_bytes
from dicomnode.physics.media import file_name, media, water
from dicomnode.physics.nuclides import nuclide

# Histories of electrons, of photons, in each medium, of those that come with the package, and of others.
HISTORIES = {"Lu-177": (4e5, 1.5e6), "Y-90": (2e5, 1e5), "I-131": (2e5, 1e6)}
OTHERS = (1e5, 4e5)


def make(name: str, folder: Path) -> None:
    """One file, and one line about it."""
    started = time.process_time()
    electrons, photons = HISTORIES.get(name, OTHERS)
    given = with_progeny(name) if has_progeny(name) else nuclide(name)
    made = medium_set(given, (water(), *media()), electrons, photons)
    raw = to_bytes(made)
    (folder / file_name(given.name)).write_bytes(raw)
    beyond = [1e3 * float(part.beyond_mev[0]) if part else 0.0 for part in (made.electron, made.photon)]
    sys.stdout.write(
        f"{hashlib.sha256(raw).hexdigest()}  {file_name(given.name)}  # {len(raw) // 1024} KiB, "
        f"{time.process_time() - started:.0f} CPU s, beyond {beyond[0]:.2g} + {beyond[1]:.2g} keV\n"
    )
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nuclide", nargs="*", default=list(HISTORIES), help="one or more, of any")
    default = Path(__file__).resolve().parents[1] / "dicomnode" / "physics" / "data"
    parser.add_argument("--out", type=Path, default=default)
    given = parser.parse_args()
    for name in given.nuclide:
        make(name, given.out)


if __name__ == "__main__":
    main()
