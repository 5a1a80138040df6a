"""The moment hierarchy of Mula & Nouy (2024) for W2, on small cases: rung r is a semidefinite program.

Unknown are the moments of the transport plan to degree 2 r. The plan's marginals fix those of x alone and
of y alone; its moment matrix, and the localising matrix of each side of the box, are positive semidefinite.
Every rung is a lower bound of W2; they rise and converge. Rung 1 equals Gelbrich-Bures, in closed form
and for any size. Rung 2 costs a tenth of a second in three dimensions (a matrix of 28, 210 unknowns), rung 3
half a minute (84 and 924); how much they add is in docs/comparing.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations_with_replacement
from math import sqrt

import numpy as np

from dicomnode.compare.pair import Float
from dicomnode.errors import EngineUnavailable, Inconsistent, NotConverged, OutOfDomain

Exponent = tuple[int, ...]
LARGEST_RUNG = 3


def moment_bound(points_a: Float, mass_a: Float, points_b: Float, mass_b: Float, rung: int = 2) -> float:
    """Lower bound of W2 between two weighted point sets, unit of the points.

    Parameters
    ----------
    points_a, points_b : (N, dim) positions, dim 1 to 3
    mass_a, mass_b : (N,) not negative; normalised here
    rung : 1 to 3

    Raises
    ------
    EngineUnavailable : the solver (clarabel) is not installed
    OutOfDomain : another rung
    Inconsistent : point sets without mass, or of different dimension
    NotConverged : the solver gave up
    """
    if not 1 <= rung <= LARGEST_RUNG:
        raise OutOfDomain("rung of the moment hierarchy", rung, "", f"1 to {LARGEST_RUNG}")
    dim = points_a.shape[1]
    if points_b.shape[1] != dim or not (mass_a.sum() > 0 and mass_b.sum() > 0):
        raise Inconsistent("two point sets of one dimension and positive mass are needed")
    both = np.concatenate([points_a, points_b])
    centre = 0.5 * (both.max(axis=0) + both.min(axis=0))
    size = float((both.max(axis=0) - centre).max()) or 1.0
    a, b = (points_a - centre) / size, (points_b - centre) / size
    known = _marginal_moments(a, mass_a / mass_a.sum(), b, mass_b / mass_b.sum(), rung)
    squared = _solve(dim, rung, known)
    return size * sqrt(max(0.0, squared))


def _marginal_moments(a: Float, mass_a: Float, b: Float, mass_b: Float, rung: int) -> dict[Exponent, float]:
    dim, found = a.shape[1], {}
    for exponent in monomials(dim, 2 * rung):
        zero = (0,) * dim
        found[exponent + zero] = float(mass_a @ np.prod(a**exponent, axis=1))
        found[zero + exponent] = float(mass_b @ np.prod(b**exponent, axis=1))
    return found


@lru_cache(maxsize=32)
def monomials(variables: int, degree: int) -> tuple[Exponent, ...]:
    """Exponents of all monomials of total degree at most ``degree``, the constant first."""
    found = []
    for total in range(degree + 1):
        for chosen in combinations_with_replacement(range(variables), total):
            found.append(tuple(chosen.count(v) for v in range(variables)))
    return tuple(found)


def _matrices(dim: int, rung: int) -> Iterator[tuple[int, list[list[dict[Exponent, float]]]]]:
    """The moment matrix, and that of 1 - t^2 >= 0 for every coordinate; entries are linear in the moments."""
    rows = monomials(2 * dim, rung)
    yield len(rows), [[{_add(a, b): 1.0} for b in rows] for a in rows]
    inner = monomials(2 * dim, rung - 1)
    for v in range(2 * dim):
        square = tuple(2 if k == v else 0 for k in range(2 * dim))
        yield len(inner), [[{_add(a, b): 1.0, _add(_add(a, b), square): -1.0} for b in inner] for a in inner]


def _add(a: Exponent, b: Exponent) -> Exponent:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _solve(dim: int, rung: int, known: dict[Exponent, float]) -> float:
    """min of sum (x_i - y_i)^2 under the plan, by Clarabel's interior-point method."""
    try:
        import clarabel
    except ImportError as error:
        raise EngineUnavailable(
            "the moment hierarchy needs a solver: pip install 'dicomnode[compare]'"
        ) from error
    from scipy.sparse import csc_matrix

    free = [e for e in monomials(2 * dim, 2 * rung) if e not in known]
    column = {e: k for k, e in enumerate(free)}
    rows, columns = list[int](), list[int]()
    values, right, cones = list[float](), list[float](), []
    for size, matrix in _matrices(dim, rung):
        for j in range(size):
            for i in range(j + 1):
                scale, constant = (1.0 if i == j else sqrt(2.0)), 0.0
                for exponent, factor in matrix[i][j].items():
                    if exponent in column:
                        rows.append(len(right))
                        columns.append(column[exponent])
                        values.append(-scale * factor)
                    else:
                        constant += scale * factor * known[exponent]
                right.append(constant)
        cones.append(clarabel.PSDTriangleConeT(size))
    cost, offset = np.zeros(len(free)), 0.0
    for v in range(dim):
        x, y = _unit(2 * dim, v), _unit(2 * dim, dim + v)
        offset += known[_add(x, x)] + known[_add(y, y)]
        cost[column[_add(x, y)]] = -2.0
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    a = csc_matrix((values, (rows, columns)), shape=(len(right), len(free)))
    quadratic = csc_matrix((len(free), len(free)))
    solution = clarabel.DefaultSolver(quadratic, cost, a, np.array(right), cones, settings).solve()
    if str(solution.status) not in {"Solved", "AlmostSolved"}:
        raise NotConverged(f"the semidefinite program ended with {solution.status}", solution)
    # The dual objective is the bound; the primal lies above it by the gap.
    return float(solution.obj_val_dual) + offset


def _unit(size: int, at: int) -> Exponent:
    return tuple(1 if k == at else 0 for k in range(size))
