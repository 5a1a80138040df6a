"""From CT numbers to the linear attenuation coefficient at the energy that the camera counts.

Below water a voxel is air, lung, fat and water; above, water, muscle and cortical bone: the CT number of
each (ICRU 44 compositions, XCOM cross sections) at the tube voltage's effective energy gives a point, and
straight lines join the points. The customary two lines (air to water, water to bone) are 1.3 % low in
muscle and 1.9 % in fat at 208 keV; at water both are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import Finding, Grid, HuMap, Severity
from dicomnode.model.projections import Projections
from dicomnode.recon.camera.overlap import shares

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

KVP = (70.0, 150.0)
ENERGY_KEV = (30.0, 600.0)
ASSUMED_KVP = 120.0
TISSUES = ("lung_icru44", "adipose_icru44", "water", "muscle_icru44", "bone_cortical_icru44")
FEWEST_PER_DECAY = 0.01
"""Lines of fewer photons per decay do not make a photopeak."""
COVERED = 0.01
"""Part of a slice of the grid that the CT must fill to count as reaching it."""
TOUCHES = 0.5
"""Part of water's coefficient above which a voxel counts as body at the edge of the CT."""


@dataclass(frozen=True, eq=False)
class AttenuationMap:
    """Linear attenuation coefficient on the grid of the reconstruction.

    Attributes
    ----------
    grid : Grid
    per_cm : float32 (z, y, x), 1/cm
    covered : bool (z,), True where the CT reaches; beyond, its nearest slice was repeated
    energy_kev, kvp : of the photons that the camera counts, and of the CT's tube
    findings : coverage and truncation
    """

    grid: Grid
    per_cm: Float32
    covered: npt.NDArray[np.bool_]
    energy_kev: float
    kvp: float
    findings: tuple[Finding, ...] = ()


def photopeak_kev(projections: Projections) -> float:
    """Mean energy of the nuclide's gamma lines within the peak window, weighted by photons per decay.

    The middle of the window for a nuclide without lines in it (bremsstrahlung).
    """
    from dicomnode.physics.nuclides import emissions

    window = projections.windows[projections.peak]
    if not projections.nuclide:
        return window.centre_kev
    lines = emissions(projections.nuclide).gamma
    kev, per_decay = lines[:, 0] * 1000.0, lines[:, 1]
    inside = np.any([(kev > low) & (kev < high) for low, high in window.ranges_kev], axis=0)
    chosen = inside & (per_decay >= FEWEST_PER_DECAY)
    if not chosen.any():
        return window.centre_kev
    return float(np.average(kev[chosen], weights=per_decay[chosen]))


def effective_kev(kvp: float) -> float:
    """Energy at which cortical bone has the CT number that scanners show at a tube voltage.

    A straight line of our own through the slopes that PyTomography 3.4 lists (data/ct_table.csv) for Siemens
    Symbia at 80, 110 and 130 kVp and GE Optima CT540 at 80, 100, 120 and 140 kVp; within 2.5 keV, which is
    4 % of the slope in bone and nothing in water. Raises OutOfDomain.
    """
    if not KVP[0] <= kvp <= KVP[1]:
        raise OutOfDomain("tube voltage", kvp, "kV", f"{KVP[0]:g} to {KVP[1]:g} kV")
    return 33.0 + 0.385 * kvp


@cache
def hu_curve(energy_kev: float, kvp: float) -> tuple[tuple[float, float], ...]:
    """Points (HU, 1/cm), rising, between which coefficients are interpolated; -1000 HU is 0."""
    from dicomnode.physics.interactions import medium_of
    from dicomnode.physics.photons import coefficients
    from dicomnode.physics.tissues import tissue

    if not ENERGY_KEV[0] <= energy_kev <= ENERGY_KEV[1]:
        raise OutOfDomain("photon energy", energy_kev, "keV", f"{ENERGY_KEV[0]:g} to {ENERGY_KEV[1]:g} keV")
    mev = np.array([energy_kev, effective_kev(kvp)]) / 1000.0
    media = [medium_of(tissue(name)) for name in TISSUES]
    counted, scanned = np.array([coefficients(m, mev).total * m.density_g_per_cm3 for m in media]).T
    hu = 1000.0 * (scanned / scanned[TISSUES.index("water")] - 1.0)
    return ((-1000.0, 0.0), *zip(hu.tolist(), counted.tolist(), strict=True))


