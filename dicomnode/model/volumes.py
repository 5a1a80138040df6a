"""Arrays that know their unit and their place. Concentrations and densities, never totals."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent
from dicomnode.model.counting_noise import CountingNoise
from dicomnode.model.grid import Grid

Float32 = npt.NDArray[np.float32]


def _frozen_float32(values: npt.ArrayLike, grid: Grid, name: str) -> Float32:
    """``values`` as a read-only C-ordered float32 array of the grid's shape, all finite."""
    array = np.asarray(values)
    if array.shape != grid.shape_zyx:
        raise Inconsistent(f"{name} has shape {array.shape}, its grid {grid.shape_zyx}")
    array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise Inconsistent(f"{name} holds NaN or infinite values; repair or mask the input")
    array = array.view()
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class HuMap:
    """CT numbers, HU."""

    grid: Grid
    hu: Float32

    def __post_init__(self) -> None:
        object.__setattr__(self, "hu", _frozen_float32(self.hu, self.grid, "CT map"))


@dataclass(frozen=True, eq=False)
class ActivityMap:
    """Activity concentration, Bq/mL, at one instant; ``counting`` where its noise by counting is known."""

    grid: Grid
    bq_per_ml: Float32
    counting: CountingNoise | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bq_per_ml", _frozen_float32(self.bq_per_ml, self.grid, "activity map"))
        if self.counting is not None and not self.counting.grid.matches(self.grid):
            raise Inconsistent("the counting noise lies on another grid than its activity map")

    @property
    def total_mbq(self) -> float:
        """Activity in the whole volume, MBq."""
        return float(self.bq_per_ml.sum(dtype=np.float64)) * self.grid.voxel_ml / 1e6


@dataclass(frozen=True, eq=False)
class TiaMap:
    """Time-integrated activity concentration, MBq s / mL."""

    grid: Grid
    mbq_s_per_ml: Float32

    def __post_init__(self) -> None:
        object.__setattr__(self, "mbq_s_per_ml", _frozen_float32(self.mbq_s_per_ml, self.grid, "TIA map"))

    @property
    def total_mbq_s(self) -> float:
        """Time-integrated activity of the whole volume, MBq s (= decays / 1e6)."""
        return float(self.mbq_s_per_ml.sum(dtype=np.float64)) * self.grid.voxel_ml


@dataclass(frozen=True, eq=False)
class DensityMap:
    """Mass density, g/cm3, positive everywhere."""

    grid: Grid
    g_per_cm3: Float32

    def __post_init__(self) -> None:
        array = _frozen_float32(self.g_per_cm3, self.grid, "density map")
        if not (array > 0).all():
            raise Inconsistent("the density map must be positive everywhere (dry air is 0.0012 g/cm3)")
        object.__setattr__(self, "g_per_cm3", array)

    @property
    def mass_g(self) -> npt.NDArray[np.float64]:
        """Mass of each voxel, g."""
        return self.g_per_cm3.astype(np.float64) * self.grid.voxel_ml


