"""Small projections of a body whose truth is known, made by sums along turned volumes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.ndimage import rotate

from dicomnode.model import Grid
from dicomnode.model.projections import EnergyWindow, Projections
from dicomnode.recon.camera.attenuation import AttenuationMap

GRID = Grid((32, 64, 64), (6.0, 6.0, 6.0), (-189.0, -189.0, -93.0))
VIEWS = 32


def lopsided_body() -> np.ndarray:
    """An elliptic trunk that tapers towards the feet, an arm at the left, a belly in front."""
    z, y, x = np.indices(GRID.shape_zyx).astype(float) - np.array([15.5, 31.5, 31.5])[:, None, None, None]
    trunk = (x / (22 + 0.25 * z)) ** 2 + (y / (14 + 0.1 * z)) ** 2 < 1
    arm = ((x - 25) / 4) ** 2 + ((y - 6) / 4) ** 2 < 1
    belly = ((x + 6) / 9) ** 2 + ((y + 12) / 6) ** 2 + ((z + 4) / 8) ** 2 < 1
    return np.asarray((trunk & (np.abs(z) < 14)) | (arm & (z > -8) & (z < 14)) | belly)


def seen(activity: np.ndarray, per_cm: np.ndarray, angle_deg: float) -> np.ndarray:
    """Attenuated sums (axial, transaxial) seen from (cos a, sin a), bins along (-sin a, cos a)."""
    turn = [
        rotate(v.astype(float), angle_deg, axes=(2, 1), reshape=False, order=1) for v in (activity, per_cm)
    ]
    # now the detector stands at +x and bins run along +y
    depth = np.cumsum(turn[1][:, :, ::-1], axis=2)[:, :, ::-1] * GRID.spacing_mm[0] / 10
    return np.asarray((turn[0] * np.exp(-np.maximum(depth, 0))).sum(axis=2))


def acquired(
    activity: np.ndarray, per_cm: np.ndarray, counts: float = 2e6, seed: int = 1, **changes: Any
) -> Projections:
    """Poisson counts of two heads with 16 views each."""
    arc = 360.0 / VIEWS * np.arange(VIEWS // 2)
    angles = np.concatenate([arc, 180.0 + arc])
    views = np.stack([seen(activity, per_cm, a) for a in angles]).clip(0)
    noisy = np.random.default_rng(seed).poisson(views * counts / views.sum())
    values: dict[str, Any] = {
        "counts": noisy[None].astype(np.int32),
        "windows": (EnergyWindow("peak", ((187.56, 229.24),)),),
        "peak": 0,
        "angle_deg": angles,
        "radius_mm": np.full(VIEWS, 250.0),
        "seconds": np.full(VIEWS, 20.0),
        "started_s": np.tile(20.0 * np.arange(VIEWS // 2), 2),
        "pixel_mm": (6.0, 6.0),
        "grid": GRID,
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "nuclide": "Lu-177",
        "collimator": "ME",
        "series_uid": "1.2.3",
        "frame_of_reference_uid": "1.2.9",
    }
    return Projections(**(values | changes))


def attenuation(body: np.ndarray, covered: slice = slice(None)) -> AttenuationMap:
    reached = np.zeros(GRID.shape_zyx[0], dtype=bool)
    reached[covered] = True
    return AttenuationMap(GRID, (0.135 * body).astype(np.float32), reached, 208.4, 130.0)
