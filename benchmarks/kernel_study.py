"""Kernels against EGSnrc, and multi-vsv against our Monte Carlo: figures and tables of docs/physics.md.

    python benchmarks/kernel_study.py [--decays 4e6] [--out docs/figures]

Needs the reference data beside the checkout (or DICOMNODE_SHARED). Draws kernels-water.png, kernels-media.png
and multi-vsv-phantom.png, and prints region means and voxel differences in the phantom.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from dicomnode.dose.registry import build
from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import Problem, simulate
from dicomnode.montecarlo.source import members
from dicomnode.physics.interactions import Medium
from dicomnode.physics.kernels import JOULE_PER_MEV
from dicomnode.physics.media import medium_kernels, water_kernel
from dicomnode.physics.nuclides import nuclide

SHARED = Path(os.environ.get("DICOMNODE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
REFERENCE = SHARED / "reference" / "egsnrc"
NUCLIDES = ("Lu-177", "Y-90", "I-131")
REGIONS = ("source in tissue", "in lung", "in bone", "rest of tissue", "of lung", "of bone")
ENGINES = {
    "vsv": ("vsv", {}),
    "published (target, nearest)": ("multi-vsv", {}),
    "target, linear": ("multi-vsv", {"between": "linear"}),
    "source, linear": ("multi-vsv", {"kernel_of": "source", "between": "linear"}),
    "both, linear": ("multi-vsv", {"kernel_of": "both", "between": "linear"}),
}
# Media of the reference: its README, "Media".
MEDIA = (
    Medium("soft", 1.04, ((1, 0.101172), (6, 0.111), (7, 0.026), (8, 0.761828))),
    Medium(
        "lung", 0.26,
        ((1, 0.103), (6, 0.105), (7, 0.031), (8, 0.749), (11, 0.002), (15, 0.002), (16, 0.003), (17, 0.003),
         (19, 0.002)),
    ),
    Medium(
        "bone", 1.85,
        ((1, 0.047234), (6, 0.14433), (7, 0.04199), (8, 0.446096), (12, 0.0022), (15, 0.10497), (16, 0.00315),
         (20, 0.20993), (30, 0.0001)),
    ),
)  # fmt: skip


def reference(name: str, which: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(edges, MeV per shell, sigma) of EGSnrc at nominal energy."""
    data = np.load(REFERENCE / f"dpk_water_{name.replace('-', '')}.npz")
    if f"r_edges_mm_{which}" not in data:
        return None
    info = dict(zip(data["info_fields"].tolist(), data[f"info_{which}"].tolist(), strict=True))
    scale = info["MeV_per_decay_nominal"] / info["MeV_per_decay_sampled"]
    energy, sigma = data[f"E_MeV_per_decay_{which}"] * scale, data[f"E_sigma_{which}"] * scale
    return data[f"r_edges_mm_{which}"], energy, sigma


