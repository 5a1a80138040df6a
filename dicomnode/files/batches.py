"""The batches of a Monte Carlo run beside its dose: ``BatchNoise`` and the grid it belongs to, as .npz."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from dicomnode.errors import Inconsistent, Refused, Unsupported
from dicomnode.model import BatchNoise, Grid

SUFFIX = ".npz"
KEYS = ("box_zyx", "degree", "decays", "moments_gy", "shape_zyx", "affine")


def write_batches(path: Path, noise: BatchNoise, grid: Grid) -> None:
    """Write the batches; the file appears whole or not at all. Raises Unsupported for another suffix."""
    if path.suffix != SUFFIX:
        raise Unsupported("batches are written as .npz", uid=str(path))
    partial = path.with_name(f".{path.stem}.partial{SUFFIX}")
    try:
        np.savez(
            partial, box_zyx=np.array(noise.box_zyx), degree=noise.degree, decays=noise.decays,
            moments_gy=noise.moments_gy, shape_zyx=np.array(grid.shape_zyx), affine=grid.affine,
        )  # fmt: skip
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_batches(path: Path, grid: Grid) -> BatchNoise:
    """The batches of the dose that lies on ``grid``.

    Raises
    ------
    Refused : not a file of batches
    Inconsistent : batches of a dose on another grid, or whose shapes contradict each other
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in KEYS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        remedy = "give what dicomnode dose --batches-out wrote"
        raise Refused("this is no file of Monte Carlo batches", uid=path.name, remedy=remedy) from error
    same = tuple(found["shape_zyx"]) == grid.shape_zyx and np.allclose(
        found["affine"], grid.affine, atol=1e-3
    )
    if not same:
        raise Inconsistent(f"the batches of {path.name} belong to a dose on another grid than the reference")
    (z0, z1), (y0, y1), (x0, x1) = found["box_zyx"].tolist()
    box = ((z0, z1), (y0, y1), (x0, x1))
    return BatchNoise(box, int(found["degree"]), found["decays"], found["moments_gy"])