HALF = 0.5
"""A voxel is of a region's mask where the region fills at least this part of it."""
ROUNDING = 1e-6
"""What float32 may add to or take from a share."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Regions on a grid, each as the part of every voxel that it fills. Regions may overlap.

    Attributes
    ----------
    grid : Grid
    shares : region name -> read-only float32 array of the grid's shape, 0 (outside) to 1 (filled); a bool
        mask given to the constructor is shares of 0 and 1
    volume_ml : region name -> volume by the source's own geometry (contours or SEG voxels), mL, where
        known; the volume on this grid is ``voxel_volume_ml``

    Raises
    ------
    Inconsistent
        a share has another shape than the grid, is not finite, or lies outside 0 to 1.
    """

    grid: Grid
    shares: Mapping[str, Float32]
    volume_ml: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frozen: dict[str, Float32] = {}
        for name, given in self.shares.items():
            share = _frozen_float32(given, self.grid, f"region {name!r}")
            low, high = (float(share.min()), float(share.max())) if share.size else (0.0, 0.0)
            if low < 0.0 or high > 1.0 + ROUNDING:
                raise Inconsistent(f"region {name!r} has shares of {low:g} to {high:g}; 0 to 1 is possible")
            frozen[name] = share
        object.__setattr__(self, "shares", frozen)

    @property
    def names(self) -> tuple[str, ...]:
        """Region names in their given order."""
        return tuple(self.shares)

    @cached_property
    def masks(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """Voxels that each region fills at least half: for outlines and pictures, never for sums."""
        return {name: share >= HALF - ROUNDING for name, share in self.shares.items()}

    def without(self, names: Collection[str]) -> LabelMap:
        """The other regions."""
        kept = {name: share for name, share in self.shares.items() if name not in names}
        return LabelMap(self.grid, kept, {n: v for n, v in self.volume_ml.items() if n in kept})

    def voxel_volume_ml(self, name: str) -> float:
        """Volume of a region on this grid, mL."""
        return float(self.shares[name].sum(dtype=np.float64)) * self.grid.voxel_ml

    def disjoint(self) -> dict[str, Float32]:
        """Shares that add up to at most 1 in every voxel: where regions overlap the smaller one owns the
        place (a lesion its part of the liver). Ordered from the largest region to the smallest."""
        size = {name: self.voxel_volume_ml(name) for name in self.names}
        left, owned = np.ones(self.grid.shape_zyx, dtype=np.float32), {}
        for name in sorted(size, key=lambda n: -size[n])[::-1]:
            owned[name] = np.minimum(self.shares[name], left)
            left = left - owned[name]
        return dict(reversed(owned.items()))


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What the dose is deposited in.

    Attributes
    ----------
    density : DensityMap
    material : uint16 array of the same shape, index into ``material_names``; None where the engine is
        to derive composition from density
    material_names : names of tissues as in ``physics.tissues``
    body : read-only bool array, True inside the patient
    """

    density: DensityMap
    body: npt.NDArray[np.bool_]
    material: npt.NDArray[np.uint16] | None = None
    material_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, array in (("body", self.body), ("material", self.material)):
            if array is not None and array.shape != self.density.grid.shape_zyx:
                raise Inconsistent(
                    f"{name} has shape {array.shape}, the density grid {self.density.grid.shape_zyx}"
                )
        body = np.ascontiguousarray(self.body, dtype=bool).view()  # of 0 and 1 it would be an index
        body.flags.writeable = False
        object.__setattr__(self, "body", body)
        if self.material is not None:
            lowest, highest = int(self.material.min()), int(self.material.max())
            if not 0 <= lowest <= highest < len(self.material_names):
                raise Inconsistent(
                    f"materials are numbered {lowest} to {highest}, and {len(self.material_names)} names are "
                    "given: name each from 0 on"
                )

    @property
    def grid(self) -> Grid:
        return self.density.grid


@dataclass(frozen=True)
class EnergyBalance:
    """Where the emitted energy went, J: emitted = deposited + escaped."""

    emitted_j: float
    deposited_j: float
    escaped_j: float


@dataclass(frozen=True, eq=False)
class BatchNoise:
    """Independent batches of one Monte Carlo run, each kept as a few moments of its own dose map.

    One decay deposits in several voxels, so voxel uncertainties alone understate the noise of anything
    summed over voxels; the scatter of these moments states it. 60 batches of degree 8 are 79 kB.

    Attributes
    ----------
    box_zyx : half-open index range along z, y, x on which the moments are taken
    degree : total degree of the discrete-orthonormal Legendre moments (``model.moments``)
    decays : (batches,) decays simulated in each batch
    moments_gy : (batches, moments) of each batch's own estimate of the whole dose, Gy
    """

    box_zyx: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    degree: int
    decays: npt.NDArray[np.float64]
    moments_gy: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        expected = (self.degree + 1) * (self.degree + 2) * (self.degree + 3) // 6
        if self.moments_gy.shape != (len(self.decays), expected):
            raise Inconsistent(
                f"batch moments have shape {self.moments_gy.shape}, {len(self.decays)} batches of degree "
                f"{self.degree} need {(len(self.decays), expected)}"
            )
        if not (np.isfinite(self.moments_gy).all() and (np.asarray(self.decays) > 0).all()):
            raise Inconsistent("batch moments must be finite and each batch have decays")

    def merged(self, other: BatchNoise) -> BatchNoise:
        """Batches of both, as if one worker had run them; exact. Raises Inconsistent for other bases."""
        if (self.box_zyx, self.degree) != (other.box_zyx, other.degree):
            raise Inconsistent("batch moments of different boxes or degrees cannot be merged")
        return BatchNoise(
            self.box_zyx,
            self.degree,
            np.concatenate([self.decays, other.decays]),
            np.concatenate([self.moments_gy, other.moments_gy]),
        )


@dataclass(frozen=True, eq=False)
class DoseMap:
    """Absorbed dose with its standard uncertainty.

    Attributes
    ----------
    gy : absorbed dose, Gy
    sigma_gy : standard uncertainty (k = 1) per voxel, Gy; never missing
    medium : dose to the voxel's own ``"medium"`` or to ``"water"``
    balance : energy emitted, deposited on the grid, and escaped from it
    alpha_gy : the part of ``gy`` given by alpha particles and recoils, where the nuclide emits any, so
        that an RBE can be applied later
    noise : batches of a Monte Carlo run as moments, where the engine kept them
    """

    grid: Grid
    gy: Float32
    sigma_gy: Float32
    balance: EnergyBalance
    medium: str = "medium"
    alpha_gy: Float32 | None = None
    noise: BatchNoise | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "gy", _frozen_float32(self.gy, self.grid, "dose map"))
        object.__setattr__(self, "sigma_gy", _frozen_float32(self.sigma_gy, self.grid, "dose uncertainty"))
        if self.alpha_gy is not None:
            object.__setattr__(self, "alpha_gy", _frozen_float32(self.alpha_gy, self.grid, "alpha dose"))
