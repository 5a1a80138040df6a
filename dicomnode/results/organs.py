"""Dose of each region: mean, dose-volume figures, and the uncertainty of the mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import hypot, log, pi, sqrt

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent
from dicomnode.model import DensityMap, DoseMap, LabelMap, OrganDose, RegionTia, TiaFit
from dicomnode.model.volumes import HALF, ROUNDING
from dicomnode.results.radiobiology import region_bed
from dicomnode.results.settings import ResultsSettings

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Filled:
    """The voxels that a region touches: which (z, y, x), and what part (voxels,) of each it fills."""

    where: npt.NDArray[np.bool_]
    share: Float

    @classmethod
    def of(cls, share: npt.NDArray[np.float32]) -> Filled:
        where = share > 0
        return cls(where, share[where].astype(np.float64))

    def total(self, values: npt.NDArray[np.float32]) -> float:
        """Sum of a map's values over the region, in voxels."""
        return float(values[self.where].astype(np.float64) @ self.share)


@dataclass(frozen=True)
class DoseUncertainty:
    """Relative standard uncertainties of a region's mean dose; independent of one another.

    Attributes
    ----------
    tia : of the region's time-integrated activity: counts, calibration, recovery, volume, fit
    engine : of the dose engine's model, taken as one error common to the whole region
    noise : of the image, where the region has no curve of its own whose fit would contain it
    """

    tia: float
    engine: float
    noise: float

    @property
    def combined(self) -> float:
        return hypot(self.tia, self.engine, self.noise)


def organ_doses(
    dose: DoseMap, density: DensityMap, regions: LabelMap, fit: TiaFit, settings: ResultsSettings
) -> tuple[OrganDose, ...]:
    """Dose of every region of ``regions``, in its order.

    Raises
    ------
    Inconsistent
        grids differ, a region has no voxel, or BED is asked for without an effective half-life.
    """
    for name, grid in (("density", density.grid), ("regions", regions.grid), ("TIA", fit.tia.grid)):
        if not dose.grid.matches(grid):
            raise Inconsistent(f"the grid of {name} is not that of the dose map")
    curves = {curve.region: curve for curve in fit.regions}
    return tuple(
        _organ_dose(name, Filled.of(share), dose, density, fit, curves, settings)
        for name, share in regions.shares.items()
    )


def _organ_dose(
    name: str,
    filled: Filled,
    dose: DoseMap,
    density: DensityMap,
    fit: TiaFit,
    curves: dict[str, RegionTia],
    settings: ResultsSettings,
) -> OrganDose:
    if not filled.share.size:
        raise Inconsistent(
            f"region {name!r} has no voxel on the dose grid",
            remedy="It lies outside the image: correct or leave out its contour",
        )
    gy, voxel_ml = dose.gy[filled.where].astype(np.float64), dose.grid.voxel_ml
    mass_g = density.g_per_cm3[filled.where].astype(np.float64) * voxel_ml * filled.share
    weights = mass_g if settings.mean == "mass" else filled.share
    mean = float(np.average(gy, weights=weights))
    alpha = None if dose.alpha_gy is None else float(np.average(dose.alpha_gy[filled.where], weights=weights))
    sigma = mean * uncertainty(name, filled, dose, fit, curves, settings).combined
    biology = settings.radiobiology.get(name)
    bed, eqd2 = region_bed(name, mean, curves.get(name), biology) if biology else (None, None)
    d2, d50, d98 = dose_at_volume(gy, filled.share, (2.0, 50.0, 98.0))
    return OrganDose(
        region=name,
        mean_gy=mean,
        sigma_gy=sigma,
        d2_gy=d2,
        d50_gy=d50,
        d98_gy=d98,
        max_gy=_maximum(gy, filled.share),
        volume_ml=float(filled.share.sum()) * voxel_ml,
        mass_g=float(mass_g.sum()),
        tia_mbq_s=filled.total(fit.tia.mbq_s_per_ml) * voxel_ml,
        bed_gy=bed,
        eqd2_gy=eqd2,
        alpha_gy=alpha,
    )


