"""``dicomnode kernels``: voxel S-values of a nuclide in a medium, by our own Monte Carlo."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dicomnode.errors import DicomnodeError


@click.command("kernels")
@click.option("--nuclide", "nuclide_name", required=True, help="Such as Lu-177.")
@click.option("--medium", required=True, help="A tissue of `dicomnode materials`.")
@click.option("--density", type=float, help="g/cm3, instead of that of the tissue.")
@click.option("--voxel-mm", nargs=3, type=float, required=True, help="Voxel edges x y z, mm.")
@click.option(
    "--offsets", type=click.IntRange(1, 200), default=13, show_default=True, help="Along each axis."
)
@click.option("--decays", type=float, default=1e6, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="NPZ.")
def kernels(
    nuclide_name: str,
    medium: str,
    density: float | None,
    voxel_mm: tuple[float, float, float],
    offsets: int,
    decays: float,
    seed: int,
    out: Path,
) -> None:
    """Voxel S-values, mGy/(MBq s), by offset (x, y, z) from the source voxel."""
    try:
        click.echo(_run(nuclide_name, medium, density, voxel_mm, offsets, decays, seed, out))
    except DicomnodeError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


def _run(
    nuclide_name: str,
    medium_name: str,
    density: float | None,
    voxel_mm: tuple[float, float, float],
    offsets: int,
    decays: float,
    seed: int,
    out: Path,
) -> str:
    import numpy as np

    from dicomnode.errors import OutOfDomain
    from dicomnode.montecarlo.kernels import point_kernel
    from dicomnode.physics.interactions import medium_of
    from dicomnode.physics.nuclides import nuclide
    from dicomnode.physics.tissues import tissue
    from dicomnode.physics.voxel_kernels import voxel_kernel

    if not all(0.1 <= edge <= 50 for edge in voxel_mm):
        raise OutOfDomain("voxel edge", voxel_mm, "mm", "0.1 to 50 mm")
    medium = medium_of(tissue(medium_name), density)
    kernel = point_kernel(nuclide(nuclide_name), medium, decays, seed)
    found = voxel_kernel(kernel, voxel_mm, (offsets,) * 3)
    electron, photon = (
        found.mgy_per_mbq_s(mev).transpose(2, 1, 0) for mev in (found.electron_mev, found.photon_mev)
    )
    with out.open("wb") as file:
        np.savez_compressed(
            file, S_electron=electron, S_photon=photon, S_total=electron + photon, voxel_mm=voxel_mm,
            density_g_cm3=medium.density_g_per_cm3, mev_beyond_reach=kernel.beyond_mev,
            reach_mm=kernel.reach_mm, digest=kernel.digest,
        )  # fmt: skip
    return (
        f"{kernel.nuclide} in {medium.name}: self {float((electron + photon)[0, 0, 0]):.5g} mGy/(MBq s); "
        f"{kernel.beyond_mev * 1e3:.3g} keV per decay pass {kernel.reach_mm:.0f} mm"
    )
