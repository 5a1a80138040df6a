"""The study behind docs/comparing.md: which measure sees which fault at how many decays.

``make compare-study`` runs it and writes docs/compare-study.json, docs/compare-study.md and the figures of
docs/figures/. Every number there comes from here.

Where the references come from is one object with two methods, ``truth`` and ``run``:

- ``Tracks``: decays one by one in two voxel phantoms, each a straight electron track (four deposits at
  quantiles of the water point kernel) and one photon deposit. It is a true Monte Carlo of the point
  kernel, so that voxels are correlated as histories correlate them, but it is no transport: SYNTHETIC.
- ``Engine``: the package's own Monte Carlo engine by its registered name (``--engine montecarlo``).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numba import njit
from scipy.ndimage import gaussian_filter

from dicomnode.compare import paired, verdict
from dicomnode.compare.bures import bures
from dicomnode.compare.chisquare import Tolerance, moment_chi_square
from dicomnode.compare.christoffel import christoffel
from dicomnode.compare.dvh import dvh_distance
from dicomnode.compare.exact import unbalanced
from dicomnode.compare.gamma import Criterion, gamma_pass_rate
from dicomnode.compare.lines import axis_bounds, normalised
from dicomnode.compare.moments import batch_noise
from dicomnode.compare.organs import region_errors
from dicomnode.compare.scan import scan
from dicomnode.compare.sliced import sliced
from dicomnode.compare.voxelwise import mean_absolute_error, root_mean_squared_error, structural_similarity
from dicomnode.dose.convolution import convolve_symmetric
from dicomnode.model import DoseMap, EnergyBalance, Grid, LabelMap
from dicomnode.physics.media import water_kernel
from dicomnode.physics.voxel_kernels import voxel_kernel

N, EDGE = 40, 4.0
GRID = Grid((N,) * 3, (EDGE,) * 3)
BATCHES = 20
NUCLIDES = ("Lu-177", "I-131", "Y-90")
BALANCE = EnergyBalance(1.0, 1.0, 0.0)
QUICK = Criterion(max_gamma=1.1, steps=5)
"""Enough for the pass rate."""
Array = np.ndarray


@dataclass(frozen=True)
class Phantom:
    """Blurred balls of activity in a body; ``thin`` is a region of lung (0.26) or bone (1.85) density."""

    name: str
    balls: dict[str, tuple[tuple[float, float, float], float, float]]
    half_axes: tuple[float, float, float]
    thin: tuple[tuple[float, float, float], float, float]

    def mesh(self, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> list[Array]:
        x = (np.arange(N) - (N - 1) / 2) * EDGE
        return [a - s for a, s in zip(np.meshgrid(x, x, x, indexing="ij", sparse=True), shift, strict=True)]

    @property
    def body(self) -> Array:
        return sum((a / h) ** 2 for a, h in zip(self.mesh(), self.half_axes, strict=True)) < 1.0

    @property
    def density(self) -> Array:
        centre, radius, rho = self.thin
        r2 = sum((a - c) ** 2 for a, c in zip(self.mesh(), centre, strict=True))
        return np.where(r2 < radius**2, rho, 1.0)

    def activity(self, **fault: Any) -> Array:
        """Relative activity per voxel; ``shift``, ``blur`` (mm), ``scale`` and ``without`` (names)."""
        mesh = self.mesh(fault.get("shift", (0.0, 0.0, 0.0)))
        total = np.full((N,) * 3, 0.02)
        for name, (centre, radius, level) in self.balls.items():
            if name == fault.get("without"):
                continue
            r = np.sqrt(sum((a - c) ** 2 for a, c in zip(mesh, centre, strict=True)))
            level = level * fault.get("scale", {}).get(name, 1.0)
            total = total + level / (1.0 + np.exp((r - radius) / (0.4 * fault.get("blur", 5.0))))
        return np.where(self.body, total, 0.0)

    @property
    def regions(self) -> LabelMap:
        masks = {}
        for name, (centre, radius, _) in self.balls.items():
            r2 = sum((a - c) ** 2 for a, c in zip(self.mesh(), centre, strict=True))
            masks[name] = (r2 < radius**2) & self.body
        return LabelMap(GRID, masks)


def ball_radius(ml: float) -> float:
    return float((3000.0 * ml / (4.0 * np.pi)) ** (1.0 / 3.0))


PHANTOMS = (
    Phantom(
        "abdomen",
        {"liver": ((5.0, 8.0, -26.0), 28.0, 1.0), "kidney left": ((-18.0, -26.0, 30.0), 17.0, 2.0),
         "kidney right": ((-22.0, -30.0, -28.0), 16.0, 1.8), "spleen": ((14.0, -22.0, 44.0), 14.0, 1.4),
         "lesion 0.5 mL": ((34.0, 12.0, 22.0), ball_radius(0.5), 4.0),
         "lesion 2 mL": ((-36.0, 22.0, 12.0), ball_radius(2.0), 3.0),
         "lesion 10 mL": ((28.0, 34.0, 4.0), ball_radius(10.0), 2.5)},
        (76.0, 62.0, 74.0), ((52.0, 0.0, -22.0), 24.0, 0.26),
    ),
    Phantom(
        "pelvis",
        {"bladder": ((-14.0, 26.0, 0.0), 19.0, 1.5), "bone left": ((16.0, -24.0, 40.0), 12.0, 2.5),
         "bone right": ((10.0, -26.0, -42.0), 9.0, 2.5),
         "lesion 0.5 mL": ((-38.0, -10.0, 24.0), ball_radius(0.5), 4.0),
         "lesion 2 mL": ((40.0, 8.0, 10.0), ball_radius(2.0), 3.0),
         "lesion 10 mL": ((24.0, 22.0, -30.0), ball_radius(10.0), 2.5)},
        (74.0, 56.0, 72.0), ((16.0, -24.0, 40.0), 20.0, 1.85),
    ),
)  # fmt: skip

FAULTS: dict[str, dict[str, Any]] = {
    "shift 1 mm": {"shift": (0.6, 0.6, 0.53)},
    "shift 2 mm": {"shift": (1.2, 1.2, 1.06)},
    "shift 5 mm": {"shift": (3.0, 3.0, 2.6)},
    "organ x 1.02": {"scale": 1.02},
    "organ x 1.05": {"scale": 1.05},
    "organ x 1.10": {"scale": 1.10},
    "blur": {"blur": 7.0},
    "no lesion 0.5 mL": {"without": "lesion 0.5 mL"},
    "no lesion 2 mL": {"without": "lesion 2 mL"},
    "no lesion 10 mL": {"without": "lesion 10 mL"},
    "wrong density": {"density": 1.0},
    "wrong nuclide": {"nuclide": True},
    "voxel 4.42 for 4": {"voxel_mm": 4.42},
    "kernel cut": {"cut": 1},
}


def octant(nuclide: str, edge: float) -> Array:
    return voxel_kernel(water_kernel(nuclide), (edge,) * 3, (N,) * 3).total_mev


def dose_of(phantom: Phantom, nuclide: str, fault: dict[str, Any]) -> Array:
    """Expected dose of the tracks: activity by voxel kernel, over density; faults enter here."""
    plain = dict(fault)
    if "scale" in plain:
        plain["scale"] = {next(iter(phantom.balls)): plain["scale"]}
    activity = phantom.activity(**plain)
    kernel_of = NUCLIDES[(NUCLIDES.index(nuclide) + 1) % 3] if plain.get("nuclide") else nuclide
    edge = plain.get("voxel_mm", EDGE)
    kernel = octant(kernel_of, edge) * (EDGE / edge) ** 3
    if kernel_of != nuclide:  # the energy per decay would be noticed at once: only the range is wrong
        kernel = kernel * water_kernel(nuclide).total_mev / water_kernel(kernel_of).total_mev
    if "cut" in plain:
        keep = np.zeros_like(kernel)
        keep[: plain["cut"] + 1, : plain["cut"] + 1, : plain["cut"] + 1] = 1.0
        kernel = kernel * keep
    density = np.full((N,) * 3, plain["density"]) if "density" in plain else phantom.density
    dose = convolve_symmetric(activity / phantom.activity().sum(), kernel, dtype=np.float64) / density
    return np.where(phantom.body, dose, 0.0)


@njit(cache=True)
def _tracks(seed, decays, voxels, cumulative, n, edge, r_e, f_e, mev_e, r_p, f_p, mev_p, total, square):
    """Score ``decays`` decays; ``square`` gets the squares per history, so voxels hold an exact variance."""
    np.random.seed(seed)
    at, energy = np.empty(5, np.int64), np.empty(5)
    for _ in range(decays):
        source = voxels[np.searchsorted(cumulative, np.random.random())]
        z = (source // (n * n) + np.random.random()) * edge
        y = ((source // n) % n + np.random.random()) * edge
        x = (source % n + np.random.random()) * edge
        used = 0
        for part in range(5):
            if part in (0, 4):
                cos = 2.0 * np.random.random() - 1.0
                sin, phi = np.sqrt(1.0 - cos * cos), 2.0 * np.pi * np.random.random()
                uz, uy, ux = cos, sin * np.cos(phi), sin * np.sin(phi)
            if part < 4:
                r, e = np.interp((part + np.random.random()) / 4.0, f_e, r_e), 0.25 * mev_e
            else:
                u = np.random.random()
                if mev_p == 0.0 or u >= f_p[-1]:
                    continue
                r, e = np.interp(u, f_p, r_p), mev_p
            k, j, i = int((z + r * uz) // edge), int((y + r * uy) // edge), int((x + r * ux) // edge)
            if not (0 <= k < n and 0 <= j < n and 0 <= i < n):
                continue
            flat, found = (k * n + j) * n + i, False
            for m in range(used):
                if at[m] == flat:
                    energy[m] += e
                    found = True
            if not found:
                at[used], energy[used] = flat, e
                used += 1
        for m in range(used):
            total[at[m]] += energy[m]
            square[at[m]] += energy[m] * energy[m]


class Tracks:
    """References by tracks of the water point kernel. Synthetic: no transport, no interfaces."""

    name = "tracks of the point kernel (synthetic)"

    def truth(self, phantom: Phantom, nuclide: str, fault: dict[str, Any]) -> Array:
        return dose_of(phantom, nuclide, fault)

    def run(self, phantom: Phantom, nuclide: str, decays: int, seed: int) -> DoseMap:
        """A reference of so many decays with its voxel uncertainty and batches."""
        activity = phantom.activity().ravel()
        voxels = np.flatnonzero(activity)
        cumulative = np.cumsum(activity[voxels]) / activity.sum()
        cumulative[-1] = 1.0
        tables = _tables(nuclide)
        scale = 1.0 / phantom.density
        maps, squares = [], np.zeros(N**3)
        per_batch = max(1, decays // BATCHES)
        for batch in range(BATCHES):
            total = np.zeros(N**3)
            _tracks(seed * BATCHES + batch, per_batch, voxels, cumulative, N, EDGE, *tables, total, squares)
            maps.append(np.where(phantom.body, total.reshape((N,) * 3) / per_batch * scale, 0.0))
        made = per_batch * BATCHES
        mean = np.mean(maps, axis=0)
        variance = (squares.reshape((N,) * 3) * scale**2 / made - mean**2) / made
        variance = np.where(phantom.body, np.maximum(variance, 0.0), 0.0)
        box = paired(_map(mean), _map(mean, variance), body=phantom.body).box_zyx()
        noise = batch_noise(np.array(maps), np.full(BATCHES, per_batch), box, 4)
        return replace(_map(mean, variance), noise=noise)


class Engine:
    """References by a registered engine; it must fill ``DoseMap.noise`` for the dispersion to be known."""

    def __init__(self, name: str) -> None:
        self.name = f"engine {name}"
        self._engine = name

    def _dose(self, phantom: Phantom, nuclide: str, fault: dict[str, Any], decays: int, seed: int) -> DoseMap:
        from dicomnode.dose.registry import build
        from dicomnode.model import DensityMap, TiaMap
        from dicomnode.physics.anatomy import anatomy_from_density
        from dicomnode.physics.nuclides import nuclide as nuclide_named

        plain = dict(fault)
        if "scale" in plain:
            plain["scale"] = {next(iter(phantom.balls)): plain["scale"]}
        activity = phantom.activity(**plain)
        tia = TiaMap(GRID, activity / phantom.activity().sum() / GRID.voxel_ml / 1e6)
        density = np.full((N,) * 3, plain["density"]) if "density" in plain else phantom.density
        density = np.where(phantom.body, density, 0.0012)
        name = NUCLIDES[(NUCLIDES.index(nuclide) + 1) % 3] if plain.get("nuclide") else nuclide
        engine = build(self._engine, {"decays": float(decays)})
        return engine.dose(
            tia, anatomy_from_density(DensityMap(GRID, density)), nuclide_named(name), seed=seed,
            progress=lambda *_: None,
        )  # fmt: skip

    def truth(self, phantom: Phantom, nuclide: str, fault: dict[str, Any]) -> Array:
        """A long run; wrong voxel and cut kernel are faults of kernel engines and come from the kernels."""
        if {"voxel_mm", "cut"} & set(fault):
            return dose_of(phantom, nuclide, fault)
        return np.asarray(self._dose(phantom, nuclide, fault, 10**9, 1).gy, dtype=np.float64)

    def run(self, phantom: Phantom, nuclide: str, decays: int, seed: int) -> DoseMap:
        return self._dose(phantom, nuclide, {}, decays, seed + 2)


def _tables(nuclide: str) -> tuple[Any, ...]:
    """Radius by cumulative share of energy, and energy, of electrons and of photons."""
    found: list[Any] = []
    kernel = water_kernel(nuclide)
    for part in (kernel.electron, kernel.photon):
        if part is None:
            found += [np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.0]
            continue
        total = float(part.mev[-1] + part.beyond_mev)
        found += [np.asarray(part.r_mm), np.asarray(part.mev) / total, total]
    return tuple(found)


def _map(gy: Array, variance: Array | float = 0.0) -> DoseMap:
    return DoseMap(GRID, gy, np.sqrt(np.broadcast_to(variance, gy.shape)), BALANCE)


def smooth_field(rng: np.random.Generator) -> Array:
    """Unit Gaussian field, white noise smoothed by 20 mm."""
    pad = 16
    field = gaussian_filter(rng.standard_normal((N + 2 * pad,) * 3), 20.0 / EDGE, mode="wrap")
    return field[pad:-pad, pad:-pad, pad:-pad] / field.std()


def statistics() -> dict[str, Callable[[Any], float]]:
    """Each measure as a number that grows with the fault."""
    return {
        "MAE": lambda p: mean_absolute_error(p).value,
        "RMSE": lambda p: root_mean_squared_error(p).value,
        "1 - SSIM": lambda p: 1.0 - structural_similarity(p).value,
        "gamma 3/3 global": lambda p: 100.0 - gamma_pass_rate(p, Criterion(max_gamma=1.1, steps=5)).value,
        "gamma 3/3 local": lambda p: (
            100.0 - gamma_pass_rate(p, Criterion(local=True, max_gamma=1.1, steps=5)).value
        ),
        "DVH distance": lambda p: max(
            dvh_distance(p, r).detail.get("relative_to_mean", 0.0) for r in p.regions
        ),
        "region z": lambda p: max(abs(e.z) for e in region_errors(p, 0.05)),
        "total": lambda p: abs(float(p.difference.sum())),
        "W1 axes": lambda p: axis_bounds(_share(p, p.evaluated), _share(p, p.reference), (EDGE,) * 3)[0],
        "2 SW1": lambda p: sliced(p).value,
        "Bures": lambda p: bures(p).value,
        "KR 15 mm": lambda p: unbalanced(p, price_mm=15.0, block=5).value,
        "moments 4": lambda p: moment_chi_square(p, 4).value,
        "moments 8": lambda p: moment_chi_square(p, 8).value,
        "moments 4 + tol": lambda p: moment_chi_square(p, 4, Tolerance()).value,
        "Christoffel": lambda p: abs(christoffel(p).value - 1.0),
        "scan": lambda p: scan(p).value,
        "scan + tol": lambda p: scan(p, tolerance=0.01).value,
    }


def _share(pair: Any, values: Array) -> Array:
    return normalised(np.where(pair.body, values, 0.0))


def configuration(source: Any, phantom: Phantom, nuclide: str, decays: int, draws: int) -> dict[str, Any]:
    """Values of every measure for nulls and faults with ``draws`` references; power at equal false alarms."""
    rng = np.random.default_rng([decays, NUCLIDES.index(nuclide)])
    truth = source.truth(phantom, nuclide, {})
    maps = {name: source.truth(phantom, nuclide, fault) for name, fault in FAULTS.items()}
    measures = statistics()
    table: dict[str, dict[str, list[float]]] = {m: {} for m in measures}
    verdicts: dict[str, list[str]] = {}
    seconds = dict.fromkeys(measures, 0.0)
    dispersion, noise, made = [], [], 0
    for k in range(draws):
        reference = source.run(phantom, nuclide, decays, k)
        unit = 1.0 + 0.01 * smooth_field(rng)
        cases = {"exact": truth, "null": truth * unit, **{n: m * unit for n, m in maps.items()}}
        for case, evaluated in cases.items():
            pair = paired(_map(evaluated), reference, body=phantom.body, regions=phantom.regions)
            for name, measure in measures.items():
                start = time.process_time()
                table[name].setdefault(case, []).append(float(measure(pair)))
                seconds[name] += time.process_time() - start
            verdicts.setdefault(case, []).append(verdict(pair).state.value)
            made += 1
        dispersion.append(pair.dispersion)
        noise.append(pair.relative_noise)
    power = {m: _power(values) for m, values in table.items()}
    return {
        "phantom": phantom.name, "nuclide": nuclide, "decays": decays, "draws": draws, "source": source.name,
        "noise": float(np.mean(noise)), "dispersion": float(np.median(dispersion)),
        "power": power,
        "null_mean": {m: [float(np.mean(v["exact"])), float(np.mean(v["null"]))] for m, v in table.items()},
        "verdict": {c: {s: found.count(s) for s in sorted(set(found))} for c, found in verdicts.items()},
        "cpu_ms": {m: 1000.0 * s / made for m, s in seconds.items()},
    }  # fmt: skip


def _power(values: dict[str, list[float]]) -> dict[str, float]:
    """Share of draws above the null's own 95 % quantile (its largest value where draws are few)."""
    threshold = float(np.quantile(values["null"], 0.95))
    return {n: float(np.mean(np.array(v) > threshold)) for n, v in values.items() if n != "null"}


