"""Biologically effective dose of a decaying source, by the linear-quadratic model.

BED = D (1 + G D / (alpha/beta)),  EQD2 = BED / (1 + 2 Gy / (alpha/beta))

G is the Lea-Catcheside dose-protraction factor. For one decaying exponential, delivered to the end,
G = lambda / (lambda + mu) with mu = ln 2 / repair half-time (R. G. Dale, Br J Radiol 58 (1985) 515,
equation 14; Wessels et al., MIRD Pamphlet 20, J Nucl Med 49 (2008) 1884). Repopulation is left out. The
region's mean dose enters: an uneven dose has a lower effect than its mean says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log

import numpy as np

from dicomnode.errors import Inconsistent
from dicomnode.model import DoseMap, LabelMap, RegionTia, TiaFit
from dicomnode.results.settings import Radiobiology, ResultsSettings


def biologically_effective_dose(dose_gy: float, protraction: float, alpha_beta_gy: float) -> float:
    """BED, Gy, of ``dose_gy`` delivered with the Lea-Catcheside factor ``protraction`` (0 to 1)."""
    return dose_gy * (1.0 + protraction * dose_gy / alpha_beta_gy)


def equivalent_dose_2gy(bed_gy: float, alpha_beta_gy: float) -> float:
    """Dose in fractions of 2 Gy with the same BED, Gy."""
    return bed_gy / (1.0 + 2.0 / alpha_beta_gy)


def protraction_factor(
    amplitudes: Sequence[float], lambdas_per_h: Sequence[float], repair_per_h: float
) -> float:
    """Lea-Catcheside G for a dose rate sum_i a_i exp(-lambda_i t), t from 0 to infinity.

    G = 2 / D^2  integral_0^inf R(t) integral_0^t R(w) exp(-mu (t - w)) dw dt
      = 2 / D^2  sum_ij a_i a_j / ((lambda_i + lambda_j) (lambda_i + mu)),   D = sum_i a_i / lambda_i

    which is lambda / (lambda + mu) for one term. Uptake terms have a negative amplitude.
    """
    total = sum(a / rate for a, rate in zip(amplitudes, lambdas_per_h, strict=True))
    double = sum(
        a_i * a_j / ((l_i + l_j) * (l_i + repair_per_h))
        for a_i, l_i in zip(amplitudes, lambdas_per_h, strict=True)
        for a_j, l_j in zip(amplitudes, lambdas_per_h, strict=True)
    )
    return 2.0 * double / total**2


def region_bed(
    region: str, dose_gy: float, curve: RegionTia | None, biology: Radiobiology
) -> tuple[float, float]:
    """BED and EQD2 of a region, Gy, with the time course of its own fitted curve.

    Raises
    ------
    Inconsistent
        where no exponential was fitted to the region and no effective half-life is configured.
    """
    protraction = region_protraction(region, curve, biology)
    bed = biologically_effective_dose(dose_gy, protraction, biology.alpha_beta_gy)
    return bed, equivalent_dose_2gy(bed, biology.alpha_beta_gy)


def region_protraction(region: str, curve: RegionTia | None, biology: Radiobiology) -> float:
    """Lea-Catcheside factor of a region: from its fitted curve, else from the configured half-life."""
    amplitudes, lambdas = exponentials(curve.parameters if curve else {})
    if not lambdas and biology.effective_half_life_h is not None:
        amplitudes, lambdas = [1.0], [log(2.0) / biology.effective_half_life_h]
    if not lambdas:
        raise Inconsistent(
            f"BED of region {region!r} needs its effective half-life: no exponential was fitted to it",
            attribute="radiobiology",
            remedy="Set effective_half_life_h for this region, or fit regions by exponentials",
        )
    return protraction_factor(amplitudes, lambdas, log(2.0) / biology.repair_half_time_h)


def bed_map(dose: DoseMap, regions: LabelMap, fit: TiaFit, settings: ResultsSettings) -> DoseMap:
    """BED of each voxel of the regions that have parameters, zero elsewhere, for an EFFECTIVE RT Dose.

    The time course is the region's, the dose the voxel's own, so the mean of this map is not the BED of
    the mean dose. A voxel is of a region that fills at least half of
    it; where regions overlap, the later one in ``settings.radiobiology`` counts. Raises as
    ``region_bed`` does.
    """
    curves = {curve.region: curve for curve in fit.regions}
    bed, slope = np.zeros_like(dose.gy), np.zeros_like(dose.gy)
    for name, biology in settings.radiobiology.items():
        mask = regions.masks.get(name)
        if mask is None:
            continue
        share = region_protraction(name, curves.get(name), biology) / biology.alpha_beta_gy
        bed[mask] = dose.gy[mask] * (1.0 + share * dose.gy[mask])
        slope[mask] = 1.0 + 2.0 * share * dose.gy[mask]
    return DoseMap(dose.grid, bed, slope * dose.sigma_gy, dose.balance, dose.medium)


def exponentials(parameters: Mapping[str, float]) -> tuple[list[float], list[float]]:
    """Amplitudes and rates (1/h) of a fitted curve: a1_mbq, lambda1_per_h, a2_mbq, ... in order."""
    amplitudes, lambdas = [], []
    for n in range(1, len(parameters) + 1):
        amplitude, rate = parameters.get(f"a{n}_mbq"), parameters.get(f"lambda{n}_per_h")
        if amplitude is None or rate is None or rate <= 0:
            break
        amplitudes.append(amplitude)
        lambdas.append(rate)
    return amplitudes, lambdas
