"""``dicomnode kernels``: voxel S-values of a nuclide in a medium, and files of kernels for the engines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.errors import DicomnodeError

if TYPE_CHECKING:
    from dicomnode.model import Nuclide
    from dicomnode.physics.interactions import Medium
    from dicomnode.physics.kernels import PointKernel


@click.command("kernels")
@click.option("--nuclide", "nuclide_name", required=True, help="Such as Lu-177; Ac-225+progeny for a chain.")
@click.option("--medium", help="A tissue of `dicomnode materials`: voxel S-values in it.")
@click.option("--density", type=float, help="g/cm3, instead of that of the tissue.")
@click.option("--voxel-mm", nargs=3, type=float, help="Voxel edges x y z, mm.")
@click.option(
    "--offsets", type=click.IntRange(1, 200), default=13, show_default=True, help="Along each axis."
)
@click.option("--all-media", is_flag=True, help="The file of kernels that vsv and multi-vsv read.")
@click.option("--decays", type=float, help="Histories of electrons and photons each.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="NPZ; with --all-media a folder.")
def kernels(
    nuclide_name: str,
    medium: str | None,
    density: float | None,
    voxel_mm: tuple[float, float, float] | None,
    offsets: int,
    all_media: bool,
    decays: float | None,
    seed: int,
    out: Path,
) -> None:
    """Voxel S-values, mGy/(MBq s), by offset (x, y, z) from the source voxel.

    Kernels that come with the program are used where there are any; others are simulated and kept in the
    user's cache under the digest of all that they depend on.
    """
    try:
        if all_media:
            click.echo(_all_media(nuclide_name, decays, seed, out))
        elif medium and voxel_mm:
            click.echo(_s_values(nuclide_name, medium, density, voxel_mm, offsets, decays, seed, out))
        else:
            raise click.UsageError("give --medium and --voxel-mm, or --all-media")
    except DicomnodeError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


def _named(name: str) -> Nuclide:
    """A nuclide, or its chain where progeny are asked for."""
    from dicomnode.errors import OutOfDomain
    from dicomnode.physics.chains import BRANCHES, has_progeny, with_progeny
    from dicomnode.physics.nuclides import nuclide

    bare, plus, how = name.partition("+")
    if plus and how != "progeny":
        raise OutOfDomain("nuclide of a kernel", name, "", "a nuclide, or one with +progeny")
    if plus:
        return with_progeny(bare)
    found = nuclide(bare)
    if has_progeny(found.name):
        valid = f"{found.name}+progeny" if found.name in BRANCHES else "those with a known chain"
        raise OutOfDomain("nuclide with radioactive progeny", found.name, "", valid)
    return found


def _all_media(name: str, decays: float | None, seed: int, folder: Path) -> str:
    from dicomnode.montecarlo.kernels import ELECTRONS, PHOTONS, cached_set
    from dicomnode.physics.media import file_name, media, water

    found = _named(name)
    raw, was_there = cached_set(
        found, (water(), *media()), decays or ELECTRONS, decays or PHOTONS, seed, cache_folder()
    )
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / file_name(found.name)
    partial = place.with_suffix(".partial")
    partial.write_bytes(raw)
    partial.replace(place)  # a node that reads the folder meets whole files only
    how = "from the cache" if was_there else "simulated"
    return f"{place}: {found.name} in water and {len(media())} media, {how}"


def cache_folder() -> Path:
    """Where kernels of earlier runs lie."""
    import os

    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "dicomnode" / "kernels"


def _kernel(found: Nuclide, medium: Medium, decays: float | None, seed: int) -> PointKernel:
    """One of those of the package where it has the medium and no statistics are asked for, else simulated."""
    from dicomnode.montecarlo.kernels import ELECTRONS, PHOTONS, cached_set
    from dicomnode.physics.kernel_files import from_bytes
    from dicomnode.physics.media import kernel_bytes, kernel_names, water

    if decays is None and medium == water() and found.name in kernel_names():
        return from_bytes(kernel_bytes(found.name), found.name, (medium,))[0]
    raw, _ = cached_set(found, (medium,), decays or ELECTRONS, decays or PHOTONS, seed, cache_folder())
    return from_bytes(raw, found.name, (medium,))[0]


def _s_values(
    nuclide_name: str,
    medium_name: str,
    density: float | None,
    voxel_mm: tuple[float, float, float],
    offsets: int,
    decays: float | None,
    seed: int,
    out: Path,
) -> str:
    import numpy as np

    from dicomnode.errors import OutOfDomain
    from dicomnode.physics.interactions import medium_of
    from dicomnode.physics.tissues import tissue
    from dicomnode.physics.voxel_kernels import voxel_kernel

    if not all(0.1 <= edge <= 50 for edge in voxel_mm):
        raise OutOfDomain("voxel edge", voxel_mm, "mm", "0.1 to 50 mm")
    medium = medium_of(tissue(medium_name), density)
    kernel = _kernel(_named(nuclide_name), medium, decays, seed)
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