def per_cm_of_hu(hu: npt.ArrayLike, energy_kev: float, kvp: float) -> Float64:
    """Linear attenuation coefficient, 1/cm; never negative; the line to bone goes on above it."""
    points = np.array(hu_curve(energy_kev, kvp))
    hu = np.asarray(hu, dtype=np.float64)
    slope = (points[-1, 1] - points[-2, 1]) / (points[-1, 0] - points[-2, 0])
    beyond = np.maximum(hu - points[-1, 0], 0.0) * slope
    return np.asarray(np.interp(hu, points[:, 0], points[:, 1]) + beyond)


def attenuation_map(ct: HuMap, grid: Grid, energy_kev: float, kvp: float | None = None) -> AttenuationMap:
    """The attenuation map of a CT that lies in the grid's frame of reference.

    CT voxels are converted first and then averaged over each voxel of the grid by their common volume:
    points taken out of the finer CT would pass its noise and edges on. Beyond the CT's ends its nearest slice
    is repeated (``covered`` tells where); beside it there is air.

    Parameters
    ----------
    kvp : tube voltage; 120 kV is assumed, with a finding, where it is None

    Raises
    ------
    Inconsistent : the CT does not overlap the grid, or lies oblique to it
    OutOfDomain : energy or tube voltage
    """
    findings: tuple[Finding, ...] = ()
    if kvp is None:
        kvp = ASSUMED_KVP
        sentence = "the CT does not state its tube voltage; 120 kV was assumed, which matters in bone only"
        findings = (Finding("ct-kvp", Severity.WARNING, sentence, unit="kV"),)
    weights = [shares(ct.grid, grid, axis, "CT") for axis in range(3)]
    across, rows, slices = weights
    reached = slices.sum(axis=1)
    if not (reached.any() and rows.any() and across.any()):
        raise Inconsistent(
            "the CT and the acquisition have no place in common",
            attribute="ImagePositionPatient",
            remedy="Check that both belong to one examination, and their positions",
        )
    fine = np.stack([rows @ per_cm_of_hu(plane, energy_kev, kvp) @ across.T for plane in ct.hu])
    per_cm = np.tensordot(slices, fine, axes=1)
    covered = reached > COVERED
    per_cm[covered] /= reached[covered, None, None]
    inside = np.flatnonzero(covered)
    nearest = np.clip(np.arange(len(covered)), inside[0], inside[-1])
    whole: Float32 = np.ascontiguousarray(per_cm[nearest], dtype=np.float32)
    whole.flags.writeable = False
    findings += _truncation(ct, energy_kev, kvp)
    return AttenuationMap(grid, whole, covered, energy_kev, kvp, findings)


def _truncation(ct: HuMap, energy_kev: float, kvp: float) -> tuple[Finding, ...]:
    """Warn where the body reaches the edge of the CT's field (its circle, or its square)."""
    points = np.array(hu_curve(energy_kev, kvp))
    water = points[1 + TISSUES.index("water"), 1]
    threshold = float(np.interp(TOUCHES * water, points[:, 1], points[:, 0]))
    _, rows, columns = ct.grid.shape_zyx
    y, x = np.mgrid[:rows, :columns]
    radius = np.hypot((y - (rows - 1) / 2) / rows, (x - (columns - 1) / 2) / columns) * 2
    body = ct.hu > threshold
    if body[:, radius > 1.02].any():  # the field is the square
        edge = np.ones((rows, columns), dtype=bool)
        edge[1:-1, 1:-1] = False
    else:
        edge = (radius > 0.98) & (radius <= 1.0)
    touching = int(np.count_nonzero((body & edge).any(axis=(1, 2))))
    if not touching:
        return ()
    sentence = (
        f"the body (or the couch) reaches the edge of the CT in {touching} of {len(ct.hu)} slices: "
        f"attenuation outside is missing, and activity near it comes out too low. Look at the CT"
    )
    return (Finding("ct-truncated", Severity.WARNING, sentence, touching, 0.0, "slices"),)
