"""Normal equations of a weighted least squares, compiled."""

from __future__ import annotations

from dicomnode.montecarlo.device import loop


@loop
def normal_sums(columns, weight, values, square, right):
    """Adds sum(weight phi phi') to ``square`` and sum(phi values) to ``right`` (groups, columns).

    One voxel after the other, on one thread: the same bytes anywhere, which a library's product is not.
    """
    for n in range(columns.shape[0]):
        for i in range(columns.shape[1]):
            scaled = weight[n] * columns[n, i]
            for j in range(i + 1):
                square[i, j] += scaled * columns[n, j]
            for g in range(values.shape[0]):
                right[g, i] += values[g, n] * columns[n, i]
