"""What a SPECT system model is, whoever computes it: expected counts from an image, and the transpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model.projections import Projections

Views = Sequence[int] | None
"""Indices of views; None means all."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the views look from, in the convention of ``model.Projections``.

    Attributes
    ----------
    shape_zyx : image voxels (axial, transaxial, transaxial); detector bins are (axial, transaxial)
    voxel_mm : edge of a voxel and of a bin (transaxial, axial), mm
    angle_deg, radius_mm : (views,)
    """

    shape_zyx: tuple[int, int, int]
    voxel_mm: tuple[float, float]
    angle_deg: npt.NDArray[np.float64]
    radius_mm: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        _, ny, nx = self.shape_zyx
        if ny != nx:
            raise Inconsistent(f"a camera's image is square across the axis, got {ny} x {nx} voxels")
        if (
            self.angle_deg.ndim != 1
            or self.angle_deg.shape != self.radius_mm.shape
            or not len(self.radius_mm)
        ):
            raise Inconsistent(f"{self.angle_deg.shape} angles, {self.radius_mm.shape} radii")
        if not (np.isfinite(self.angle_deg).all() and (self.radius_mm > 0).all()):
            raise OutOfDomain("radius of rotation", float(self.radius_mm.min()), "mm", "above 0")

    @classmethod
    def of(cls, projections: Projections) -> Geometry:
        """The geometry of measured projections. Raises Inconsistent where voxels and bins differ."""
        x, y, z = projections.grid.spacing_mm
        transaxial, axial = projections.pixel_mm
        if not np.allclose((x, y, z), (transaxial, transaxial, axial), rtol=1e-4):
            raise Inconsistent(
                f"voxels of {x:g} x {y:g} x {z:g} mm, detector pixels of {transaxial:g} x {axial:g} mm"
            )
        return cls(projections.grid.shape_zyx, (x, z), projections.angle_deg, projections.radius_mm)

    @property
    def views(self) -> int:
        return len(self.angle_deg)

    @property
    def projection_shape(self) -> tuple[int, int, int]:
        """(views, axial, transaxial)."""
        return self.views, self.shape_zyx[0], self.shape_zyx[2]


class SystemModel(Protocol):
    """Expected counts from an image. ``image`` is counts emitted per voxel towards one view, so that the
    concentration is image / (seconds of a view * counts per s and Bq * voxel volume)."""

    @property
    def geometry(self) -> Geometry: ...

    def forward(self, image: Tensor, views: Views = None) -> Tensor:
        """Expected counts (views, axial, transaxial) of an image (z, y, x)."""
        ...

    def adjoint(self, projections: Tensor, views: Views = None) -> Tensor:
        """The transpose: (views, axial, transaxial) to (z, y, x)."""
        ...

    def sensitivity(self, views: Views = None) -> Tensor:
        """The transpose of ones; not to be written to."""
        ...


def chosen(views: Views, geometry: Geometry) -> Sequence[int]:
    """The views as indices."""
    return range(geometry.views) if views is None else views


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, model: SystemModel, views: Views) -> Tensor:
        ctx.model, ctx.views = model, views
        return model.forward(image.detach(), views)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return differentiable_adjoint(ctx.model, gradient, ctx.views), None, None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projections: Tensor, model: SystemModel, views: Views) -> Tensor:
        ctx.model, ctx.views = model, views
        return model.adjoint(projections.detach(), views)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return differentiable_forward(ctx.model, gradient, ctx.views), None, None


def differentiable_forward(model: SystemModel, image: Tensor, views: Views = None) -> Tensor:
    """``model.forward`` for autograd: its derivative is the adjoint (and twice differentiable)."""
    result: Tensor = _Forward.apply(image, model, views)  # type: ignore[no-untyped-call]
    return result


def differentiable_adjoint(model: SystemModel, projections: Tensor, views: Views = None) -> Tensor:
    """``model.adjoint`` for autograd: its derivative is the forward projection."""
    result: Tensor = _Adjoint.apply(projections, model, views)  # type: ignore[no-untyped-call]
    return result


@dataclass(frozen=True, eq=False)
class Differentiable:
    """A system model through which autograd passes; for networks that are trained through it."""

    model: SystemModel

    @property
    def geometry(self) -> Geometry:
        return self.model.geometry

    def forward(self, image: Tensor, views: Views = None) -> Tensor:
        return differentiable_forward(self.model, image, views)

    def adjoint(self, projections: Tensor, views: Views = None) -> Tensor:
        return differentiable_adjoint(self.model, projections, views)

    def sensitivity(self, views: Views = None) -> Tensor:
        return self.model.sensitivity(views)


def differentiable(model: SystemModel) -> Differentiable:
    """The same model, differentiable."""
    return Differentiable(model)
