"""Exact optimal transport on small grids: W1, and its unbalanced form with a price for creating dose."""

from __future__ import annotations

import numpy as np

from dicomnode.compare.bootstrap import generator
from dicomnode.compare.measure import Measure, with_null
from dicomnode.compare.pair import Float, Mass, Pair
from dicomnode.compare.transport.directions import normalised
from dicomnode.compare.transport.sliced import block_sum
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model.moments import cut

MOST_POINTS = 4_000
"""Points on either side; 12 x 12 x 12 maps need about 900, and time grows with the cube."""
NOTHING = 1e-12
"""Below this share of the mass that moves a point is left out, and the difference spread over the rest."""


def exact_w1(p: Float, q: Float, spacing_zyx: tuple[float, float, float]) -> float:
    """W1 between two normalised maps of point masses at voxel centres, mm.

    W1 depends on the difference alone, so only what p has more is carried to where q has more. Raises
    OutOfDomain above ``MOST_POINTS``; sum over blocks first.
    """
    return _carried(normalised(p) - normalised(q), spacing_zyx, None)


def kantorovich_rubinstein(
    p: Float, q: Float, spacing_zyx: tuple[float, float, float], price_mm: float
) -> float:
    """Unbalanced W1 of maps of different total: dose may be carried, or created and deleted at ``price_mm``
    per unit; mass x mm. Equals max of sum f (p - q) over abs(f) <= price, Lipschitz 1 (the flat norm).

    Raises as :func:`exact_w1`; OutOfDomain for a price that is not positive.
    """
    if not price_mm > 0:
        raise OutOfDomain("price of creating or deleting dose", price_mm, "mm", "positive; 10 to 20 is usual")
    if p.shape != q.shape:
        raise Inconsistent(f"maps of shapes {p.shape} and {q.shape}")
    return _carried(p - q, spacing_zyx, price_mm)


def _carried(off: Float, spacing_zyx: tuple[float, float, float], price_mm: float | None) -> float:
    from dicomnode.compare.classical.gamma_numba import transport

    moved = float(np.abs(off).sum())
    more, less = np.argwhere(off > NOTHING * moved), np.argwhere(off < -NOTHING * moved)
    if max(len(more), len(less)) > MOST_POINTS:
        raise OutOfDomain(
            "points to carry", max(len(more), len(less)), "", f"at most {MOST_POINTS}; sum over blocks"
        )
    supply, demand = off[tuple(more.T)], -off[tuple(less.T)]
    cost = np.linalg.norm((more * spacing_zyx)[:, None] - (less * spacing_zyx)[None], axis=2)
    if price_mm is not None:
        # One more place on each side takes what is not carried; it costs nothing between these two.
        supply, demand = np.append(supply, demand.sum()), np.append(demand, supply.sum())
        cost = np.pad(np.minimum(cost, 2.0 * price_mm), ((0, 1), (0, 1)), constant_values=price_mm)
        cost[-1, -1] = 0.0
    if not (supply.size and demand.size and supply.sum() > 0):
        return 0.0
    demand = demand * (supply.sum() / demand.sum())
    flow = np.zeros_like(cost)
    return float(transport(supply, demand, cost, flow, np.zeros(len(supply)), np.zeros(len(demand))))


def exact(pair: Pair, *, kind: Mass = "dose", block: int = 1) -> Measure:
    """Exact W1 on blocks of ``block`` voxels, mm. Carrying within a block costs nothing, so with blocks it
    may be too small by their diagonal at most."""
    p, q, _, spacing = on_blocks(pair, kind, block)
    value = exact_w1(p, q, spacing)
    words = f"carrying {kind} to where it should be takes {value:.3f} mm per unit (blocks of {block} voxels)"
    return Measure("exact-w1", value, "mm", words, detail={"mass_ratio": float(p.sum() / q.sum())})


def unbalanced(
    pair: Pair, *, price_mm: float = 15.0, kind: Mass = "dose", block: int = 1, draws: int = 0, seed: int = 0
) -> Measure:
    """Kantorovich-Rubinstein distance per volume with more than a tenth of the hot level: Gy mm.

    With ``kind`` "energy" per mass there, which is mJ mm / g = Gy mm as well. It sees a common scale and a
    missing lesion, which normalised distances do not. ``draws`` bootstraps on the blocks give what noise
    alone makes of it.
    """
    p, q, sigma, spacing = on_blocks(pair, kind, block)
    size = float(pair.weights(kind)[pair.reference > 0.1 * pair.hot_gy].sum())
    value = kantorovich_rubinstein(p, q, spacing, price_mm) / size
    words = f"carrying, or making and removing {kind} at {price_mm:g} mm, takes {value:.4g} Gy mm"
    found = Measure("kantorovich-rubinstein", value, "Gy mm", words, detail={"price_mm": price_mm})
    rng = generator(seed)
    null = [
        kantorovich_rubinstein(p, p + sigma * rng.standard_normal(p.shape), spacing, price_mm) / size
        for _ in range(draws)
    ]
    return with_null(found, np.array(null))


def on_blocks(pair: Pair, kind: Mass, block: int) -> tuple[Float, Float, Float, tuple[float, float, float]]:
    """Mass of both maps and standard deviation of its noise on blocks of voxels, and their size, mm."""
    box, weights = pair.box_zyx(), pair.weights(kind)
    p, q = (block_sum(cut(m * weights, box), block) for m in (pair.evaluated, pair.reference))
    variance = pair.dispersion * block_sum(cut(pair.variance * weights**2, box), block)
    z, y, x = pair.spacing_zyx
    return p, q, np.sqrt(variance), (block * z, block * y, block * x)
