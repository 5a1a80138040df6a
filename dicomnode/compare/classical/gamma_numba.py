"""Loops that numpy cannot say, compiled on first use and cached. They release the lock, so callers may
spread them over threads; none starts threads of its own.

This module loads numba (about a second), so it is imported inside the functions that need it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


def _gamma_voxels(
    voxels: Any, reference: Any, evaluated: Any, low: Any, high: Any, spacing: Any, reach: Any, norm: Any,
    distance: Any, shell_start: Any, group_start: Any, cell: Any, weight: Any, offset: Any, gamma: Any,
) -> None:  # fmt: skip
    """Gamma of each voxel (flat index) into ``gamma``; see ``gamma.Shells`` for the tables.

    ``norm`` is the dose criterion per voxel, Gy; ``distance`` that of each shell in criteria. A shell is
    left out of cell by cell where even the best corner cannot lower what was found.
    """
    nz, ny, nx = evaluated.shape
    top = ((nz - 1) * spacing[0], (ny - 1) * spacing[1], (nx - 1) * spacing[2])
    for index in range(len(voxels)):
        flat = voxels[index]
        z, y, x = flat // (ny * nx), (flat // nx) % ny, flat % nx
        dose = reference[z, y, x]
        best = np.inf
        inner = reach <= z < nz - 1 - reach and reach <= y < ny - 1 - reach and reach <= x < nx - 1 - reach
        for shell in range(len(distance)):
            d2 = distance[shell] * distance[shell]
            nearest = np.inf
            for group in range(shell_start[shell], shell_start[shell + 1]):
                cz, cy, cx = z + cell[group, 0], y + cell[group, 1], x + cell[group, 2]
                if inner:
                    gap = max(low[cz, cy, cx] - dose, dose - high[cz, cy, cx])
                    if gap >= nearest:
                        continue
                    if gap > 0 and (gap / norm[index]) ** 2 + d2 >= best:
                        continue
                    c000, c001 = evaluated[cz, cy, cx], evaluated[cz, cy, cx + 1]
                    c010, c011 = evaluated[cz, cy + 1, cx], evaluated[cz, cy + 1, cx + 1]
                    c100, c101 = evaluated[cz + 1, cy, cx], evaluated[cz + 1, cy, cx + 1]
                    c110, c111 = evaluated[cz + 1, cy + 1, cx], evaluated[cz + 1, cy + 1, cx + 1]
                    for point in range(group_start[group], group_start[group + 1]):
                        wz, wy, wx = weight[point, 0], weight[point, 1], weight[point, 2]
                        front = (c000 * (1 - wx) + c001 * wx) * (1 - wy) + (c010 * (1 - wx) + c011 * wx) * wy
                        back = (c100 * (1 - wx) + c101 * wx) * (1 - wy) + (c110 * (1 - wx) + c111 * wx) * wy
                        nearest = min(nearest, abs(front * (1 - wz) + back * wz - dose))
                    continue
                for point in range(group_start[group], group_start[group + 1]):
                    pz = z * spacing[0] + offset[point, 0]
                    py = y * spacing[1] + offset[point, 1]
                    px = x * spacing[2] + offset[point, 2]
                    if not (0 <= pz <= top[0] and 0 <= py <= top[1] and 0 <= px <= top[2]):
                        continue
                    kz, ky, kx = max(cz, 0), max(cy, 0), max(cx, 0)
                    lz, ly, lx = min(cz + 1, nz - 1), min(cy + 1, ny - 1), min(cx + 1, nx - 1)
                    wz, wy, wx = weight[point, 0], weight[point, 1], weight[point, 2]
                    front = (evaluated[kz, ky, kx] * (1 - wx) + evaluated[kz, ky, lx] * wx) * (1 - wy) + (
                        evaluated[kz, ly, kx] * (1 - wx) + evaluated[kz, ly, lx] * wx
                    ) * wy
                    back = (evaluated[lz, ky, kx] * (1 - wx) + evaluated[lz, ky, lx] * wx) * (1 - wy) + (
                        evaluated[lz, ly, kx] * (1 - wx) + evaluated[lz, ly, lx] * wx
                    ) * wy
                    nearest = min(nearest, abs(front * (1 - wz) + back * wz - dose))
            if nearest < np.inf:
                best = min(best, (nearest / norm[index]) ** 2 + d2)
            if best <= d2:
                break
        gamma[flat] = np.sqrt(best)


def _line_histogram(values: Any, a: int, b: int, c: int, histogram: Any) -> None:
    """Add each value into the bin of its position along an integer direction (a, b, c) >= smallest position.

    A direction with integer components meets the voxel lattice in a lattice again, so that the projection
    is exact and needs no sorting.
    """
    nz, ny, nx = values.shape
    start = -(min(a, 0) * (nz - 1) + min(b, 0) * (ny - 1) + min(c, 0) * (nx - 1))
    for z in range(nz):
        for y in range(ny):
            base = start + a * z + b * y
            row = values[z, y]
            for x in range(nx):
                histogram[base + c * x] += row[x]


def _transport(supply: Any, demand: Any, cost: Any, flow: Any, up: Any, down: Any) -> float:
    """Least cost of carrying ``supply`` to ``demand`` (equal sums), by successive shortest paths.

    Dense Dijkstra on reduced costs, stopped at the first sink that still wants (Ahuja, Magnanti & Orlin,
    Network Flows, 1993, 9.7). ``flow`` is filled with the plan, ``up`` and ``down`` with the potentials,
    which certify the cost: up_i + down_j <= cost_ij everywhere.
    """
    n, m = cost.shape
    left, wanted = supply.copy(), demand.copy()
    tiny = 1e-13 * supply.sum()
    up[:] = 0.0
    for j in range(m):
        down[j] = cost[:, j].min()
    distance_in, distance_out = np.empty(n), np.empty(m)
    parent_in, parent_out = np.empty(n, np.int64), np.empty(m, np.int64)
    done_in, done_out = np.empty(n, np.bool_), np.empty(m, np.bool_)
    stack_in, stack_out = np.empty(n, np.int64), np.empty(m, np.int64)
    for source in range(n):
        while left[source] > tiny:
            distance_out[:] = np.inf
            done_in[:] = False
            done_out[:] = False
            distance_in[source], parent_in[source], done_in[source] = 0.0, -1, True
            count_in, count_out, i, sink, far = 1, 0, source, -1, 0.0
            stack_in[0] = source
            while sink < 0:
                base = distance_in[i] - up[i]
                for j in range(m):
                    if not done_out[j]:
                        reached = base + cost[i, j] - down[j]
                        if reached < distance_out[j]:
                            distance_out[j], parent_out[j] = reached, i
                # The next node: unlike textbook Dijkstra every sink also opens its tributaries at once.
                near, at = np.inf, -1
                for j in range(m):
                    if not done_out[j] and distance_out[j] < near:
                        near, at = distance_out[j], j
                if at < 0:
                    return np.nan
                done_out[at] = True
                stack_out[count_out] = at
                count_out += 1
                far = near
                if wanted[at] > tiny:
                    sink = at
                    break
                first = -1
                for k in range(n):
                    if not done_in[k] and flow[k, at] > 0.0:
                        # A used route has reduced cost zero, so its source is as near as this sink.
                        done_in[k], distance_in[k], parent_in[k] = True, near, at
                        stack_in[count_in] = k
                        count_in += 1
                        if first < 0:
                            first = k
                        else:
                            base = near - up[k]
                            for j in range(m):
                                if not done_out[j]:
                                    reached = base + cost[k, j] - down[j]
                                    if reached < distance_out[j]:
                                        distance_out[j], parent_out[j] = reached, k
                i = first if first >= 0 else source
            for k in range(count_in):
                up[stack_in[k]] += far - distance_in[stack_in[k]]
            for k in range(count_out):
                down[stack_out[k]] -= far - distance_out[stack_out[k]]
            amount, j = min(left[source], wanted[sink]), sink
            while True:
                i = parent_out[j]
                if i == source:
                    break
                j = parent_in[i]
                amount = min(amount, flow[i, j])
            left[source] -= amount
            wanted[sink] -= amount
            j = sink
            while True:
                i = parent_out[j]
                flow[i, j] += amount
                if i == source:
                    break
                j = parent_in[i]
                flow[i, j] -= amount
                if flow[i, j] <= tiny * 1e-3:
                    flow[i, j] = 0.0
    return float((flow * cost).sum())


gamma_voxels: Any = njit(cache=True, nogil=True)(_gamma_voxels)
line_histogram: Any = njit(cache=True, nogil=True, fastmath=False)(_line_histogram)
transport: Any = njit(cache=True, nogil=True)(_transport)
