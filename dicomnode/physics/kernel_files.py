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
    Inconsistent : another format or nuclide, or a medium that is missing or of another composition
    """
    digest = hashlib.sha256(raw).hexdigest()
    with np.load(BytesIO(raw), allow_pickle=False) as book:
        for key, wanted in (("format", FORMAT), ("nuclide", nuclide)):
            if str(book[key]) != wanted:
                raise Inconsistent(f"kernel file: {key} is {str(book[key])!r}, expected {wanted!r}")
        content = {key: book[key] for key in book.files}
    stated = zip(
        content["media"].tolist(), content["g_per_cm3"].tolist(), content["composition"].tolist(), strict=True
    )
    rows = {row: n for n, row in enumerate(stated)}
    found = []
    for medium in media:
        row = rows.get((medium.name, medium.density_g_per_cm3, composition_digest(medium)))
        if row is None:
            raise Inconsistent(
                f"kernel file of {nuclide}: no kernel in {medium.name} of {medium.density_g_per_cm3} g/cm3 "
                f"with today's composition; make it again with `dicomnode kernels`"
            )
        found.append(_kernel(content, nuclide, medium, row, digest))
    return tuple(found)


def origin_of(raw: bytes) -> str:
    """How the kernels of a file were made, as they state it."""
    with np.load(BytesIO(raw), allow_pickle=False) as book:
        return str(book["origin"])


def _kernel(content: dict[str, Any], nuclide: str, medium: Medium, row: int, digest: str) -> PointKernel:
    parts: list[RadialKernel | None] = []
    for name in COMPONENTS:
        if f"mev_{name}" not in content:
            parts.append(None)
            continue
        r_mm = content[f"r_g_per_cm2_{name}"] * (10 / medium.density_g_per_cm3)
        mev = content[f"mev_{name}"][row].astype(np.float64)
        parts.append(RadialKernel(r_mm, mev, float(content[f"beyond_mev_{name}"][row])))
    electron, photon = parts
    if electron is None:
        raise Inconsistent(f"kernel file of {nuclide}: the electrons are missing")
    return PointKernel(nuclide, medium.name, medium.density_g_per_cm3, electron, photon, digest)
