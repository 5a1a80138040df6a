"""Figures of docs/physics.md: kernels in water and in the media, and differences in the phantom."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from egsnrc import NUCLIDES, has_component, joined, ours_gy, shells
from engines import engine_gy
from page import DOCS, Table
from phantom import DECAYS

mpl.use("Agg")
from matplotlib import pyplot as plt

from dicomnode.physics.media import medium_kernels, water_kernel

FIGURES = DOCS / "figures"
SHOWN = (
    "vsv", "target, nearest, medium (as published)", "target, linear, medium", "both, linear, medium",
)  # fmt: skip


def draw_water() -> None:
    """r2-weighted kernels in water (lines ours, points EGSnrc), and the ratios."""
    panels = [(n, c) for c in ("electron", "photon") for n in NUCLIDES if has_component(n, c)]
    figure, axes = plt.subplots(
        2, len(panels), figsize=(3.2 * len(panels), 5), sharex="col", layout="constrained"
    )
    for (above, below), (name, which) in zip(axes.T, panels, strict=True):
        rows = joined(*shells(name, which))
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
    save(figure, "kernels-water.png")


def draw_media() -> None:
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
    save(figure, "kernels-media.png")


def draw_phantom() -> None:
    """Differences to Monte Carlo in the slice through the sources, in per cent of the local dose."""
    size = (len(NUCLIDES), len(SHOWN) + 1)
    figure, axes = plt.subplots(*size, figsize=(13, 2.9 * len(NUCLIDES)), layout="constrained")
    for row, name in zip(axes, NUCLIDES, strict=True):
        true = ours_gy(name, DECAYS[name])[0]
        slice_ = true[19]
        row[0].imshow(np.log10(slice_ / true.max() + 1e-6), vmin=-4, vmax=0, cmap="inferno")
        row[0].set_title(f"{name}: log dose", fontsize=8)
        for axis, label in zip(row[1:], SHOWN, strict=True):
            known = np.where(slice_ > 1e-3 * true.max(), slice_, np.nan)
            off = 100 * (engine_gy(label, name)[19] / known - 1)
            image = axis.imshow(off, vmin=-30, vmax=30, cmap="RdBu_r")
            axis.set_title(label, fontsize=8)
        figure.colorbar(image, ax=list(row), label="% of Monte Carlo", fraction=0.02)
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    save(figure, "multi-vsv-phantom.png")


def save(figure: Any, name: str) -> None:
    figure.savefig(FIGURES / name, dpi=110)
    plt.close(figure)


def draw() -> list[Table]:
    """All figures; no table."""
    FIGURES.mkdir(exist_ok=True)
    draw_water()
    draw_media()
    draw_phantom()
    return []
