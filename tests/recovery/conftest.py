"""A small body: a cylinder of tissue with organs whose shares and images are known in closed form or by
fine sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from dicomnode.recovery import Width, WidthSource

SPACING = (4.4, 4.4, 4.4)
FINE = 3
SHAPE = (24, 30, 32)
FWHM_MM = 12.0
SITE = Width.of(FWHM_MM, 0.05, WidthSource.SITE)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Toy:
    """Shares, true concentrations and the image of a Gaussian camera."""

    shares: Mapping[str, Float32]
    body: Float32
    true: Mapping[str, float]
    background: float
    image: Float32


def fine_ball(center_mm: tuple[float, float, float], radius_mm: float) -> npt.NDArray[np.bool_]:
    """Where a ball lies, on voxels of a third; (z, y, x) mm from the first coarse voxel's outer corner."""
    axes = [(np.arange(n * FINE) + 0.5) * s / FINE for n, s in zip(SHAPE, SPACING, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    cz, cy, cx = center_mm
    return np.asarray((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= radius_mm**2)


def coarse(values: npt.NDArray[np.generic]) -> Float32:
    nz, ny, nx = SHAPE
    blocks = np.asarray(values, np.float32).reshape(nz, FINE, ny, FINE, nx, FINE)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), np.float32)


def make_toy(scale: float = 1.0, moved_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Toy:
    """Organ 180 mL, lesion 5 mL beside it, node 1.5 mL, in tissue of a tenth of the organ's concentration;
    all moved along z, y, x within the body."""
    from scipy.ndimage import gaussian_filter

    def ball(z: float, y: float, x: float, radius_mm: float) -> npt.NDArray[np.bool_]:
        return fine_ball((z + moved_mm[0], y + moved_mm[1], x + moved_mm[2]), radius_mm)

    balls = {
        "organ": ball(50.0, 60.0, 55.0, 35.0),
        "lesion": ball(60.0, 70.0, 102.0, 10.6),
        "node": ball(40.0, 100.0, 95.0, 7.1),
    }
    true = {"organ": 1.0 * scale, "lesion": 6.0 * scale, "node": 4.0 * scale}
    background = 0.1 * scale
    nz, ny, nx = (n * FINE for n in SHAPE)
    body = np.zeros((nz, ny, nx), bool)
    body[:, 9:-9, 9:-9] = True
    field = np.where(body, background, 0.0)
    for name, inside in balls.items():
        field[inside] = true[name]
    sigma = FWHM_MM / 2.3548 / (SPACING[0] / FINE)
    blurred = gaussian_filter(field, sigma, mode="nearest", truncate=5.0)
    middle = blurred[FINE // 2 :: FINE, FINE // 2 :: FINE, FINE // 2 :: FINE]
    return Toy(
        {n: coarse(b) for n, b in balls.items()}, coarse(body), true, background, middle.astype(np.float32)
    )


@pytest.fixture(scope="session")
def toy() -> Toy:
    return make_toy()
