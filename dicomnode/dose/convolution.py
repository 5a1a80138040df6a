"""Linear convolution with a symmetric kernel: real transforms, padded no more than needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Rows of the spectrum handled at once: bounds the padded part of the work to a few per cent.
ROWS = 16


def padded_lengths(shape_zyx: tuple[int, int, int], kernel_zyx: tuple[int, int, int]) -> tuple[int, int, int]:
    """Even transform lengths without wrap-around, for a kernel with offsets 0 .. kernel - 1.

    Offsets of a result run from -(n - 1) to n - 1 and those of the kernel from -K to K. With period L
    none is mistaken for another where L > (n - 1) + K.
    """
    from scipy.fft import next_fast_len

    lengths = []
    for n, k in zip(shape_zyx, kernel_zyx, strict=True):
        half = -(-(n + min(k, n) - 1) // 2)
        lengths.append(2 * next_fast_len(max(half, 1), real=True))
    return lengths[0], lengths[1], lengths[2]


def working_bytes(shape: tuple[int, int, int], kernel: tuple[int, int, int], itemsize: int) -> int:
    """Peak memory of ``convolve_symmetric`` beyond its arguments, bytes (an upper estimate)."""
    lz, ly, lx = padded_lengths(shape, kernel)
    plane = ly * (lx // 2 + 1)
    octant = (lz // 2 + 1) * (ly // 2 + 1) * (lx // 2 + 1)
    spectrum = 2 * shape[0] * plane
    padded = shape[0] * ly * lx
    return itemsize * (2 * octant + spectrum + padded + 4 * lz * ROWS * (lx // 2 + 1))


def convolve_symmetric(
    source: Array,
    octant: Array,
    *,
    dtype: type[np.floating[Any]] = np.float64,
    workers: int = 1,
    step: Callable[[float], None] = lambda _done: None,
) -> Array:
    """Convolve ``source`` with a kernel that is even along each axis.

    The transform of an even sequence is real and is the DCT-I of its first half, so the kernel needs an
    eighth of the memory and one real transform. The z axis is padded only for a few rows at a time.

    Parameters
    ----------
    source : (z, y, x)
    octant : kernel for offsets >= 0 (z, y, x); offsets beyond its shape count as zero
    dtype : numpy.float32 or numpy.float64, the precision of the transforms
    workers : threads; the result does not depend on them
    step : called with the fraction done

    Returns
    -------
    array of the shape of ``source``
    """
    from scipy import fft

    nz, ny, nx = source.shape
    octant = octant[:nz, :ny, :nx]
    lz, ly, lx = padded_lengths(source.shape, octant.shape)
    half = np.zeros((lz // 2 + 1, ly // 2 + 1, lx // 2 + 1), dtype)
    half[: octant.shape[0], : octant.shape[1], : octant.shape[2]] = octant
    half = fft.dctn(half, type=1, workers=workers, overwrite_x=True)
    step(0.3)
    spectrum = fft.rfftn(source.astype(dtype, copy=False), s=(ly, lx), axes=(1, 2), workers=workers)
    fold_z = np.minimum(np.arange(lz), lz - np.arange(lz))
    fold_y = np.minimum(np.arange(ly), ly - np.arange(ly))
    for start in range(0, ly, ROWS):
        rows = slice(start, min(start + ROWS, ly))
        part = fft.fft(spectrum[:, rows], n=lz, axis=0, workers=workers)
        part *= half[fold_z[:, None], fold_y[rows][None, :]]
        spectrum[:, rows] = fft.ifft(part, axis=0, workers=workers, overwrite_x=True)[:nz]
        step(0.3 + 0.5 * rows.stop / ly)
    del half
    result = fft.irfftn(spectrum, s=(ly, lx), axes=(1, 2), workers=workers, overwrite_x=True)
    step(1.0)
    return np.ascontiguousarray(result[:, :ny, :nx])


def fraction_inside(octant: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """For each source voxel of a grid, the sum of the kernel over all voxels of the grid.

    By running sums along each axis, without a Fourier transform: an independent account of what the
    convolution leaves on the grid.
    """
    total = octant
    for axis, n in enumerate(shape):
        running = np.cumsum(total, axis=axis)
        reach = total.shape[axis] - 1
        below = np.minimum(np.arange(n), reach)
        above = np.minimum(np.arange(n)[::-1], reach)
        centre = np.take(total, [0], axis=axis)
        total = np.take(running, below, axis=axis) + np.take(running, above, axis=axis) - centre
    return total


class ManyKernels:
    """Convolutions with several even kernels on one shape: the transforms that they share are done once.

    Parameters
    ----------
    octants : (kernels, z, y, x) for offsets >= 0
    shape : largest source, which fixes the length of the transforms
    """

    def __init__(
        self,
        octants: Array,
        shape: tuple[int, int, int],
        *,
        dtype: type[np.floating[Any]] = np.float64,
        workers: int = 1,
    ) -> None:
        from scipy import fft

        nz, ny, nx = shape
        octants = octants[:, :nz, :ny, :nx]
        self.lengths = padded_lengths(shape, octants.shape[1:])
        self.dtype, self.workers = dtype, workers
        self._halves = []
        for octant in octants:
            half = np.zeros([n // 2 + 1 for n in self.lengths], dtype)
            half[: octant.shape[0], : octant.shape[1], : octant.shape[2]] = octant
            self._halves.append(fft.dctn(half, type=1, workers=workers, overwrite_x=True))

    def forward(self, source: Array) -> Array:
        """The transform of a source."""
        from scipy import fft

        plain = source.astype(self.dtype, copy=False)
        return np.asarray(fft.rfftn(plain, s=self.lengths, workers=self.workers))

    def times(self, spectrum: Array, kernel: int) -> Array:
        """Multiplied in place, one plane at a time: the folded kernel is never whole in memory."""
        lz, ly, _ = self.lengths
        half = self._halves[kernel]
        fold_y = np.minimum(np.arange(ly), ly - np.arange(ly))
        for z in range(lz):
            spectrum[z] *= half[min(z, lz - z)][fold_y]
        return spectrum

    def backward(self, spectrum: Array, shape: tuple[int, ...]) -> Array:
        """From a transform, which is overwritten, to a map of this shape."""
        from scipy import fft

        result = fft.irfftn(spectrum, s=self.lengths, workers=self.workers, overwrite_x=True)
        return np.asarray(result[: shape[0], : shape[1], : shape[2]])
