"""One phantom and nuclide: power of every measure at equal false alarms, and how often the gates raise
false ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measures import MEASURES
from planted import FAULTS, NUCLIDES, kernel_dose, other
from runs import PLANTED_DECAYS, Pool, Unit, dose_map, merged, scaled, without
from scipy.ndimage import gaussian_filter

from dicomnode.compare import paired, verdict
from dicomnode.model import DensityMap
from dicomnode.physics.kernels import JOULE_PER_MEV

Array = np.ndarray
SIMULATED = {"wrong density": FAULTS["wrong density"]}
"""Faults with a Monte Carlo run of their own; the wrong nuclide is the other nuclide's run."""
FIELD_MM, FIELD_SHARE = 20.0, 0.01


class Case:
    """What is compared with what: the units on disk by number of decays, and the maps with faults."""

    def __init__(self, phantom: Any, nuclide: str, folder: Path) -> None:
        self.phantom, self.nuclide, self.folder = phantom, nuclide, folder
        self.pool = Pool(phantom, nuclide, folder)
        self.units = {
            d: [self.pool.unit(d, k) for k in range(self.pool.has(d))] for d in (10**4, 10**5, 10**6, 10**7)
        }
        self.large = self.units[10**6] + self.units[10**7]
        self._made: dict[str, Any] = {}

    def references(self, decays: int) -> list[tuple[Unit, Unit]]:
        """Pairs (reference, truth) that share no history. Above 1e6 decays, units are put together."""
        return self._once(f"references of {decays}", lambda _: self._references(decays))

    def _references(self, decays: int) -> list[tuple[Unit, Unit]]:
        if decays < 10**6:
            truth = merged(self.large)
            return [(u, truth) for u in self.units[decays]]
        found, start = [], 0
        while start < len(self.large):
            stop, made = start, 0.0
            while stop < len(self.large) and made < 0.99 * decays:
                made += self.large[stop].decays
                stop += 1
            used = set(range(start, stop))
            rest = sum(u.decays for k, u in enumerate(self.large) if k not in used)
            if made < 0.99 * decays or made > 1.5 * decays or rest < 0.7 * decays:
                break
            found.append((merged(self.large[start:stop]), without(self.large, used)))
            start = stop
        return found

    def faulty(self, name: str, truth: Unit) -> Unit:
        """The truth with a fault: simulated, or the truth plus the difference of two point-kernel
        calculations."""
        if name in SIMULATED:
            return self._once(name, self._simulated)
        if name == "wrong nuclide":
            wrong, mass = self._once(name, self._other_nuclide), self.phantom.density[self.phantom.body]
            return scaled(wrong, float((truth.gy * mass).sum() / (wrong.gy * mass).sum()))
        return replace(truth, gy=truth.gy + self._once(name, self._difference))

    def _once(self, name: str, make: Callable[[str], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make(name)
        return self._made[name]

    def _simulated(self, name: str) -> Unit:
        return Pool(self.phantom, self.nuclide, self.folder, SIMULATED[name]).unit(PLANTED_DECAYS, 0)

    def _other_nuclide(self, _: str) -> Unit:
        pool = Pool(self.phantom, other(self.nuclide), self.folder)
        return merged([pool.unit(10**6, k) for k in range(pool.has(10**6))])

    def _difference(self, name: str) -> Array:
        path = self.pool.folder / f"difference {name}.npy"
        if not path.exists():
            gy = JOULE_PER_MEV / (self.phantom.grid.voxel_ml * 1e-3)
            maps = (kernel_dose(self.phantom, self.nuclide, f) for f in (FAULTS[name], {}))
            first, second = (m[self.phantom.body] * gy for m in maps)
            np.save(path, first - second)
        return np.load(path)

    def pair(self, evaluated: Unit, reference: Unit, field: Array | None = None) -> Any:
        if field is not None:
            unit = 1.0 + FIELD_SHARE * field[self.phantom.body]
            evaluated = replace(evaluated, gy=evaluated.gy * unit)
        return paired(
            dose_map(self.phantom, evaluated), dose_map(self.phantom, reference), body=self.phantom.body,
            density=DensityMap(self.phantom.grid, self.phantom.density), regions=self.phantom.regions,
            evaluated_is_noisy=True,
        )  # fmt: skip


def smooth_field(shape: tuple[int, ...], spacing_mm: float, rng: np.random.Generator) -> Array:
    """Unit Gaussian field: white noise smoothed by 20 mm."""
    pad = int(4 * FIELD_MM / spacing_mm)
    field = gaussian_filter(
        rng.standard_normal([n + 2 * pad for n in shape]), FIELD_MM / spacing_mm, mode="wrap"
    )
    inner = field[pad:-pad, pad:-pad, pad:-pad]
    return inner / field.std()


def draw(case: Case, decays: int, number: int) -> dict[str, Any]:
    """Value of every measure, and the verdict, for one reference against maps right and wrong."""
    reference, truth = case.references(decays)[number]
    rng = np.random.default_rng([decays, NUCLIDES.index(case.nuclide), number])
    field = smooth_field(case.phantom.body.shape, case.phantom.grid.spacing_mm[0], rng)
    values: dict[str, dict[str, float]] = {m: {} for m in MEASURES}
    verdicts, seconds = {}, dict.fromkeys(MEASURES, 0.0)
    for name in ("exact", "null", *FAULTS):
        evaluated = truth if name in ("exact", "null") else case.faulty(name, truth)
        pair = case.pair(evaluated, reference, None if name == "exact" else field)
        for measure, value in MEASURES.items():
            start = time.process_time()
            values[measure][name] = float(f"{value(pair):.6g}")
            seconds[measure] += time.process_time() - start
        verdicts[name] = verdict(pair).state.value
    return {
        "truth_decays": truth.decays, "noise": pair.relative_noise, "dispersion": pair.dispersion,
        "hot": pair.hot_gy,
        "values": values, "verdicts": verdicts, "seconds": seconds,
    }  # fmt: skip


def power_of(case: tuple[str, str, int], draws: list[dict[str, Any]]) -> dict[str, Any]:
    """Power of every measure at the null's own 95 % quantile, from all draws of one case."""
    cases = draws[0]["verdicts"]
    table = {m: {c: [d["values"][m][c] for d in draws] for c in cases} for m in MEASURES}
    hot = 100.0 / np.mean([d["hot"] for d in draws])
    share = {"MAE": hot, "RMSE": hot}
    verdicts = {c: [d["verdicts"][c] for d in draws] for c in cases}
    return {
        "phantom": case[0], "nuclide": case[1], "decays": case[2], "draws": len(draws),
        "source": "transport of the engine montecarlo", "truth_decays": draws[0]["truth_decays"],
        "noise": float(np.mean([d["noise"] for d in draws])),
        "dispersion": float(np.median([d["dispersion"] for d in draws])),
        "power": {m: _power(v) for m, v in table.items()},
        "floor": {m: float(np.mean(v["exact"])) * share.get(m, 1.0) for m, v in table.items()},
        "verdict": {c: {s: v.count(s) for s in sorted(set(v))} for c, v in verdicts.items()},
        "cpu_ms": {m: 1e3 * float(np.mean([d["seconds"][m] for d in draws])) / len(cases) for m in MEASURES},
    }  # fmt: skip


def _power(values: dict[str, list[float]]) -> dict[str, float]:
    threshold = float(np.quantile(values["null"], 0.95))
    return {n: round(float(np.mean(np.array(v) > threshold)), 3) for n, v in values.items() if n != "null"}


def alarms_at(case: Case, decays: int) -> list[dict[str, Any]]:
    """What each gate says of an exact map and of one with 1 % smooth error, for every reference there is."""
    rng = np.random.default_rng([7, decays, NUCLIDES.index(case.nuclide)])
    found = []
    for reference, truth in case.references(decays):
        field = smooth_field(case.phantom.body.shape, case.phantom.grid.spacing_mm[0], rng)
        for name, smooth in (("exact", None), ("null", field)):
            judged = verdict(case.pair(truth, reference, smooth))
            gates = {
                g.name: [g.state.value, float(f"{g.value:.4g}"), float(f"{g.limit:.4g}")]
                for g in judged.gates
            }
            certain = next(g for g in judged.gates if g.name == "displacement").measures.get("certain")
            found.append({
                "phantom": case.phantom.name, "nuclide": case.nuclide, "decays": decays, "case": name,
                "verdict": judged.state.value, "gates": gates,
                "certain_mm": round(certain.value, 4) if certain else None,
            })  # fmt: skip
    return found


def example(case: Case) -> bytes:
    """The one-page picture of a verdict, PNG: no lesion of 2 mL, 1e6 decays; the hot level is 10 Gy."""
    from dicomnode.compare.picture import picture_png

    reference, truth = case.references(10**6)[0]
    evaluated = case.faulty("no lesion 2 mL", truth)
    factor = 10.0 / case.pair(truth, reference).hot_gy
    pair = case.pair(scaled(evaluated, factor), scaled(reference, factor))
    return picture_png(pair, verdict(pair), dpi=80)
