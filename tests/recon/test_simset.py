"""Monte Carlo projections that we did not make: STIR's SimSET cylinder, without an attenuation map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dicomnode.recon.algorithms.iterative import osem
from dicomnode.recon.camera.collimator import Response
from dicomnode.recon.camera.model import Geometry
from dicomnode.recon.camera.projector import ParallelHoleModel

EDGE_MM = 3.32
Float32 = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def image(shared: Path) -> Float32:
    """input.hs: 120 views of 64 x 128, clockwise from 180 degrees, radius 150 mm; OSEM 5 x 12.

    STIR's parameter file has sigma = 0.0163 d + 1.466 mm. The data are scaled, not whole counts, and hold no
    scatter windows; the attenuation map that belongs to them is not there.
    """
    data = np.fromfile(shared / "real" / "spect_raw" / "stir_simset" / "input.s", "<f4").reshape(120, 64, 128)
    assert data.sum() == pytest.approx(2.516e7, rel=1e-3)
    geometry = Geometry((64, 128, 128), (EDGE_MM, EDGE_MM), 180.0 - 3.0 * np.arange(120), np.full(120, 150.0))
    model = ParallelHoleModel(geometry, Response(0.0163, 1.466, 0.0))
    counts = torch.from_numpy(data)
    found = osem(model, counts, torch.zeros_like(counts), subsets=12, iterations=5)
    fitted = model.forward(found)
    assert float(fitted.sum() / counts.sum()) == pytest.approx(1.0, abs=2e-3)
    # chi-square per bin: 1 for Poisson counts, which these nearly are
    assert float(((fitted - counts) ** 2 / (fitted + 1e-3)).mean()) == pytest.approx(1.0, abs=0.1)
    return found.numpy()


def polar() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    y, x = np.mgrid[:128, :128] - 63.5
    return np.hypot(x, y) * EDGE_MM, np.rad2deg(np.arctan2(y, x))


def test_without_attenuation_the_uniform_cylinder_has_a_hot_rim(image: Float32) -> None:
    """Found: 1.47 between 76 and 90 mm over the inner 30 mm; nothing beyond 104 mm (0.02)."""
    radius, _ = polar()
    uniform = image[9:18].mean(axis=0)
    centre = uniform[radius < 30].mean()
    assert uniform[(radius > 76) & (radius < 90)].mean() / centre == pytest.approx(1.47, abs=0.05)
    steps = [uniform[(radius >= a) & (radius < a + 16)].mean() for a in range(0, 96, 16)]
    assert (np.diff(steps) > 0).all()
    assert uniform[(radius > 104) & (radius < 112)].mean() < 0.05 * centre


def test_six_cold_inserts_are_seen_each_smaller_one_less_cold(image: Float32) -> None:
    """At 60 degree steps on a circle of 68 mm. Found, over the uniform part at the same place: 0.06, 0.08,
    0.15, 0.30, 0.49, 0.71; the same six are hot rods further on, 10 times and more above their surround."""
    from scipy.ndimage import gaussian_filter

    radius, angle = polar()
    cold, hot = image[23:33].mean(axis=0), image[43:52].mean(axis=0)
    relative = gaussian_filter(cold, 1) / np.maximum(gaussian_filter(image[9:18].mean(axis=0), 1), 1e-6)
    lowest, highest = [], []
    for towards in (-30, 30, 90, 150, 210, 270):
        off = np.abs((angle - towards + 180) % 360 - 180)
        place = (radius > 52) & (radius < 74) & (off < 20)
        lowest.append(float(relative[place].min()))
        highest.append(float(hot[place].max() / hot[radius < 30].mean()))
    assert (np.diff(lowest) > 0).all()
    assert lowest == pytest.approx([0.06, 0.08, 0.15, 0.30, 0.49, 0.71], abs=0.04)
    assert min(highest) > 8
