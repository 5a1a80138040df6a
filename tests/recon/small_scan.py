"""A small simulated scan of a cylinder with a hot and a cold ball, quick enough for unit tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt

from dicomnode.model import ActivityMap, Grid, HuMap
from dicomnode.model.projections import Projections
from dicomnode.recon.calibration.record import SpectCalibration, windows_of
from dicomnode.recon.camera.attenuation import AttenuationMap, attenuation_map
from dicomnode.recon.camera.collimator import Collimator, collimator
from dicomnode.recon.protocol import Protocol
from dicomnode.simulation.phantoms import Phantom
from dicomnode.simulation.projections import ScanSettings, simulate_scan

CAMERA: Collimator = collimator("siemens-me")
STARTED = datetime(2026, 11, 20, 9, tzinfo=UTC)
CPS_PER_MBQ = 9.4
FINE = Grid((40, 64, 64), (2.4, 2.4, 2.4))
BALL_MM = 32.0
ONE = (((20.0, 0.0), BALL_MM),)
THREE = (((28.0, 0.0), 32.0), ((-16.0, 26.0), 24.0), ((-16.0, -26.0), 16.0))
"""Centre (x, y) in the middle slice and diameter of each ball, mm."""


@dataclass(frozen=True, eq=False)
class SmallScan:
    """Projections and their expectation, attenuation on their grid, and the truth on it."""

    projections: Projections
    expected: npt.NDArray[np.float32]
    attenuation: AttenuationMap
    truth: Phantom
    true_mbq: float


def cylinder(
    ball: float = 8.0,
    level_mbq_per_ml: float = 0.2,
    balls: tuple[tuple[tuple[float, float], float], ...] = ONE,
) -> Phantom:
    """Water, 110 mm across and 72 mm high, with balls of ``ball`` times its concentration."""
    axes = [(np.arange(n) - (n - 1) / 2) * 2.4 for n in FINE.shape_zyx]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    body = (np.hypot(x, y) < 55) & (np.abs(z) < 36)
    hot = np.any([(x - a) ** 2 + (y - b) ** 2 + z**2 < (mm / 2) ** 2 for (a, b), mm in balls], axis=0)
    relative = body * np.where(hot, ball, 1.0)
    activity = ActivityMap(FINE, (relative * level_mbq_per_ml * 1e6).astype(np.float32))
    ct = HuMap(FINE, np.where(body, 0.0, -1000.0).astype(np.float32))
    shares = {"ball": hot.astype(np.float32), "body": (body & ~hot).astype(np.float32)}
    return Phantom(activity, ct, shares, {"ball": ball, "body": 1.0}, level_mbq_per_ml)


def scan(phantom: Phantom, *, seconds: float = 20.0, seed: int = 1) -> SmallScan:
    """24 views by the camera that reconstructs: what is tested here is not the simulation."""
    settings = ScanSettings(views=24, bins=32, rows=20, seconds_per_view=seconds, cps_per_mbq=CPS_PER_MBQ,
                            width_factor=1.0, tail_share=0.0, scatter_share=0.3,
                            ct_off_mm=(0.0, 0.0, 0.0))  # fmt: skip
    made = simulate_scan(phantom, CAMERA, settings, seed=seed, started_at=STARTED)
    mu = attenuation_map(made.ct, made.projections.grid, 208.4, 120.0)
    return SmallScan(made.projections, made.expected, mu, made.truth, made.truth.activity.total_mbq)


def record(projections: Projections, protocol: Protocol, **changed: object) -> SpectCalibration:
    """The record of this camera for a protocol."""
    values: dict[str, object] = {
        "name": "simulated", "manufacturer": projections.facts["manufacturer"], "model": "",
        "collimator": CAMERA.name, "nuclide": "Lu-177", "windows_kev": windows_of(projections),
        "protocol": protocol.digest(projections.grid), "cps_per_mbq": CPS_PER_MBQ,
        "measured_on": date(2026, 11, 1), "radius_mm": float(projections.radius_mm.mean()),
    }  # fmt: skip
    return SpectCalibration.model_validate(values | changed)
