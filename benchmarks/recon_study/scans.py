"""The phantoms of the study, their projections without noise, and scans of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from scipy.ndimage import gaussian_filter

from dicomnode.model import ActivityMap, Grid
from dicomnode.model.projections import Projections
from dicomnode.recon.camera.attenuation import attenuation_map
from dicomnode.recon.camera.collimator import collimator
from dicomnode.recon.protocol import Protocol
from dicomnode.recon.scan import Scan, prepare
from dicomnode.simulation.patient import make_patient
from dicomnode.simulation.phantoms import Phantom, lesions, nema_like
from dicomnode.simulation.projections import ScanSettings, simulate_scan

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Truth:
    """A phantom with the expectation of its projections, made once."""

    name: str
    phantom: Phantom
    projections: Projections
    expected: Array
    scan_ct: object
    counts_per_mbq: float


def torso(grid: Grid, hours: float = 24.0) -> Phantom:
    """The simulated patient of ``dicomnode simulate`` some hours after 7.4 GBq of 177Lu, as a phantom."""
    patient = make_patient(1, size="small")
    activity = patient.concentration(patient.activity_mbq(hours)) * 1e6
    shares = {name: mask.astype(np.float32) for name, mask in patient.regions.masks.items()}
    body = patient.ct.hu > -300
    away = gaussian_filter(np.max(list(shares.values()), axis=0), 4.0) < 1e-3
    shares = {"background": (gaussian_filter(body.astype(np.float32), 4.0) > 0.95) & away, **shares}
    shares = {name: share.astype(np.float32) for name, share in shares.items()}
    level = float(activity[shares["background"] > 0].mean())
    contrast = {name: float(activity[share > 0].mean()) / level for name, share in shares.items()}
    return Phantom(ActivityMap(patient.grid, activity), patient.ct, shares, contrast, level / 1e6)


PHANTOMS: Mapping[str, Callable[[Grid], Phantom]] = {"nema": nema_like, "lesions": lesions, "torso": torso}
FINE = Grid((110, 136, 136), (2.4, 2.4, 2.4))


def truth_of(name: str, make: Callable[[Grid], Phantom]) -> Truth:
    """Simulate without noise; the decay during the scan is left out, so that the truth has one activity."""
    phantom = make(FINE)
    rows = int(np.ceil(phantom.grid.extent_mm[2] / 4.8 / 4 + 1)) * 4
    settings = ScanSettings(rows=min(rows, 64), bins=96 if name == "torso" else 64)
    made = simulate_scan(phantom, collimator("siemens-me"), settings, seed=1, started_at=datetime.now(UTC))
    still = replace(made.projections, started_s=np.zeros_like(made.projections.started_s))
    return Truth(name, made.truth, still, made.expected, made.ct, made.counts_per_mbq)


def scan_of(truth: Truth, counts: float, seed: int) -> tuple[Scan, float]:
    """The scan at a count level, and counts per voxel per Bq/mL in it."""
    factor = counts / truth.expected[0].sum(dtype=np.float64)
    drawn = np.random.default_rng([seed, int(counts)]).poisson(np.maximum(truth.expected * factor, 0))
    projections = replace(truth.projections, counts=drawn.astype(np.int32))
    mu = attenuation_map(truth.scan_ct, projections.grid, 208.4, 120.0)
    scan = prepare(projections, mu, Protocol(), collimator("siemens-me"))
    per_bq_ml = factor * truth.counts_per_mbq * projections.grid.voxel_ml / 1e6
    return scan, per_bq_ml
