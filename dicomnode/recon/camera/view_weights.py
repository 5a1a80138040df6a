"""A system model whose views count differently: live time, decay during the scan, dead time."""

from __future__ import annotations

import torch
from torch import Tensor

from dicomnode.errors import Inconsistent
from dicomnode.recon.camera.model import Geometry, SystemModel, Views, chosen


class WeightedModel:
    """Expected counts times a weight per view; see ``model.SystemModel``.

    Decay, live time and dead time thus stay in the model, and the counts stay Poisson. With weights of mean
    1 the image is counts per voxel towards a mean view.

    Raises
    ------
    Inconsistent : another number of weights than views, or one that is not positive
    """

    def __init__(self, model: SystemModel, weights: Tensor) -> None:
        if weights.shape != (model.geometry.views,) or not bool((weights > 0).all()):
            raise Inconsistent(f"{model.geometry.views} positive weights are needed, got {weights.tolist()}")
        self._model, self._weights = model, weights.float().reshape(-1, 1, 1)
        self._sensitivity: dict[tuple[int, ...], Tensor] = {}

    @property
    def geometry(self) -> Geometry:
        return self._model.geometry

    def forward(self, image: Tensor, views: Views = None) -> Tensor:
        """Expected counts (views, axial, transaxial)."""
        return self._model.forward(image, views) * self._of(views)

    def adjoint(self, projections: Tensor, views: Views = None) -> Tensor:
        """The transpose of ``forward``."""
        return self._model.adjoint(projections * self._of(views), views)

    def sensitivity(self, views: Views = None) -> Tensor:
        """The transpose of ones, kept for the next call."""
        wanted = tuple(chosen(views, self.geometry))
        if wanted not in self._sensitivity:
            shape = (len(wanted), *self.geometry.projection_shape[1:])
            self._sensitivity[wanted] = self.adjoint(torch.ones(shape), wanted)
        return self._sensitivity[wanted]

    def _of(self, views: Views) -> Tensor:
        return self._weights if views is None else self._weights[list(views)]
