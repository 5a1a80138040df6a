"""The two maps, checked once, with all that the measures need to know about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import BatchNoise, DensityMap, DoseMap, Grid, LabelMap
from dicomnode.model.moments import (
    Box,
    box_of,
    cut,
    dispersion_of,
    local_dispersion,
    mean_moments,
    moments,
    widened,
)

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Mass = Literal["dose", "energy"]

AIR_G_PER_CM3 = 0.1
"""Voxels below this density do not count where the density is known: air (bowel gas, edges of the body) has
much noise and no tissue. A right map of 1e4 decays was 15 sd off there (study)."""
BATCHES_OFF = 0.01
"""Largest relative difference between the moments of a reference and the mean of its batches (our choice)."""
HOT_SHARE = 0.5
"""Without regions the hot level is the mean over voxels above this share of the 98th percentile."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Evaluated and reference dose on one grid. Made by :func:`paired`.

    Attributes
    ----------
    evaluated, reference : dose, Gy, (z, y, x)
    variance : variance of their difference per voxel from Monte Carlo noise, Gy2
    body : voxels that count
    density : g/cm3; None where unknown (then energy is not offered)
    regions : name -> part of each voxel that it fills, 0 to 1; none empty
    dispersion : variance of sums over many voxels divided by what ``variance`` gives; 1 where every decay
        touches one voxel
    decays : simulated for the reference; None where unknown
    noise : batches of the difference; None where the reference kept none
    hot_gy : mean reference dose of the hottest region; the scale of relative numbers
    evaluated_sigma : noise of the evaluated map where it is a transport's, Gy, else zero
    """

    grid: Grid
    evaluated: Float
    reference: Float
    variance: Float
    body: Bool
    hot_gy: float
    density: Float | None = None
    regions: Mapping[str, Float] = field(default_factory=dict)
    dispersion: float = 1.0
    decays: float | None = None
    noise: BatchNoise | None = None
    evaluated_sigma: Float | float = 0.0

    @property
    def difference(self) -> Float:
        """Evaluated less reference, Gy, zero outside the body."""
        return np.where(self.body, self.evaluated - self.reference, 0.0)

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """Voxel size along the array's axes, mm."""
        x, y, z = self.grid.spacing_mm
        return z, y, x

    @property
    def widening(self) -> float:
        """The dispersion where it widens, else 1: for regions and places, which hold part of the dose."""
        return max(1.0, self.dispersion)

    @property
    def noisy(self) -> bool:
        """Whether any noise is stated in the body."""
        return bool(self.variance[self.body].any())

    @property
    def relative_noise(self) -> float:
        """Root of the mean variance where the reference is above 0.9 of the hot level, over that level."""
        hot = self.body & (self.reference >= 0.9 * self.hot_gy)
        return float(np.sqrt(self.variance[hot].mean())) / self.hot_gy if hot.any() else 0.0

    def weights(self, kind: Mass) -> Float:
        """Factor from Gy to the mass that transport moves: mL ("dose", Gy mL) or g ("energy", mJ).

        Raises Inconsistent where energy is asked for and no density is known.
        """
        ml = self.grid.voxel_ml
        if kind == "energy":
            if self.density is None:
                raise Inconsistent("energy needs the density map; give it, or compare dose")
            return np.where(self.body, self.density * ml, 0.0)
        tissue = self.body if self.density is None else self.body & (self.density > AIR_G_PER_CM3)
        return np.where(tissue, ml, 0.0)

    def with_evaluated(self, evaluated: Float) -> Pair:
        """The same pair with another evaluated map."""
        return replace(self, evaluated=evaluated)

    def box_zyx(self) -> Box:
        """Smallest half-open index box that holds the body."""
        return box_of(self.body)

    def moment_box(self) -> Box:
        """Box on which moments are taken: that of the batches, which cannot be moved, else the body's."""
        return self.box_zyx() if self.noise is None else self.noise.box_zyx

    def local_widening(self) -> Float:
        """``widening`` voxel by voxel (z, y, x): larger where the batches say so."""
        found = np.full(self.grid.shape_zyx, self.widening)
        if self.noise is not None:
            inside = np.where(self.body, self.variance, 0.0)
            cut(found, self.noise.box_zyx)[...] = np.maximum(
                self.widening, local_dispersion(self.noise, inside)
            )
        return found


