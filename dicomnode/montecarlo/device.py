"""How device functions are compiled. CUDA compiles the same functions: a kernel may call them as they are."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numba
from numba import njit


def _cache_folder() -> str:
    """A folder for compiled code, named after all sources of this package and the version of numba.

    Numba's own cache looks only at the file of the function asked for: after a change in a function that
    it calls, yesterday's physics would run. Compiled code of other sources is never found here.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "dicomnode" / f"compiled-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        writable = False
    else:
        writable = os.access(folder, os.W_OK)
    # A read-only home (a service in its sandbox): each process compiles anew, rather than not at all.
    return str(folder) if writable else tempfile.mkdtemp(prefix="dicomnode-compiled-")


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = _cache_folder()

# No reference counts: arrays come from outside, and counting them costs more than the physics.
OPTIONS = {"cache": True, "error_model": "numpy", "_nrt": False}
# Inlined by LLVM wherever called: for what runs in every flight, so that the tables are not passed about.
hot = njit(forceinline=True, **OPTIONS)
# Called, for what is rare.
device = njit(**OPTIONS)
# Loops over histories; other threads run meanwhile.
loop = njit(nogil=True, **OPTIONS)


@hot
def least(a, b):
    """The smaller. Not ``min``: numba compiles that for CUDA only in some versions."""
    return a if a < b else b


@hot
def most(a, b):
    """The larger."""
    return a if a > b else b
