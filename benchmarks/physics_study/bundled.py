"""The kernels that come with the package: against EGSnrc, and what is known of each by itself."""

from __future__ import annotations

import numpy as np
from egsnrc import NUCLIDES, REFERENCE, bare, has_component, joined, shells
from page import Table, with_sigma

from dicomnode.physics.kernels import RadialKernel
from dicomnode.physics.media import kernel_names, water_kernel
from dicomnode.physics.voxel_kernels import voxel_kernel

UNBOUNDED_MM = 300.0
"""EGSnrc's sphere of 500 mm lies in vacuum: nothing comes back from beyond, which is seen from here on."""
OFFSETS = ((0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 0, 0), (2, 1, 0))


def shells_against_egsnrc() -> Table:
    """Running sum, radii and single shells of each component."""
    rows = []
    for name in NUCLIDES:
        for which in ("electron", "photon"):
            kernel: RadialKernel | None = getattr(water_kernel(name), which)
            if has_component(name, which) and kernel is not None:
                rows.append((name, which, *_shells(name, which, kernel)))
    head = ("nuclide", "component", "largest difference of the running sum", "radii of 50, 90, 95 %, mm",
            "EGSnrc", "shells within 1 % + 2 sigma", "largest difference of the others")  # fmt: skip
    note = (
        "Shells: joined until EGSnrc knows them to 0.4 %, those with more than 1 % of the largest energy per "
        f"mm; ours are taken to be known to 0.3 %. Photons to {UNBOUNDED_MM:.0f} mm."
    )
    return Table("Bundled kernels in water against EGSnrc", head, rows, note)


def _shells(name: str, which: str, kernel: RadialKernel) -> tuple[str, ...]:
    edges, energy, sigma = shells(name, which)
    inside = edges[1:] <= UNBOUNDED_MM
    most = np.abs(kernel.within(edges[1:]) - np.cumsum(energy))[inside].max() / energy.sum()
    running = np.cumsum(energy) / kernel.total_mev
    shares = (0.5, 0.9, 0.95) if which == "electron" else (0.5,)  # the others lie where the spheres differ
    theirs = [float(np.interp(x, running, edges[1:])) for x in shares]
    rows = joined(edges, energy, sigma)
    rows = rows[rows[:, 1] <= UNBOUNDED_MM]
    per_mm = rows[:, 2] / (rows[:, 1] - rows[:, 0])
    rows = rows[per_mm > 0.01 * per_mm.max()]
    off = (kernel.within(rows[:, 1]) - kernel.within(rows[:, 0])) / rows[:, 2] - 1
    out = np.abs(off) > 0.01 + 2 * np.hypot(rows[:, 3] / rows[:, 2], 0.003)
    worst = "none" if not out.any() else f"{100 * off[out][np.abs(off[out]).argmax()]:+.1f} %"
    ours = [kernel.radius_of(x) for x in shares]
    return (
        f"{100 * most:.2f} %", ", ".join(f"{r:.4g}" for r in ours), ", ".join(f"{r:.4g}" for r in theirs),
        f"{np.count_nonzero(~out)} of {len(out)}", worst,
    )  # fmt: skip


def s_values() -> Table:
    """Voxel S-values of all emissions against those that EGSnrc scored in voxels."""
    rows = []
    for file in sorted(REFERENCE.glob("vsv_*mm_*.npz")):
        name = next((n for n in NUCLIDES if file.stem.endswith(bare(n))), None)
        if name is None or "softtissue" in file.stem:
            continue
        data = np.load(file)
        x, y, z = (float(edge) for edge in data["voxel_mm"])
        made = voxel_kernel(water_kernel(name), (x, y, z), (3, 3, 3))
        total = made.mgy_per_mbq_s(made.total_mev).transpose(2, 1, 0)
        ratio, sigma = (
            total / data["S_total"][:3, :3, :3],
            (data["S_total_sigma"] / data["S_total"])[:3, :3, :3],
        )
        cells = [with_sigma(ratio[o], ratio[o] * sigma[o]) for o in OFFSETS]
        rows.append((name, " x ".join(f"{edge:g}" for edge in (x, y, z)), *cells))
    head = ("nuclide", "voxel, mm", *(f"({', '.join(map(str, o))})" for o in OFFSETS))
    return Table("Voxel S-values from the bundled kernels over EGSnrc, by offset (x, y, z)", head, rows,
                 "Sigma of EGSnrc alone.")  # fmt: skip


def all_nuclides() -> Table:
    """What each file holds."""
    rows = []
    for name in kernel_names():
        kernel = water_kernel(name)
        electron, photon = kernel.electron, kernel.photon
        radii = ", ".join(f"{electron.radius_of(x):.3g}" for x in (0.5, 0.9, 0.99))
        half = f"{photon.radius_of(0.5):.3g}" if photon else ""
        rows.append((
            name, f"{1e3 * electron.total_mev:.2f}", f"{1e3 * photon.total_mev:.2f}" if photon else "", radii,
            half, f"{1e3 * kernel.beyond_mev:.2g}",
        ))  # fmt: skip
    head = ("nuclide", "electrons, keV per decay", "photons, keV", "50, 90, 99 % radii of electrons, mm",
            "50 % radius of photons, mm", "beyond 1 m, keV")  # fmt: skip
    return Table(
        "Bundled kernels in water", head, rows, "Alpha particles and recoils of chains are not in them."
    )


def tables() -> list[Table]:
    return [shells_against_egsnrc(), s_values(), all_nuclides()]
