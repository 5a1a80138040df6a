"""Monte Carlo references: independent runs of the engine's transport, kept on disk and merged upwards
exactly.

A unit is one run of 20 batches, as the engine ``montecarlo`` makes it. Units of 1e6 and 1e7 decays are put
together into references of 1e7 and 1e8, and what a reference does not use is the truth it is judged by: the
same histories serve every number of decays, and no map is compared with itself.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dicomnode.dose.batch_moments import batch_moments
from dicomnode.model import BatchNoise, DensityMap, DoseMap, EnergyBalance
from dicomnode.physics.anatomy import anatomy_from_density
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.kernels import JOULE_PER_MEV
from dicomnode.physics.nuclides import nuclide as nuclide_named
from dicomnode.physics.tissues import tissue

Array = np.ndarray
BATCHES = 20
BALANCE = EnergyBalance(1.0, 1.0, 0.0)
PLAN: dict[str, dict[int, int]] = {
    "Lu-177": {10**4: 20, 10**5: 40, 10**6: 40},
    "I-131": {10**4: 20, 10**5: 40, 10**6: 40},
    "Y-90": {10**4: 20, 10**5: 40, 10**6: 20},
}
"""Units by number of decays, at least; more may be added, of 1e7 decays too, and are used. 4e7 decays take
1 to 2 CPU minutes of 177Lu and 131I, 2e7 take 3 of 90Y."""
PLANTED_DECAYS = 2 * 10**6


@dataclass(frozen=True, eq=False)
class Unit:
    """Dose of the voxels of the body for one decay in all, Gy, with its variance and batches."""

    gy: Array
    variance: Array
    decays: float
    noise: BatchNoise


def merged(units: list[Unit]) -> Unit:
    """Independent runs as one, each weighted by its decays."""
    total = sum(u.decays for u in units)
    gy = sum(u.gy * (u.decays / total) for u in units)
    variance = sum(u.variance * (u.decays / total) ** 2 for u in units)
    rows, decays = [u.noise.moments_gy for u in units], [u.noise.decays for u in units]
    noise = replace(units[0].noise, moments_gy=np.concatenate(rows), decays=np.concatenate(decays))
    return Unit(np.asarray(gy), np.asarray(variance), total, noise)


def dose_map(phantom: Any, unit: Unit) -> DoseMap:
    gy, sigma = np.zeros(phantom.body.shape), np.zeros(phantom.body.shape)
    gy[phantom.body], sigma[phantom.body] = unit.gy, np.sqrt(unit.variance)
    return DoseMap(phantom.grid, gy, sigma, BALANCE, noise=unit.noise)


class Pool:
    """Units of one phantom and nuclide on disk; ``fault`` for a run of its own with wrong input."""

    def __init__(self, phantom: Any, nuclide: str, folder: Path, fault: dict[str, Any] | None = None) -> None:
        self.phantom, self.nuclide, self.fault = phantom, nuclide, fault or {}
        activity = phantom.activity({k: v for k, v in self.fault.items() if k != "density"})
        self.activity = activity / phantom.activity({}).sum()
        self.density = np.where(phantom.body, self.fault.get("density", phantom.density), phantom.density)
        key = hashlib.sha256(
            self.activity.astype(np.float32).tobytes() + self.density.astype(np.float32).tobytes()
        )
        self.folder = folder / f"{phantom.name}-{nuclide}-{key.hexdigest()[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = None

    def has(self, decays: int) -> int:
        """Units of so many decays that are there."""
        return len(list(self.folder.glob(f"{decays:.0e}-*.npz")))

    def unit(self, decays: int, index: int) -> Unit:
        """From the disk, or run now."""
        path = self.folder / f"{decays:.0e}-{index:03}.npz"
        if not path.exists():
            self._make(path, decays, index)
        with np.load(path) as f:
            box = tuple(tuple(int(v) for v in edge) for edge in f["box"])
            noise = BatchNoise(box, int(f["degree"]), f["decays"], f["moments"])
            gy, sigma = f["gy"].astype(np.float64), f["sigma"].astype(np.float64)
        return Unit(gy, sigma**2, float(noise.decays.sum()), noise)

    def _make(self, path: Path, decays: int, index: int) -> None:
        from dicomnode.montecarlo.simulate import Tally, _deposit, _mev, _scaled

        run, gy_per_mev, kept, where = self._prepared()
        tallies = {c.name: Tally(c, len(run.weight)) for c in run.components}
        rows = []
        # Streams of numbers: no two units share a batch.
        first = (index + 1000 * round(np.log10(decays))) * BATCHES
        for number in range(first, first + BATCHES):
            alone = {}
            for c in run.components:
                n = max(200, int(decays / BATCHES * c.source.per_decay))
                energy, totals = run.batch(c, number, n, lambda _: None)
                alone[c.name] = Tally(c, len(run.weight))
                for t in (alone[c.name], tallies[c.name]):
                    t.add(energy, totals, n)
            rows.append(kept(_mev(run, _scaled(run, alone)[0])))
        found = _deposit(run, tallies, where)
        noise = kept.noise(np.array(rows), min(found.decays_simulated.values()))
        body = self.phantom.body
        partial = path.with_suffix(f".{os.getpid()}.part.npz")
        np.savez(
            partial, gy=(found.mev * gy_per_mev)[body].astype(np.float32),
            sigma=(found.sigma_mev * gy_per_mev)[body].astype(np.float32),
            box=np.array(noise.box_zyx), degree=noise.degree, decays=noise.decays, moments=noise.moments_gy,
        )  # fmt: skip
        os.replace(partial, path)

    def _prepared(self) -> Any:
        """Tables, built once: the run, dose by energy, what is kept of batches, the region of interest."""
        if self._run is None:
            from dicomnode.montecarlo.settings import TransportSettings
            from dicomnode.montecarlo.simulate import Problem, Run, region
            from dicomnode.montecarlo.source import members

            grid = self.phantom.grid
            anatomy = anatomy_from_density(DensityMap(grid, self.density))
            used, index = np.unique(anatomy.material, return_inverse=True)
            index = index.reshape(grid.shape_zyx)
            means = np.bincount(index.ravel(), self.density.ravel()) / np.bincount(index.ravel())
            names = [anatomy.material_names[n] for n in used]
            media = tuple(medium_of(tissue(n), float(m)) for n, m in zip(names, means, strict=True))
            density = anatomy.density.g_per_cm3
            found = members(nuclide_named(self.nuclide))
            problem = Problem(self.activity, density, index, media, grid.spacing_mm, found)
            run = Run(problem, TransportSettings(decays=1e6, threads=1), 1)
            kg = density.astype(np.float64) * grid.voxel_ml * 1e-3
            gy_per_mev = np.where(self.phantom.body, JOULE_PER_MEV / kg, 0.0)
            kept = batch_moments(self.phantom.body, gy_per_mev, np.zeros(grid.shape_zyx))
            self._run = (run, gy_per_mev, kept, region(problem))
        return self._run


def fill(phantom: Any, folder: Path, nuclides: tuple[str, ...], faults: dict[str, dict[str, Any]]) -> None:
    """Run what is missing, the cheap units of every nuclide first."""
    levels = sorted({d for n in nuclides for d in PLAN[n]})
    pools = {n: Pool(phantom, n, folder) for n in nuclides}
    for decays in levels:
        for n in nuclides:
            for index in range(PLAN[n][decays]):
                pools[n].unit(decays, index)
            print(phantom.name, n, f"{decays:.0e}", "done", flush=True)
        if decays == 10**6:
            for n in nuclides:
                for fault in faults.values():
                    Pool(phantom, n, folder, fault).unit(PLANTED_DECAYS, 0)
                print(phantom.name, n, "faults done", flush=True)


def without(units: list[Unit], used: set[int]) -> Unit:
    """All units but those used, as one."""
    return merged([u for k, u in enumerate(units) if k not in used])


def scaled(unit: Unit, factor: float) -> Unit:
    noise = replace(unit.noise, moments_gy=unit.noise.moments_gy * factor)
    return Unit(unit.gy * factor, unit.variance * factor**2, unit.decays, noise)
