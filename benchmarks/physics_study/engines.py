"""vsv and multi-vsv with each of its options against our Monte Carlo in the phantom; two sources of 225Ac."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
from egsnrc import NUCLIDES, REGIONS, Array, ours_gy, phantom, phantom_gy
from page import Table
from phantom import DECAYS

from dicomnode.dose.registry import build
from dicomnode.physics.nuclides import nuclide

HOT = 0.05
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "vsv": ("vsv", {}),
    "target, nearest, medium (as published)": ("multi-vsv", {}),
    "target, nearest, voxel": ("multi-vsv", {"mass": "voxel"}),
    **{
        f"{of}, {between}, medium": ("multi-vsv", {"kernel_of": of, "between": between})
        for of, between in list(product(("target", "source", "both"), ("nearest", "linear")))[1:]
    },
}


@cache
def engine_gy(label: str, name: str) -> Array:
    """Dose of 1e12 decays in the phantom."""
    engine, options = OPTIONS[label]
    return build(engine, options).dose(phantom().tia, phantom().anatomy, nuclide(name)).gy.astype(float)


def against_monte_carlo(name: str) -> Table:
    """Region means and voxels of every option."""
    true, kg, rows = ours_gy(name, DECAYS[name])[0], phantom().kg, []
    counted = true > HOT * true.max()
    for label in OPTIONS:
        gy = engine_gy(label, name)
        means = [(gy * kg)[r].sum() / (true * kg)[r].sum() for r in phantom().regions]
        rms = float(np.sqrt(np.mean((gy[counted] / true[counted] - 1) ** 2)))
        rows.append((label, *(f"{m:.3f}" for m in means), f"{100 * rms:.1f} %"))
    note = f"rms: relative difference of voxels above {100 * HOT:.0f} % of the maximum. "
    note += f"Monte Carlo of {DECAYS[name]:.1e} decays."
    head = ("kernel_of, between, mass", *REGIONS, "rms")
    return Table(f"Phantom a, {name}: vsv and multi-vsv over our Monte Carlo", head, rows, note)


def tables() -> list[Table]:
    return [against_monte_carlo(name) for name in NUCLIDES]


def vsv_against_egsnrc() -> Table:
    """Region means of vsv over EGSnrc's, with what the engine itself says of them."""
    kg, rows = phantom().kg, []
    for name in NUCLIDES:
        found, true = build("vsv").dose(phantom().tia, phantom().anatomy, nuclide(name)), phantom_gy(name)[0]
        energy = [(true * kg)[r].sum() for r in phantom().regions]
        means = [(found.gy * kg)[r].sum() for r in phantom().regions]
        sigmas = [(found.sigma_gy * kg)[r].sum() for r in phantom().regions]
        rows.append((
            name, *(f"{m / e:.3f} ({s / m:.2f})" for m, s, e in zip(means, sigmas, energy, strict=True)),
        ))  # fmt: skip
    note = "In brackets the engine's own sigma over its mean, voxels of a region erring together."
    return Table("Phantom a: vsv over EGSnrc", ("nuclide", *REGIONS), rows, note)
