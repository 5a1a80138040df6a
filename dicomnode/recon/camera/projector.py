"""Our system model of a camera with parallel holes: turn, attenuate, blur by depth, add up.

For every view the image is turned towards the detector (``rotation``), each voxel weighted with its
photons' chance to leave the body, exp(-integral of mu), half of its own edge included, and the planes are
blurred by their distance from the detector and added (``depth_blur``). Scatter is no part of it: it is an
additive term of the algorithms. The transpose runs the same matrices backwards and is exact.

All work on one view is three sparse or dense matrix products, so that the same code runs on a GPU. Memory is
the attenuation factors, half precision: 2 bytes x voxels of the support x views.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dicomnode.errors import Inconsistent
from dicomnode.recon.camera.collimator import Response
from dicomnode.recon.camera.depth_blur import blur_basis, blur_matrix, depth_weights, sigma_range_mm
from dicomnode.recon.camera.model import Geometry, Views, chosen
from dicomnode.recon.camera.rotation import Rotation, rotation, scipy_rotation, support, torch_rotation

BEHIND_FACE_MM = 20.0
"""A stated radius may be short by this much before activity near the face is lost. Our own choice."""


class ParallelHoleModel:
    """Expected counts of a camera with parallel-hole collimators; see ``model.SystemModel``.

    Parameters
    ----------
    geometry : where the views look from
    response : point response, None for a camera that sees straight lines
    mu_per_cm : float32 (z, y, x) attenuation coefficients on the image grid at the photon energy, 1/cm;
        None leaves attenuation out
    device : where tensors live; images and projections are taken and given on it

    Raises
    ------
    Inconsistent : the attenuation map has another shape than the image
    """

    def __init__(
        self,
        geometry: Geometry,
        response: Response | None,
        mu_per_cm: npt.NDArray[np.float32] | None = None,
        *,
        device: str = "cpu",
    ) -> None:
        if mu_per_cm is not None and mu_per_cm.shape != geometry.shape_zyx:
            raise Inconsistent(f"attenuation map {mu_per_cm.shape}, image {geometry.shape_zyx} (z, y, x)")
        self._geometry, self._device = geometry, torch.device(device)
        self._support = support(geometry, BEHIND_FACE_MM)
        self._window = self._support.window(geometry.shape_zyx[1])
        self._rotations = self._turns()
        self._attenuation = None if mu_per_cm is None else self._escape(mu_per_cm)
        self._set_blur(response)
        self._sensitivity: dict[tuple[int, ...], Tensor] = {}

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    def forward(self, image: Tensor, views: Views = None) -> Tensor:
        """Expected counts (views, axial, transaxial) of an image (z, y, x), float32."""
        self._check(image, self._geometry.shape_zyx)
        planes = self._planes(image)
        wanted = chosen(views, self._geometry)
        bins = self._geometry.projection_shape[1:]
        out = torch.empty((len(wanted), *bins), device=self._device)
        for n, view in enumerate(wanted):
            turned = self._rotations[view].turn(planes)
            if self._attenuation is not None:
                turned *= self._attenuation[view]
            out[n] = self._see(turned, self._depth[view])
        return out

    def adjoint(self, projections: Tensor, views: Views = None) -> Tensor:
        """The transpose of ``forward``: (views, axial, transaxial) to (z, y, x), float32."""
        wanted = chosen(views, self._geometry)
        self._check(projections, (len(wanted), *self._geometry.projection_shape[1:]))
        total = torch.zeros((self._support.edge**2, self._geometry.shape_zyx[0]), device=self._device)
        for n, view in enumerate(wanted):
            turned = self._unsee(projections[n], self._depth[view])
            if self._attenuation is not None:
                turned *= self._attenuation[view]
            total += self._rotations[view].turn_back(turned)
        return self._image(total)

    def sensitivity(self, views: Views = None) -> Tensor:
        """The transpose of ones, kept for the next call; zero where no voxel can radiate."""
        wanted = tuple(chosen(views, self._geometry))
        if wanted not in self._sensitivity:
            ones = torch.ones((len(wanted), *self._geometry.projection_shape[1:]), device=self._device)
            self._sensitivity[wanted] = self.adjoint(ones, wanted)
        return self._sensitivity[wanted]

    def _turns(self) -> Sequence[Rotation]:
        matrices = (rotation(float(angle), self._support) for angle in self._geometry.angle_deg)
        if self._device.type == "cpu":
            return [scipy_rotation(matrix) for matrix in matrices]
        return [torch_rotation(matrix, self._device) for matrix in matrices]

    def _escape(self, mu_per_cm: npt.NDArray[np.float32]) -> list[Tensor]:
        """Chance of a photon to reach each view's detector, half precision (relative error 5e-4 at most)."""
        planes = self._planes(torch.from_numpy(np.array(mu_per_cm, dtype=np.float32)))
        edge, step_cm = self._support.edge, self._geometry.voxel_mm[0] / 10
        factors = []
        for turn in self._rotations:
            mu = turn.turn(planes).view(edge, -1)
            # The last depth row is next to the detector: what lies in the way comes after a row.
            way = mu.flip(0).cumsum(0).flip(0) - 0.5 * mu
            factors.append(torch.exp(-step_cm * way).view(edge**2, -1).half())
        return factors

    def _set_blur(self, response: Response | None) -> None:
        """Weights of depth (views, nodes, depths), blurs across (nodes, bins, edge) and along the axis."""
        axial, _, transaxial = self._geometry.shape_zyx
        edge, (step, height) = self._support.edge, self._geometry.voxel_mm
        depth = (np.arange(edge) - (edge - 1) / 2) * step
        distance = [np.maximum(radius - depth, 0.0) for radius in self._geometry.radius_mm]
        if response is None:
            weights = [np.ones((1, edge)) for _ in distance]
            across, along = [np.eye(transaxial, edge, (edge - transaxial) // 2)], [np.eye(axial)]
        else:
            nearest, farthest = min(map(np.min, distance)), max(map(np.max, distance))
            basis = blur_basis(*sigma_range_mm(response, nearest, farthest))
            weights = [depth_weights(basis, response, one) for one in distance]
            across = [blur_matrix(sigma, transaxial, edge, step) for sigma in basis.sigma_mm]
            along = [blur_matrix(sigma, axial, axial, height) for sigma in basis.sigma_mm]
        self._depth = self._tensor(weights)
        self._across = self._tensor(across)
        self._along = self._tensor(along).reshape(-1, axial)

    def _tensor(self, arrays: Sequence[npt.NDArray[np.float64]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays).astype(np.float32)).to(self._device)

    def _see(self, turned: Tensor, depth: Tensor) -> Tensor:
        """Blurred sum over depth (axial, transaxial) of turned planes (edge^2, axial)."""
        nodes, edge = depth.shape
        summed = (depth @ turned.view(edge, -1)).view(nodes, edge, -1)
        blurred = torch.bmm(self._across, summed)  # (nodes, transaxial, axial)
        flat = blurred.transpose(0, 1).reshape(blurred.shape[1], -1)
        return (flat @ self._along).T

    def _unsee(self, projection: Tensor, depth: Tensor) -> Tensor:
        """The transpose of ``_see``."""
        nodes, edge = depth.shape
        axial, transaxial = projection.shape
        blurred = (projection.T @ self._along.T).view(transaxial, nodes, axial).transpose(0, 1)
        summed = torch.bmm(self._across.transpose(1, 2), blurred)
        return (depth.T @ summed.reshape(nodes, -1)).view(edge * edge, axial)

    def _planes(self, image: Tensor) -> Tensor:
        """Pixels of the support's square (edge^2, axial), each with its axial row in one piece."""
        part = image[:, self._window, self._window].to(self._device, torch.float32)
        return part.permute(1, 2, 0).reshape(self._support.edge**2, -1)

    def _image(self, planes: Tensor) -> Tensor:
        edge = self._support.edge
        image = torch.zeros(self._geometry.shape_zyx, device=self._device)
        image[:, self._window, self._window] = planes.view(edge, edge, -1).permute(2, 0, 1)
        return image

    def _check(self, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            raise Inconsistent(f"got an array of {tuple(tensor.shape)}, this camera takes {shape}")
