"""How device functions are compiled. CUDA compiles the same functions: a kernel may call them as they are."""

from __future__ import annotations

from numba import njit

# Inlined by LLVM wherever called: for what runs in every flight, so that the tables are not passed about.
hot = njit(cache=True, error_model="numpy", forceinline=True, _nrt=False)
# Called, for what is rare.
device = njit(cache=True, error_model="numpy", _nrt=False)
