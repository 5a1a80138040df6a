"""Turning a transaxial plane towards a view, as a sparse matrix with an exact transpose.

A turned plane has depth rows (the last nearest to the detector) and transaxial columns. Each of its pixels is
the bilinear mean of four pixels of the image. The same matrix turns all axial planes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from dicomnode.recon.camera.model import Geometry

Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Support:
    """Where activity can be: a square part of the transaxial plane, and in it a mask.

    Attributes
    ----------
    edge : voxels along each side of the square, which is centred on the axis
    inside : bool (edge, edge), (y, x)
    """

    edge: int
    inside: Mask

    def window(self, size: int) -> slice:
        """The square's place along a side of an image of ``size`` voxels."""
        first = (size - self.edge) // 2
        return slice(first, first + self.edge)


def support(geometry: Geometry, behind_face_mm: float) -> Support:
    """The voxels within the inscribed circle that lie no more than a margin behind any detector's face.

    Nothing radiates behind the face of a detector that went round it, so that nothing is lost, and fewer
    voxels are turned where the orbit is narrow. The margin is for a radius that is stated short.
    """
    _, size, _ = geometry.shape_zyx
    step = geometry.voxel_mm[0]
    axis = (np.arange(size) - (size - 1) / 2) * step
    y, x = axis[:, None], axis[None, :]
    inside = np.hypot(x, y) <= size * step / 2
    for angle, radius in zip(np.deg2rad(geometry.angle_deg), geometry.radius_mm, strict=True):
        inside &= x * np.cos(angle) + y * np.sin(angle) <= radius + behind_face_mm
    reach = float(np.hypot(x, y)[inside].max()) / step if inside.any() else 0.0
    # The square has the image's parity, so that both have the axis in the same place.
    edge = min(size, int(np.ceil(2 * reach)) + 2)
    edge += (size - edge) % 2
    part = Support(edge, inside)
    window = part.window(size)
    return Support(edge, np.ascontiguousarray(inside[window, window]))


class Rotation(Protocol):
    """One view's turn of pixels (edge^2, planes) and its transpose."""

    def turn(self, planes: Tensor) -> Tensor: ...

    def turn_back(self, planes: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class ScipyRotation:
    """On the CPU: compressed rows times dense planes; several times faster there than torch's own."""

    matrix: Any
    transpose: Any

    def turn(self, planes: Tensor) -> Tensor:
        return torch.from_numpy(self.matrix @ planes.numpy())

    def turn_back(self, planes: Tensor) -> Tensor:
        return torch.from_numpy(self.transpose @ planes.numpy())


@dataclass(frozen=True, eq=False)
class TorchRotation:
    """On any device that torch knows."""

    matrix: Tensor
    transpose: Tensor

    def turn(self, planes: Tensor) -> Tensor:
        return self.matrix @ planes

    def turn_back(self, planes: Tensor) -> Tensor:
        return self.transpose @ planes


def rotation(angle_deg: float, part: Support) -> Any:
    """scipy CSR matrix (edge^2 turned pixels, edge^2 voxels), float32, for one view."""
    edge = part.edge
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    axis = np.arange(edge) - (edge - 1) / 2
    depth, across = axis[:, None], axis[None, :]
    x = (depth * cos - across * sin + (edge - 1) / 2).ravel()
    y = (depth * sin + across * cos + (edge - 1) / 2).ravel()
    left, low = np.floor(x + 1e-9), np.floor(y + 1e-9)
    right_share, high_share = (x - left).clip(0), (y - low).clip(0)
    column = np.stack([left, left + 1, left, left + 1], axis=1).astype(np.int64)
    row = np.stack([low, low, low + 1, low + 1], axis=1).astype(np.int64)
    share = np.stack([(1 - right_share) * (1 - high_share), right_share * (1 - high_share),
                      (1 - right_share) * high_share, right_share * high_share], axis=1)  # fmt: skip
    there = (column >= 0) & (column < edge) & (row >= 0) & (row < edge) & (share > 1e-9)
    voxel = row.clip(0, edge - 1) * edge + column.clip(0, edge - 1)
    there &= part.inside.ravel()[voxel]
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    values = share[there].astype(np.float32)
    return sparse.csr_matrix((values, voxel[there].astype(np.int32), starts), shape=(edge**2, edge**2))


def scipy_rotation(matrix: Any) -> ScipyRotation:
    """Both directions as compressed rows."""
    return ScipyRotation(matrix, matrix.T.tocsr())


def torch_rotation(matrix: Any, device: torch.device) -> TorchRotation:
    """Both directions on a device."""
    return TorchRotation(_torch_csr(matrix, device), _torch_csr(matrix.T.tocsr(), device))


def _torch_csr(matrix: Any, device: torch.device) -> Tensor:
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.data),
        size=matrix.shape,
        device=device,
        check_invariants=True,
    )
