"""Make the kernels that come with the package, or could: data/medium_kernels_*.npz.

    python tools/make_kernels.py [--nuclide Lu-177 ...] [--out dicomnode/physics/data] [--keep-photons FOLDER]

With ``--keep-photons`` the photon parts of files in a folder are taken over (after a change of the physics of
electrons, on which they hardly depend); the file says so. Says of each file its SHA-256, the CPU seconds
that it took, and the energy that passes its reach in water.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np

from dicomnode.montecarlo.kernels import medium_set
from dicomnode.physics.chains import has_progeny, with_progeny
from dicomnode.physics.kernel_files import KernelSet, Shells, from_bytes, origin_of, to_bytes
from dicomnode.physics.media import file_name, media, water
from dicomnode.physics.nuclides import nuclide

# Histories of electrons, of photons, in each medium.
HISTORIES = {
    "Lu-177": (3e5, 1.5e6), "Y-90": (1.5e5, 1e5), "I-131": (2e5, 1e6),
    **dict.fromkeys(("Ho-166", "Re-188", "Tb-161", "Cu-67", "Sm-153", "Re-186"), (1e5, 4e5)),
    **dict.fromkeys(("Ac-225", "Ra-223", "Pb-212", "At-211", "Bi-213"), (1e5, 4e5)),
}  # fmt: skip
OTHERS = (1e5, 4e5)
FEWEST = 1000


def with_photons_of(made: KernelSet, raw: bytes) -> KernelSet:
    """New electrons, and the photons of an earlier file of the same nuclide in the same media."""
    from_bytes(raw, made.nuclide, made.media)
    with np.load(BytesIO(raw), allow_pickle=False) as book:
        photon = Shells(
            *(book[f"{key}_photon"] for key in ("r_g_per_cm2", "mev", "relative_sigma", "beyond_mev"))
        )
    return replace(
        made, photon=photon, origin=f"{made.origin}. Photons as in an earlier file: {origin_of(raw)}"
    )


def make(name: str, folder: Path, photons_in: Path | None) -> None:
    """One file, and one line about it."""
    started = time.process_time()
    electrons, photons = HISTORIES.get(name, OTHERS)
    given = with_progeny(name) if has_progeny(name) else nuclide(name)
    earlier = photons_in / file_name(given.name) if photons_in else None
    if earlier is not None and earlier.is_file():
        made = medium_set(given, (water(), *media()), electrons, FEWEST)
        made = with_photons_of(made, earlier.read_bytes())
    else:
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
    parser.add_argument("--keep-photons", type=Path, help="folder of earlier files")
    given = parser.parse_args()
    for name in given.nuclide:
        make(name, given.out, given.keep_photons)


if __name__ == "__main__":
    main()