def weighted_gy(organ: OrganDose, alpha_rbe: float) -> float:
    """Mean dose with the part of alpha particles times their RBE, Gy."""
    return organ.mean_gy + (alpha_rbe - 1) * (organ.alpha_gy or 0.0)


def alpha_record(organs: Iterable[OrganDose], settings: ResultsSettings) -> dict[str, object]:
    """What a calculation keeps of alpha particles: the RBE, and by region their dose and the weighted sum."""
    by_region = {
        o.region: {"alpha_gy": o.alpha_gy, "weighted_gy": weighted_gy(o, settings.alpha_rbe)} for o in organs
    }
    return {"alpha": {"rbe": settings.alpha_rbe, **by_region}}


def _maximum(gy: Float, share: Float) -> float:
    """Greatest dose of a voxel that the region fills at least half, where there is one, else of any it
    touches: a voxel of which the region holds a corner has its neighbour's dose."""
    mostly = gy[share >= HALF - ROUNDING]
    return float((mostly if mostly.size else gy).max())


def dose_at_volume(gy: Float, share: Float, percents: tuple[float, ...]) -> tuple[float, ...]:
    """D_x: the greatest dose that at least x % of the volume receives (ICRU 83, section 3.6).

    D2% is the near-maximum, D50% the median and D98% the near-minimum dose. A voxel counts by
    the ``share`` of it that the region fills and is not interpolated: D_x is the dose of a voxel, and zero
    where noise left it below.
    """
    gy = np.maximum(gy, 0.0)
    falling = np.argsort(-gy, kind="stable")
    receives = np.cumsum(share[falling])
    wanted = [x / 100.0 * float(receives[-1]) * (1.0 - ROUNDING) for x in percents]
    ranks = np.minimum(np.searchsorted(receives, wanted), gy.size - 1)
    return tuple(float(gy[falling[r]]) for r in ranks)


def uncertainty(
    name: str,
    filled: Filled,
    dose: DoseMap,
    fit: TiaFit,
    curves: dict[str, RegionTia],
    settings: ResultsSettings,
) -> DoseUncertainty:
    """Contributions to the uncertainty of a region's mean dose, relative (Gear et al. 2018, section 3).

    The dose of a region is taken to be as uncertain as its own TIA (self-dose dominates); a region
    without a curve of its own takes what all share from the field of view's curve, and adds the noise
    of its voxels. The engine's sigma is averaged linearly, as one error common to all voxels; for a
    Monte Carlo engine, whose noise is not common, that is an upper bound.
    """
    total_gy = filled.total(dose.gy)
    engine = filled.total(dose.sigma_gy) / total_gy if total_gy > 0 else 0.0
    own = curves.get(name)
    curve = own or curves.get("field-of-view")
    if curve is None:  # nothing is known but the map: every voxel errs the same way
        return DoseUncertainty(_ratio(filled.total(fit.sigma.mbq_s_per_ml), fit, filled), engine, 0.0)
    noise = 0.0 if own else _noise(filled, fit, settings)
    return DoseUncertainty(curve.relative_of_dose, engine, noise)


def _noise(filled: Filled, fit: TiaFit, settings: ResultsSettings) -> float:
    """Relative uncertainty of a region's TIA from voxel noise, correlated within the resolution.

    White noise blurred by a Gaussian of FWHM w has the autocorrelation exp(-r^2 / 4 s^2), s = w / 2.355,
    whose integral (2 s sqrt(pi))^3 = (w sqrt(pi / (2 ln 2)))^3 is the volume that varies as one.
    """
    width = settings.resolution_fwhm_mm * sqrt(pi / (2.0 * log(2.0)))
    alike = max(width**3 / 1000.0 / fit.tia.grid.voxel_ml, 1.0)
    own = fit.sigma.mbq_s_per_ml[filled.where].astype(np.float64) * filled.share
    alike = min(alike, float(filled.share.sum()))
    return _ratio(sqrt(max(alike, 1.0) * float(own @ own)), fit, filled)


def _ratio(sigma: float, fit: TiaFit, filled: Filled) -> float:
    total = filled.total(fit.tia.mbq_s_per_ml)
    return sigma / total if total > 0 else 0.0
