"""Random numbers by counter: Philox4x32-10 (Salmon et al., SC11, 2011).

A number depends on (seed, stream, history, place in the history) and on nothing else, so that histories may
run in any order, on any number of threads.
"""

from __future__ import annotations

import numpy as np

from dicomnode.montecarlo.device import device, hot

# Places in the state: counter (4), key (2), output (4), numbers used of the output.
STATE = 11
MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
ONE = np.uint64(1)
FOUR = np.uint64(4)
# Multipliers and Weyl constants of the paper, table 2 and section 3.3.
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
TO_UNIT = 1.0 / 4294967296.0


@device
def start(rng, seed, stream, history):
    """Set the state to the first number of a history."""
    rng[0] = np.uint64(0)
    rng[1] = np.uint64(history) & MASK
    rng[2] = np.uint64(history) >> SHIFT
    rng[3] = np.uint64(stream) & MASK
    rng[4] = np.uint64(seed) & MASK
    rng[5] = np.uint64(seed) >> SHIFT
    rng[10] = FOUR


@device
def refill(rng):
    """Four new 32-bit numbers; the counter moves on."""
    c0, c1, c2, c3 = rng[0], rng[1], rng[2], rng[3]
    k0, k1 = rng[4], rng[5]
    for _ in range(10):
        p0 = M0 * c0
        p1 = M1 * c2
        c0 = ((p1 >> SHIFT) ^ c1 ^ k0) & MASK
        c1 = p1 & MASK
        c2 = ((p0 >> SHIFT) ^ c3 ^ k1) & MASK
        c3 = p0 & MASK
        k0 = (k0 + W0) & MASK
        k1 = (k1 + W1) & MASK
    rng[6], rng[7], rng[8], rng[9] = c0, c1, c2, c3
    rng[0] = (rng[0] + ONE) & MASK
    rng[10] = np.uint64(0)


@hot
def uniform(rng):
    """A number between 0 and 1, both excluded."""
    if rng[10] >= FOUR:
        refill(rng)
    place = rng[10]
    rng[10] = place + ONE
    return (float(rng[np.int64(place) + 6]) + 0.5) * TO_UNIT
