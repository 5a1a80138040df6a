"""Water and twenty media along the Schneider line, lung to cortical bone, and the kernels in them.

The kernels of the usual therapy nuclides come with the package (``data/medium_kernels_*.npz``; data/README.md
says how they were made); ``dicomnode kernels --all-media`` makes those of other nuclides, in a folder that
the engines are told of.
"""

from __future__ import annotations

import hashlib
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.physics.anatomy import schneider_tissue
from dicomnode.physics.interactions import Medium, medium_of
from dicomnode.physics.kernel_files import from_bytes
from dicomnode.physics.kernels import WATER_G_PER_CM3, PointKernel
from dicomnode.physics.nuclides import canonical_name
from dicomnode.physics.tissues import tissue

PREFIX = "medium_kernels_"

# Closest around soft tissue, where most voxels of a patient lie; elsewhere steps of 8 to 25 %.
MEDIA_G_PER_CM3 = (
    0.20, 0.25, 0.31, 0.39, 0.49, 0.61, 0.75, 0.88, 0.95, 1.00, 1.04, 1.08, 1.13, 1.20, 1.30, 1.40, 1.51,
    1.63, 1.76, 1.90,
)  # fmt: skip


@cache
def media() -> tuple[Medium, ...]:
    """The twenty media in order of density."""
    return tuple(medium_of(schneider_tissue(rho), rho) for rho in MEDIA_G_PER_CM3)


@cache
def water() -> Medium:
    """Liquid water of 1 g/cm3."""
    return medium_of(tissue("water"), WATER_G_PER_CM3)


def kernel_names(folder: str = "") -> tuple[str, ...]:
    """Nuclides with kernels: those of the package, and those of the files in a folder.

    Raises
    ------
    OutOfDomain : no such folder
    """
    found = {_name_of(path.name) for path in (files("dicomnode.physics") / "data").iterdir()}
    if folder:
        if not Path(folder).is_dir():
            raise OutOfDomain("folder of kernels", folder, "", "a folder that is there")
        found |= {_name_of(path.name) for path in Path(folder).iterdir()}
    return tuple(sorted(found - {""}))


def file_name(name: str) -> str:
    """Name of the file with the kernels of a nuclide; the plus of a chain becomes a low line."""
    return f"{PREFIX}{name.replace('+', '_')}.npz"


def _name_of(file: str) -> str:
    if not (file.startswith(PREFIX) and file.endswith(".npz")):
        return ""
    return file.removeprefix(PREFIX).removesuffix(".npz").replace("_", "+")


def kernel_bytes(name: str, folder: str = "") -> bytes:
    """The file with the kernels of a nuclide; one in the folder comes before that of the package.

    Raises
    ------
    OutOfDomain : there is none
    """
    name = _own_name(name)
    if folder and (Path(folder) / file_name(name)).is_file():
        return (Path(folder) / file_name(name)).read_bytes()
    bundled = files("dicomnode.physics") / "data" / file_name(name)
    if not bundled.is_file():
        raise OutOfDomain(
            "nuclide with kernels", name, "",
            f"{', '.join(kernel_names(folder))}; `dicomnode kernels --all-media` makes others",
        )  # fmt: skip
    return bundled.read_bytes()


def kernel_digest(name: str, folder: str = "") -> str:
    """SHA-256 of the file with the kernels of a nuclide."""
    return hashlib.sha256(kernel_bytes(name, folder)).hexdigest()


def medium_kernels(name: str, folder: str = "", digest: str = "") -> tuple[PointKernel, ...]:
    """The kernels of a nuclide in all of ``media``. ``digest``: of the file that it has to be, if given.

    Raises
    ------
    OutOfDomain : there are none for the nuclide
    Inconsistent : the file is of another kind, of other media, or no longer that of the digest
    """
    return _in_media(_unchanged(kernel_bytes(name, folder), name, digest), _own_name(name))


def water_kernel(name: str, folder: str = "", digest: str = "") -> PointKernel:
    """The kernel of a nuclide in water. ``digest``: of the file that it has to be, if given.

    Raises
    ------
    OutOfDomain : there is none for the nuclide
    Inconsistent : the file is of another kind, has no water, or is no longer that of the digest
    """
    return _in_water(_unchanged(kernel_bytes(name, folder), name, digest), _own_name(name))


# Kept by content and not by name: a file that is made again is another one.
@lru_cache(maxsize=16)
def _in_media(raw: bytes, name: str) -> tuple[PointKernel, ...]:
    return from_bytes(raw, name, media())


@lru_cache(maxsize=16)
def _in_water(raw: bytes, name: str) -> PointKernel:
    return from_bytes(raw, name, (water(),))[0]


def _unchanged(raw: bytes, name: str, digest: str) -> bytes:
    if digest and hashlib.sha256(raw).hexdigest() != digest:
        raise Inconsistent(
            f"the kernel file of {name} has changed since the engine was built, and its record names "
            "the old one; build the engine again"
        )
    return raw


def _own_name(name: str) -> str:
    bare, plus, how = name.partition("+")
    return canonical_name(bare) + plus + how
