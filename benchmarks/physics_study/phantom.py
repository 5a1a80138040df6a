"""Our Monte Carlo in the phantom of lung, tissue and bone, against EGSnrc: regions and voxels."""

from __future__ import annotations

import numpy as np
from egsnrc import NUCLIDES, REGIONS, Array, Mask, ours_gy, phantom, phantom_gy
from page import Table, with_sigma

DECAYS = {"Lu-177": 1.5e7, "Y-90": 4e6, "I-131": 1e7}
CORRELATED = 1.5
"""EGSnrc's sigma of a region takes voxels for independent; one history hits several (its README)."""
LEVELS = 40


def regions() -> Table:
    """Region means of the three nuclides."""
    rows = []
    for name in NUCLIDES:
        (ours, variance), (theirs, other) = ours_gy(name, DECAYS[name]), phantom_gy(name)
        kg, cells = phantom().kg, []
        for where in phantom().regions:
            energy = (theirs * kg)[where].sum()
            ratio = (ours * kg)[where].sum() / energy
            sigma = CORRELATED * np.sqrt((other * kg**2)[where].sum()) / energy
            cells.append(
                with_sigma(ratio, float(np.hypot(sigma, np.sqrt((variance * kg**2)[where].sum()) / energy)))
            )
        rows.append((name, f"{DECAYS[name]:.1e}", *cells))
    note = f"Sigma of both codes, EGSnrc's times {CORRELATED} (correlated voxels)."
    return Table("Phantom a: region means, ours / EGSnrc", ("nuclide", "our decays", *REGIONS), rows, note)


def voxels() -> Table:
    """All 64000 voxels of 177Lu by how well the reference knows them."""
    (ours, variance), (theirs, other) = ours_gy("Lu-177", DECAYS["Lu-177"]), phantom_gy("Lu-177")
    material, relative = phantom().material, np.sqrt(other) / np.maximum(theirs, 1e-300)
    chosen = {
        "all": np.ones(ours.shape, bool),
        "EGSnrc's sigma below 20 %": relative < 0.2,
        "dose above 1 % of the maximum": ours > 0.01 * ours.max(),
        "tissue, EGSnrc's sigma 20 to 30 %": (material == 0) & (relative >= 0.2) & (relative < 0.3),
        "tissue, above 30 %": (material == 0) & (relative >= 0.3),
        "lung, above 30 %": (material == 1) & (relative >= 0.3),
    }
    rows = [_row(label, where, ours, theirs, variance + other) for label, where in chosen.items()]
    smooth = variance + by_level(other, theirs, ours, material)
    rows.append(_row("all, EGSnrc's variance by level of dose", chosen["all"], ours, theirs, smooth))
    note = (
        "z: (ours - EGSnrc) / sigma of the difference. By level of dose: the reference's variance taken in "
        f"proportion to dose within a tissue and one of {LEVELS} levels of our dose, because a voxel that "
        "few histories hit has a low dose and a low sigma by the same chance."
    )
    head = (
        "voxels, 177Lu",
        "number",
        "within 2 sigma + 1 %",
        "mean z",
        "standard deviation of z",
        "z < -4",
        "z > 4",
    )
    return Table("Phantom a: voxels", head, rows, note)


def _row(label: str, where: Mask, ours: Array, theirs: Array, variance: Array) -> tuple[str, ...]:
    off, sigma = (ours - theirs)[where], np.sqrt(variance[where])
    z = off / np.maximum(sigma, 1e-300)
    close = np.mean(np.abs(off) <= 2 * sigma + 0.01 * theirs[where])
    return (
        label, str(np.count_nonzero(where)), f"{100 * close:.1f} %", f"{z.mean():.3f}", f"{z.std():.2f}",
        f"{100 * np.mean(z < -4):.2f} %", f"{100 * np.mean(z > 4):.2f} %",
    )  # fmt: skip


def by_level(variance: Array, dose: Array, smooth_dose: Array, material: np.ndarray) -> Array:
    """A variance in proportion to dose within a material and a level of the smoother dose."""
    level = np.digitize(smooth_dose, np.quantile(smooth_dose, np.linspace(0, 1, LEVELS + 1)[1:-1]))
    group = (material * (LEVELS + 1) + level).ravel()
    ratio = np.bincount(group, variance.ravel()) / np.maximum(np.bincount(group, dose.ravel()), 1e-300)
    return np.asarray(ratio[group].reshape(dose.shape) * smooth_dose)