def paired(
    evaluated: DoseMap,
    reference: DoseMap,
    *,
    body: Bool | None = None,
    density: DensityMap | None = None,
    regions: LabelMap | None = None,
    evaluated_is_noisy: bool = False,
    dispersion: float | None = None,
    decays: float | None = None,
) -> Pair:
    """Check two maps and hold them together.

    ``reference.sigma_gy`` is Monte Carlo noise, independent between voxels but for ``dispersion``.
    ``evaluated.sigma_gy`` counts only with ``evaluated_is_noisy``: a deterministic engine states a model
    uncertainty there, which is what is being judged. ``dispersion`` is found from ``reference.noise``
    where it is not given. Without ``body`` every voxel counts; with ``density`` none of air does.

    Raises
    ------
    Inconsistent : grids that differ, a body or dispersion that makes no sense, an all-zero reference
    OutOfDomain : negative uncertainty
    """
    grid = reference.grid
    _require_grid("evaluated map", evaluated.grid, grid)
    if density is not None:
        _require_grid("density map", density.grid, grid)
    if regions is not None:
        _require_grid("region map", regions.grid, grid)
    inside = _body(body, grid)
    if density is not None:
        inside = _without_air(inside, density)
    own, drawn = _variance(reference, "reference"), np.zeros(())
    if evaluated_is_noisy:
        drawn = _variance(evaluated, "evaluated")
    variance = own + drawn
    ref = reference.gy.astype(np.float64)
    if not ref[inside].any():
        raise Inconsistent(
            "the reference dose is zero everywhere in the body; there is nothing to compare with"
        )
    shares = _shares(regions, inside)
    noise = reference.noise
    if noise is not None:
        _require_own_batches(noise, ref)
        noise = _of_both(noise, own[inside], variance[inside])
    pair = Pair(
        grid, evaluated.gy.astype(np.float64), ref, variance, inside, _hot_gy(ref, inside, shares),
        None if density is None else density.g_per_cm3.astype(np.float64), shares,
        1.0 if dispersion is None else dispersion,
        decays if decays is not None or noise is None else float(np.sum(noise.decays)), noise,
        np.sqrt(drawn),
    )  # fmt: skip
    if dispersion is not None or noise is None:
        return _checked_dispersion(pair)
    return _checked_dispersion(replace(pair, dispersion=dispersion_of(noise, variance)))


def _require_grid(name: str, found: Grid, grid: Grid) -> None:
    if not grid.matches(found):
        raise Inconsistent(
            f"the {name} has {found.shape_zyx} voxels of {found.spacing_mm} mm at {found.origin_mm}, the "
            f"reference {grid.shape_zyx} of {grid.spacing_mm} mm at {grid.origin_mm}; resample it to the "
            "reference (never the other way: resampling correlates the noise)"
        )


def _require_own_batches(noise: BatchNoise, reference: Float) -> None:
    """The mean of the batches is the reference itself, but for rounding and the balance of each batch."""
    own = moments(np.ascontiguousarray(cut(reference, noise.box_zyx)), noise.degree)
    off = float(np.linalg.norm(mean_moments(noise) - own) / max(np.linalg.norm(own), np.finfo(float).tiny))
    if off > BATCHES_OFF:
        raise Inconsistent(
            f"the batches differ from the reference by {100 * off:.2g} % (limit {100 * BATCHES_OFF:g} %): "
            "they belong to another run; give those of the reference, or none"
        )


def _of_both(noise: BatchNoise, own: Float, both: Float) -> BatchNoise:
    """Batches of the difference: the other map's noise is taken to be correlated alike."""
    if not own.any():
        raise Inconsistent("batches are given but the voxel uncertainties are all zero")
    return widened(noise, float(both.sum() / own.sum()))


def _checked_dispersion(pair: Pair) -> Pair:
    if not 0.0 < pair.dispersion < np.inf:
        raise OutOfDomain("dispersion", pair.dispersion, "", "positive; 1 where a decay touches one voxel")
    return pair


def _body(body: Bool | None, grid: Grid) -> Bool:
    if body is None:
        return np.ones(grid.shape_zyx, dtype=bool)
    if body.shape != grid.shape_zyx:
        raise Inconsistent(f"the body has shape {body.shape}, the dose {grid.shape_zyx}")
    if not body.any():
        raise Inconsistent("the body is empty; no voxel would count")
    return np.asarray(body, dtype=bool)


def _without_air(body: Bool, density: DensityMap) -> Bool:
    found = body & (density.g_per_cm3 > AIR_G_PER_CM3)
    if not found.any():
        raise Inconsistent(
            f"no voxel of the body is denser than {AIR_G_PER_CM3:g} g/cm3: is the density in g/cm3?"
        )
    return found


def _variance(dose: DoseMap, which: str) -> Float:
    lowest = float(dose.sigma_gy.min())
    if lowest < 0:
        raise OutOfDomain(f"standard uncertainty of the {which} map", lowest, "Gy", "zero or more")
    return np.square(dose.sigma_gy.astype(np.float64))


def _shares(regions: LabelMap | None, body: Bool) -> dict[str, Float]:
    """Regions within the body. Raises Inconsistent for one that has no voxel there."""
    if regions is None:
        return {}
    found = {}
    for name, share in regions.shares.items():
        found[name] = np.where(body, share, 0.0).astype(np.float64)
        if not found[name].any():
            raise Inconsistent(f"region {name!r} has no voxel inside the body on the dose grid")
    return found


def _hot_gy(reference: Float, body: Bool, regions: Mapping[str, Float]) -> float:
    """Mean of the hottest region; never the largest voxel, which noise biases upwards."""
    if regions:
        hot = max(float(np.average(reference, weights=share)) for share in regions.values())
        if hot > 0:
            return hot
    inside = reference[body]
    bright = inside[inside >= HOT_SHARE * np.percentile(inside[inside > 0], 98.0)]
    return float(bright.mean())