def joined(edges: np.ndarray, energy: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Shells joined to 0.4 %: rows of (inner, outer, energy, sigma)."""
    rows, start = [], 0
    for stop in range(1, len(edges)):
        total, deviation = energy[start:stop].sum(), np.sqrt((sigma[start:stop] ** 2).sum())
        if deviation <= 0.004 * total and edges[stop] >= 1.08 * edges[start]:
            rows.append((edges[start], edges[stop], total, deviation))
            start = stop
    return np.array(rows)


def draw_water(out: Path) -> None:
    """r2-weighted kernels in water (lines ours, points EGSnrc), and the ratios."""
    panels = [(n, c) for c in ("electron", "photon") for n in NUCLIDES if reference(n, c) is not None]
    figure, axes = plt.subplots(
        2, len(panels), figsize=(3.2 * len(panels), 5), sharex="col", layout="constrained"
    )
    for (above, below), (name, which) in zip(axes.T, panels, strict=True):
        rows = joined(*reference(name, which))  # type: ignore[misc]
        rows = rows[rows[:, 1] <= (300 if which == "photon" else 30)]
        ours = getattr(water_kernel(name), which)
        width = rows[:, 1] - rows[:, 0]
        found = ours.within(rows[:, 1]) - ours.within(rows[:, 0])
        middle = (rows[:, 0] + rows[:, 1]) / 2
        above.step(rows[:, 0], 1e3 * found / width, where="post", lw=1)
        above.plot(middle, 1e3 * rows[:, 2] / width, "k.", ms=3)
        above.set_title(f"{name}, {which}s", fontsize=9)
        below.errorbar(middle, found / rows[:, 2], rows[:, 3] / rows[:, 2], fmt="k.", ms=3, lw=0.8)
        below.axhspan(0.99, 1.01, color="0.9")
        below.set_ylim(0.95, 1.05)
        below.set_xlabel("distance, mm")
        if which == "photon":
            below.set_xscale("log")
    axes[0, 0].set_ylabel("keV per decay and mm")
    axes[1, 0].set_ylabel("ours / EGSnrc")
    save(figure, out / "kernels-water.png")


def draw_media(out: Path) -> None:
    """Energy within a radius by areal density, over that in water: what areal scaling alone misses."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
    panels = (("Lu-177", "electron"), ("Y-90", "electron"), ("Lu-177", "photon"))
    for axis, (name, which) in zip(axes, panels, strict=True):
        water = getattr(water_kernel(name), which)
        r_water = np.geomspace(0.05, 1.5 if name == "Lu-177" else 12, 200)
        if which == "photon":
            r_water = np.geomspace(1, 500, 200)
        for kernel in medium_kernels(name)[::3]:
            part, rho = getattr(kernel, which), kernel.density_g_per_cm3
            ratio = part.within(r_water / rho) / water.within(r_water)
            axis.plot(r_water / 10, ratio, lw=1, label=f"{rho:.2f} g/cm3")
        axis.set_xscale("log")
        axis.set_xlabel("areal radius, g/cm2")
        axis.set_title(f"{name}, {which}s", fontsize=9)
    axes[0].set_ylabel("energy within radius / in water")
    axes[2].legend(fontsize=7)
    save(figure, out / "kernels-media.png")


def phantom() -> tuple[Grid, Anatomy, TiaMap, list[np.ndarray], np.ndarray]:
    """(grid, anatomy, TIA of 1e12 decays, regions, material) of the reference's phantom a."""
    maps = np.load(REFERENCE / "phantom_a_maps.npz")
    turned = {key: np.ascontiguousarray(maps[key].transpose(2, 1, 0)) for key in maps if maps[key].ndim == 3}
    grid = Grid((40, 40, 40), (4.0, 4.0, 4.0))
    anatomy = Anatomy(DensityMap(grid, turned["density_g_cm3"]), np.ones((40, 40, 40), bool))
    tia = TiaMap(grid, turned["source_fraction"] * (1e6 / grid.voxel_ml))
    label, material = turned["region_label"], turned["material_index"].astype(int)
    regions = [label == n for n in (1, 2, 3)] + [(label == 0) & (material == n) for n in range(3)]
    return grid, anatomy, tia, regions, material


def truth(name: str, decays: float) -> np.ndarray:
    """Dose by our Monte Carlo in the media of the reference, Gy."""
    grid, anatomy, tia, _, material = phantom()
    source = tia.mbq_s_per_ml.astype(float) * grid.voxel_ml * 1e6
    problem = Problem(
        source, anatomy.density.g_per_cm3, material, MEDIA, grid.spacing_mm, members(nuclide(name))
    )
    found = simulate(problem, TransportSettings(decays=decays), 5, lambda _done, _what: None)
    return np.asarray(found.mev * JOULE_PER_MEV / (anatomy.density.mass_g * 1e-3))


def compare(name: str, true: np.ndarray) -> dict[str, np.ndarray]:
    """Doses of the engines; prints region means over the truth and rms differences of voxels."""
    _, anatomy, tia, regions, _ = phantom()
    mass, doses = anatomy.density.mass_g, {}
    counted = true > 0.05 * true.max()
    print(f"\n{name}: mean over Monte Carlo in {', '.join(REGIONS)}; rms of voxels above 5 % of the maximum")
    for label, (engine, options) in ENGINES.items():
        gy = build(engine, options).dose(tia, anatomy, nuclide(name)).gy.astype(float)
        doses[label] = gy
        means = [(gy * mass)[r].sum() / (true * mass)[r].sum() for r in regions]
        rms = np.sqrt(np.mean((gy / true - 1)[counted] ** 2))
        print(f"{label:28s}", " ".join(f"{m:6.3f}" for m in means), f"  rms {100 * rms:5.1f} %", flush=True)
    return doses


def draw_phantom(out: Path, found: dict[str, tuple[np.ndarray, dict[str, Any]]]) -> None:
    """Differences to Monte Carlo in the slice through the sources, in per cent of the local dose."""
    shown = ("vsv", "published (target, nearest)", "target, linear", "both, linear")
    figure, axes = plt.subplots(
        len(found), len(shown) + 1, figsize=(13, 2.9 * len(found)), layout="constrained"
    )
    for row, (name, (true, doses)) in zip(axes, found.items(), strict=True):
        slice_ = true[19]
        row[0].imshow(np.log10(slice_ / true.max() + 1e-6), vmin=-4, vmax=0, cmap="inferno")
        row[0].set_title(f"{name}: log dose", fontsize=8)
        for axis, label in zip(row[1:], shown, strict=True):
            off = np.where(slice_ > 1e-3 * true.max(), 100 * (doses[label][19] / slice_ - 1), np.nan)
            image = axis.imshow(off, vmin=-30, vmax=30, cmap="RdBu_r")
            axis.set_title(label, fontsize=8)
        figure.colorbar(image, ax=list(row), label="% of Monte Carlo", fraction=0.02)
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    save(figure, out / "multi-vsv-phantom.png")


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decays", type=float, default=4e6)
    default = Path(__file__).resolve().parents[1] / "docs" / "figures"
    parser.add_argument("--out", type=Path, default=default)
    given = parser.parse_args()
    draw_water(given.out)
    draw_media(given.out)
    found = {}
    for name in NUCLIDES:
        true = truth(name, given.decays)
        found[name] = (true, compare(name, true))
    draw_phantom(given.out, found)


if __name__ == "__main__":
    main()
