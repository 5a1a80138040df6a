"""Dose-point kernels in files: the media of one nuclide in one file.

Format ``dicomnode-medium-kernels-2`` (npz): ``format``, ``nuclide``, ``origin`` (text: how they were made);
``media`` (names), ``g_per_cm3``, ``composition`` (digest of each, see ``composition_digest``); and for each
component c in electron, photon (photon may be absent): ``r_g_per_cm2_c`` (n) radii by areal density, from 0
on, ``mev_c`` (media, n) MeV per decay within each radius, ``relative_sigma_c`` (media, n - 1) standard
uncertainty of the energy between two radii before smoothing, ``beyond_mev_c`` (media).
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent
from dicomnode.physics.interactions import Medium
from dicomnode.physics.kernels import PointKernel, RadialKernel

Float64 = npt.NDArray[np.float64]

FORMAT = "dicomnode-medium-kernels-2"
COMPONENTS = ("electron", "photon")
# What zipfile and numpy raise for bytes that were cut or turned; the last one where they seem to name another
# compression.
DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError)
AGAIN = "make it again with `dicomnode kernels --all-media`"


@dataclass(frozen=True, eq=False)
class Shells:
    """One component in several media, as simulated and smoothed.

    Attributes
    ----------
    r_g_per_cm2 : (n) radii, the first 0
    mev : (media, n) MeV per decay within each radius
    relative_sigma : (media, n - 1) of the energy between radii, before smoothing (k = 1)
    beyond_mev : (media) energy that passes the last radius
    """

    r_g_per_cm2: Float64
    mev: Float64
    relative_sigma: Float64
    beyond_mev: Float64


@dataclass(frozen=True, eq=False)
class KernelSet:
    """Kernels of one nuclide in some media.

    Attributes
    ----------
    nuclide : name, of a chain with "+progeny"
    media : what was simulated
    electron, photon : Shells; None where the nuclide has no such emissions
    origin : how they were made, for the record
    """

    nuclide: str
    media: tuple[Medium, ...]
    electron: Shells
    photon: Shells | None
    origin: str


def composition_digest(medium: Medium) -> str:
    """Short digest of the mass fractions, to 1e-6."""
    text = ",".join(f"{z}:{fraction:.6f}" for z, fraction in medium.mass_fractions)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_bytes(kernels: KernelSet) -> bytes:
    """The file. The same kernels give the same bytes, whenever they are written."""
    content: dict[str, Any] = {
        "format": FORMAT, "nuclide": kernels.nuclide, "origin": kernels.origin,
        "media": np.array([m.name for m in kernels.media]),
        "g_per_cm3": np.array([m.density_g_per_cm3 for m in kernels.media]),
        "composition": np.array([composition_digest(m) for m in kernels.media]),
    }  # fmt: skip
    for name in COMPONENTS:
        shells: Shells | None = getattr(kernels, name)
        if shells is not None:
            content |= {
                f"r_g_per_cm2_{name}": shells.r_g_per_cm2, f"mev_{name}": shells.mev.astype(np.float32),
                f"relative_sigma_{name}": shells.relative_sigma.astype(np.float16),
                f"beyond_mev_{name}": shells.beyond_mev,
            }  # fmt: skip
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        for key, value in content.items():
            array = BytesIO()
            np.lib.format.write_array(array, np.asarray(value), allow_pickle=False)
            book.writestr(zipfile.ZipInfo(f"{key}.npy"), array.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()


def from_bytes(raw: bytes, nuclide: str, media: Sequence[Medium]) -> tuple[PointKernel, ...]:
    """The kernels of a file in these media, in their order; the digest of each is that of the file.

    Raises
    ------
    Inconsistent : a damaged file, another format or nuclide, or a medium that is missing or of another
        composition
    """
    digest, content = hashlib.sha256(raw).hexdigest(), _content(raw, f"kernel file of {nuclide}")
    for key, wanted in (("format", FORMAT), ("nuclide", nuclide)):
        if str(content.get(key)) != wanted:
            raise Inconsistent(
                f"kernel file of {nuclide}: {key} is {str(content.get(key))!r}, expected {wanted!r}; {AGAIN}"
            )
    _require_whole(content, nuclide)
    columns = (content[key].tolist() for key in ("media", "g_per_cm3", "composition"))
    rows = {row: n for n, row in enumerate(zip(*columns, strict=True))}
    found = []
    for medium in media:
        row = rows.get((medium.name, medium.density_g_per_cm3, composition_digest(medium)))
        if row is None:
            raise Inconsistent(
                f"kernel file of {nuclide}: no kernel in {medium.name} of {medium.density_g_per_cm3} g/cm3 "
                f"with today's composition; {AGAIN}"
            )
        found.append(_kernel(content, nuclide, medium, row, digest))
    return tuple(found)


def origin_of(raw: bytes) -> str:
    """How the kernels of a file were made, as they state it."""
    return str(_content(raw, "kernel file")["origin"])


def _content(raw: bytes, what: str) -> dict[str, Any]:
    """The arrays of a file, each checked by its CRC as it is read."""
    try:
        with zipfile.ZipFile(BytesIO(raw)) as book:
            return {
                name.removesuffix(".npy"): np.lib.format.read_array(
                    BytesIO(book.read(name)), allow_pickle=False
                )
                for name in book.namelist()
            }
    except DAMAGED as error:
        raise Inconsistent(f"{what}: damaged, or not written to its end ({error}); {AGAIN}") from error


def _require_whole(content: dict[str, Any], nuclide: str) -> None:
    """Every array there, of the shape and in the order that the head of this file says."""
    count = (np.size(content.get("media", ())),)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("media", "g_per_cm3", "composition"), count)
    for name in COMPONENTS:
        if name == "electron" or f"mev_{name}" in content:
            radii, mev = f"r_g_per_cm2_{name}", f"mev_{name}"
            shapes[radii] = (np.size(content.get(radii, ())),)
            shapes |= {mev: (*count, *shapes[radii]), f"beyond_mev_{name}": count}
    for key, shape in shapes.items():
        fault = _fault(content.get(key), shape, rising=key.startswith(("r_", "mev_")))
        if fault:
            raise Inconsistent(f"kernel file of {nuclide}: {key} {fault}; {AGAIN}")


def _fault(found: npt.NDArray[Any] | None, shape: tuple[int, ...], rising: bool) -> str:
    """What is wrong with an array of a file, or nothing."""
    if found is None or found.shape != shape or found.size == 0:
        return "is missing or of a wrong shape"
    if found.dtype.kind == "f" and not (np.isfinite(found).all() and (found >= 0).all()):
        return "is negative or not finite"
    return "falls with the radius" if rising and (np.diff(found) < 0).any() else ""


def _kernel(content: dict[str, Any], nuclide: str, medium: Medium, row: int, digest: str) -> PointKernel:
    def of(name: str) -> RadialKernel:
        r_mm = content[f"r_g_per_cm2_{name}"] * (10 / medium.density_g_per_cm3)
        mev = content[f"mev_{name}"][row].astype(np.float64)
        return RadialKernel(r_mm, mev, float(content[f"beyond_mev_{name}"][row]))

    photon = of("photon") if "mev_photon" in content else None
    return PointKernel(nuclide, medium.name, medium.density_g_per_cm3, of("electron"), photon, digest)
