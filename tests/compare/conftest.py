"""Analytic phantoms: blurred balls, so that a shift below one voxel is exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from dicomnode.compare import Pair, paired
from dicomnode.model import DoseMap, EnergyBalance, Grid, LabelMap

Float = npt.NDArray[np.float64]
BALLS = {  # centre (z, y, x) mm, radius mm, dose
    "liver": ((5.0, 8.0, -22.0), 26.0, 1.0),
    "kidney": ((-24.0, -18.0, 24.0), 16.0, 2.0),
    "lesion": ((28.0, 12.0, 26.0), 7.0, 3.0),
}


@dataclass(frozen=True)
class Phantom:
    """Dose in water-like tissue of balls blurred by 6 mm; the body is a ball."""

    n: int = 32
    spacing_mm: float = 4.0

    @property
    def grid(self) -> Grid:
        return Grid((self.n,) * 3, (self.spacing_mm,) * 3)

    @property
    def axes(self) -> tuple[Float, Float, Float]:
        x = (np.arange(self.n) - (self.n - 1) / 2) * self.spacing_mm
        z, y, x = np.meshgrid(x, x, x, indexing="ij", sparse=True)
        return z, y, x

    @property
    def body(self) -> npt.NDArray[np.bool_]:
        z, y, x = self.axes
        return np.asarray(z * z + y * y + x * x < (0.48 * self.n * self.spacing_mm) ** 2)

    def dose(
        self,
        shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
        blur: float = 6.0,
        without: str = "",
        scale: dict[str, float] | None = None,
    ) -> Float:
        z, y, x = self.axes
        total = np.zeros((self.n,) * 3)
        for name, (centre, radius, level) in BALLS.items():
            if name == without:
                continue
            off = [a - c - s for a, c, s in zip((z, y, x), centre, shift, strict=True)]
            r = np.sqrt(off[0] ** 2 + off[1] ** 2 + off[2] ** 2)
            total = total + level * (scale or {}).get(name, 1.0) / (1.0 + np.exp(2.4 * (r - radius) / blur))
        return np.asarray(total + 0.05)

    @property
    def regions(self) -> LabelMap:
        z, y, x = self.axes
        masks = {}
        for name, ((cz, cy, cx), radius, _) in BALLS.items():
            masks[name] = (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        return LabelMap(self.grid, masks)

    def sigma(self, noise: float) -> Float:
        """Poisson-like: relative noise ``noise`` where the dose is 1."""
        return noise * np.sqrt(self.dose())

    def map(self, gy: Float, sigma: Float | float = 0.0) -> DoseMap:
        return DoseMap(self.grid, gy, np.broadcast_to(sigma, gy.shape), EnergyBalance(1.0, 1.0, 0.0))


Pairing = Callable[..., Pair]


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return Phantom()


@pytest.fixture(scope="session")
def pairing(phantom: Phantom) -> Pairing:
    """A pair of an evaluated map with a reference that has ``noise``; the reference is the truth."""

    def made(
        evaluated: Float, noise: float = 0.03, seed: int = 0, regions: bool = True, **options: object
    ) -> Pair:
        sigma = phantom.sigma(noise)
        truth = phantom.dose() + sigma * np.random.default_rng(seed).standard_normal(sigma.shape)
        return paired(
            phantom.map(evaluated), phantom.map(truth, sigma), body=phantom.body,
            regions=phantom.regions if regions else None, **options,
        )  # fmt: skip

    return made