def write(results: list[dict[str, Any]], folder: Path) -> None:
    (folder / "compare-study.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "compare-study.md").write_text(_markdown(results), encoding="utf-8")
    _figures(results, folder / "figures")


def _markdown(results: list[dict[str, Any]]) -> str:
    lines = ["# Power of every measure", "", "Written by `make compare-study`; do not edit.", ""]
    for r in results:
        lines += [
            f"## {r['phantom']}, {r['nuclide']}, {r['decays']:.0e} decays", "",
            f"References: {r['source']}; {r['draws']} per case. Noise of the hottest region "
            f"{100 * r['noise']:.2g} %, "
            f"dispersion {r['dispersion']:.2f}. Power at 5 % false alarms against a null with 1 % smooth "
            "error; the column exact is the rate for a map without any error; the last are the mean for "
            "an exact map, and CPU time.", "",
            "| measure | exact | " + " | ".join(FAULTS) + " | floor | ms |",
            "|" + "---|" * (len(FAULTS) + 4),
        ]  # fmt: skip
        for m, power in r["power"].items():
            row = " | ".join(f"{power[f]:.2f}" for f in ("exact", *FAULTS))
            lines.append(f"| {m} | {row} | {r['null_mean'][m][0]:.3g} | {r['cpu_ms'][m]:.1f} |")
        failed = " | ".join(f"{r['verdict'][f].get('fail', 0) / r['draws']:.2f}" for f in ("exact", *FAULTS))
        null = r["verdict"]["null"]
        lines += [f"| **verdict: fail** | {failed} | | |", "",
                  f"Verdict on the null with 1 % error: {null}.", ""]  # fmt: skip
    return "\n".join(lines) + "\n"


SHOWN = ("gamma 3/3 global", "RMSE", "1 - SSIM", "2 SW1", "KR 15 mm", "moments 4 + tol", "scan + tol")
PANELS = ("shift 2 mm", "organ x 1.05", "blur", "no lesion 0.5 mL", "wrong density", "kernel cut")


def _figures(results: list[dict[str, Any]], folder: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(exist_ok=True)
    for phantom, nuclide in dict.fromkeys((r["phantom"], r["nuclide"]) for r in results):
        runs = sorted((r for r in results if (r["phantom"], r["nuclide"]) == (phantom, nuclide)),
                      key=lambda r: r["decays"])  # fmt: skip
        if len(runs) < 2:
            continue
        figure = Figure(figsize=(9, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, fault in zip(figure.subplots(2, 3, sharex=True, sharey=True).flat, PANELS, strict=True):
            for name in SHOWN:
                axes.semilogx([r["decays"] for r in runs], [r["power"][name][fault] for r in runs], "o-",
                              ms=3, lw=1.2, label=name)  # fmt: skip
            axes.set_title(fault, fontsize=9)
            axes.set_ylim(-0.03, 1.03)
            axes.grid(color="#dddddd", lw=0.5)
        figure.supxlabel("decays of the reference", fontsize=9)
        figure.supylabel("power at 5 % false alarms", fontsize=9)
        figure.suptitle(f"{phantom}, {nuclide}; references: {runs[0]['source']}", fontsize=10)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
        figure.savefig(folder / f"compare-power-{phantom}-{nuclide}.png", dpi=90)


def _example(source: Any, folder: Path) -> None:
    """The one-page picture of a verdict: a lesion of 2 mL is missing, 1e6 decays."""
    from dicomnode.compare.picture import picture_png

    phantom = PHANTOMS[0]
    reference = source.run(phantom, "Lu-177", 10**6, 0)
    evaluated = source.truth(phantom, "Lu-177", FAULTS["no lesion 2 mL"])
    scale = 10.0 / float(reference.gy.max())  # Gy of a treatment rather than of one decay
    shown = replace(reference, gy=reference.gy * scale, sigma_gy=reference.sigma_gy * scale, noise=None)
    pair = paired(_map(evaluated * scale), shown, body=phantom.body, regions=phantom.regions, decays=1e6)
    folder.mkdir(exist_ok=True)
    (folder / "compare-verdict.png").write_bytes(picture_png(pair, verdict(pair), dpi=80))


def _key(result: dict[str, Any]) -> tuple[Any, ...]:
    return result["source"], result["phantom"], result["nuclide"], result["decays"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", help="A registered engine instead of the synthetic tracks.")
    parser.add_argument("--decays", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--nuclides", nargs="+", default=list(NUCLIDES))
    parser.add_argument("--phantoms", nargs="+", default=[p.name for p in PHANTOMS])
    parser.add_argument("--keep", action="store_true", help="Add to the results there are.")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    given = parser.parse_args()
    source = Engine(given.engine) if given.engine else Tracks()
    _example(source, given.out / "figures")
    results: list[dict[str, Any]] = []
    if given.keep:
        results = json.loads((given.out / "compare-study.json").read_text(encoding="utf-8"))
    pairs = [(p, n) for n in given.nuclides for p in PHANTOMS if p.name in given.phantoms]
    # Every phantom and nuclide is met early, so that a run that is cut short still compares them.
    for phantom, nuclide in sorted(pairs, key=lambda p: (PHANTOMS.index(p[0]) + NUCLIDES.index(p[1])) % 2):
        for decays in given.decays:
            start = time.perf_counter()
            found = configuration(source, phantom, nuclide, int(decays), given.draws)
            results = [r for r in results if _key(r) != _key(found)] + [found]
            write(results, given.out)
            print(phantom.name, nuclide, f"{decays:.0e}", f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
