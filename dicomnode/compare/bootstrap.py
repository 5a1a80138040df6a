"""What noise alone does to a measure that has no law of its own: compare the evaluated map with itself plus
noise of the reference's variance, many times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dicomnode.compare.pair import Float, Pair

STREAM = 8_177
"""Sets our random numbers apart: a caller who drew the reference's noise from the same seed would otherwise
meet the very same numbers, and noise that is subtracted from itself."""


def generator(seed: int) -> np.random.Generator:
    """The generator of this package for a seed."""
    return np.random.default_rng([seed, STREAM])


def null_values(measure: Callable[[Pair], float], pair: Pair, draws: int, seed: int) -> Float:
    """Values of ``measure`` for the evaluated map against itself with noise; empty for ``draws=0``.

    The noise is Gaussian and independent between voxels: voxel by voxel it has the stated variance, and
    over-dispersion of sums (``pair.widening``) is not reproduced. Same seed, same values.
    """
    rng = generator(seed)
    sigma = np.sqrt(pair.variance)
    values = np.empty(draws)
    for k in range(draws):
        noisy = pair.evaluated + sigma * rng.standard_normal(sigma.shape)
        values[k] = measure(replace(pair, reference=noisy))
    return values
