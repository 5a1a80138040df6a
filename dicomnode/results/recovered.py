"""Organ doses and what the blur of the image took from them: both values, and an interval for the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import hypot, log

import numpy as np
import numpy.typing as npt

from dicomnode.model import DensityMap, EnergyPerDecay, LabelMap, OrganDose, RegionRecovery, TiaFit
from dicomnode.model.recovery import uncorrected_interval

Float32 = npt.NDArray[np.float32]

K = 2.0
"""Coverage factor of stated intervals."""
GY_PER_MEV = 1.602176634e-13 * 1e6 * 1e3
"""Of 1 MBq s/g whose decays leave 1 MeV each, Gy."""
INSIDE = 0.95
"""A voxel so full of a region has the region's own density."""


def with_recovery(
    organs: Sequence[OrganDose],
    recovered: Sequence[OrganDose],
    fit: TiaFit,
    regions: LabelMap,
    density: DensityMap,
    found: Mapping[str, RegionRecovery],
    energy: EnergyPerDecay,
) -> tuple[OrganDose, ...]:
    """The doses of ``organs`` with recovery, corrected dose and interval.

    Parameters
    ----------
    recovered : doses of the same regions from the corrected map
    fit : time-integrated activities of the corrected regions
    found : region -> its recovery; regions without one stay as they are
    energy : of a decay and its progeny; that of particles stays where it is emitted
    """
    curves = {curve.region: curve.tia_mbq_s for curve in fit.regions}
    from_map = {organ.region: organ for organ in recovered}
    out = []
    for organ in organs:
        region = found.get(organ.region)
        if region is None:
            out.append(organ)
        elif region.withheld:
            out.append(_withheld(organ, region))
        else:
            mass_g = region.volume_ml * _density(regions.shares[organ.region], density, organ)
            mean = _corrected(from_map[organ.region], curves[organ.region], mass_g, energy)
            out.append(_corrected_beside(organ, from_map[organ.region], region, mean))
    return tuple(out)


def _corrected(of_map: OrganDose, tia_mbq_s: float, mass_g: float, energy: EnergyPerDecay) -> float:
    """D = D_map + E ((A / m) - (A_map / m_map)), E the energy of particles per decay.

    A mean over voxels is not the organ's, whose edge voxels are only half full. What lacks is the region's
    own activity, so only what particles leave where they are emitted grows with it; photons stay.
    """
    particles_mev = energy.electron_mev + energy.positron_mev + energy.alpha_mev
    lacking = tia_mbq_s / mass_g - of_map.tia_mbq_s / of_map.mass_g  # MBq s/g
    return of_map.mean_gy + lacking * particles_mev * GY_PER_MEV


def _density(share: Float32, density: DensityMap, organ: OrganDose) -> float:
    """Density of a region, g/cm3, from voxels that hold nothing else where there are any."""
    inside = share > INSIDE
    if not inside.any():
        return organ.mass_g / organ.volume_ml
    return float(density.g_per_cm3[inside].mean(dtype=np.float64))


def _corrected_beside(organ: OrganDose, of_map: OrganDose, region: RegionRecovery, mean: float) -> OrganDose:
    relative = of_map.sigma_gy / of_map.mean_gy if of_map.mean_gy > 0 else 0.0
    bias = log(mean / organ.mean_gy) if mean > 0 and organ.mean_gy > 0 else 0.0
    low, high = uncorrected_interval(organ.mean_gy, relative, bias, K)
    return replace(
        organ,
        low_gy=low,
        high_gy=high,
        recovery=region.coefficient,
        recovered_gy=mean,
        recovered_sigma_gy=mean * relative,
        recovery_limit=region.limited_by,
    )


def _withheld(organ: OrganDose, region: RegionRecovery) -> OrganDose:
    """No corrected dose; the interval reaches what it would be, at a width greater by its uncertainty: where
    even the width is only assumed, that is much."""
    relative = organ.sigma_gy / organ.mean_gy if organ.mean_gy > 0 else 0.0
    farther = region.parts["width"] if region.bias > 0 else 0.0
    spread = hypot(relative, region.sigma_log)
    low, high = uncorrected_interval(organ.mean_gy, spread, region.bias + farther, K)
    return replace(
        organ, low_gy=low, high_gy=high, recovery=region.coefficient, recovery_limit=region.withheld
    )
