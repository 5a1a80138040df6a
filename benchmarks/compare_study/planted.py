"""The faults, and the dose of the point kernel by which they are planted."""

from __future__ import annotations

from typing import Any

import numpy as np

from dicomnode.dose.convolution import convolve_symmetric
from dicomnode.physics.media import water_kernel
from dicomnode.physics.voxel_kernels import voxel_kernel

Array = np.ndarray
NUCLIDES = ("Lu-177", "I-131", "Y-90")

FAULTS: dict[str, dict[str, Any]] = {
    "shift 1 mm": {"shift": (1.0, 0.0, 0.0)},
    "shift 2 mm": {"shift": (0.0, 2.0, 0.0)},
    "shift 5 mm": {"shift": (4.0, 0.0, 3.0)},
    "organ x 1.02": {"scale": 1.02},
    "organ x 1.05": {"scale": 1.05},
    "organ x 1.10": {"scale": 1.10},
    "blur": {"blur": 3.0},
    "no lesion 0.5 mL": {"without": "lesion 0.5 mL"},
    "no lesion 2 mL": {"without": "lesion 2 mL"},
    "no lesion 10 mL": {"without": "lesion 10 mL"},
    "wrong density": {"density": 1.04},
    "wrong nuclide": {"nuclide": True},
    "wrong voxel": {"voxel": 1.105},
    "kernel cut": {"cut": 1},
}
"""``voxel``: the kernel is that of voxels larger by this factor (4.42 mm for 4); ``cut``: voxels that it
keeps."""


def other(nuclide: str) -> str:
    """The nuclide that is taken by mistake."""
    return NUCLIDES[(NUCLIDES.index(nuclide) + 1) % 3]


def octant(nuclide: str, spacing_mm: tuple[float, ...], shape: tuple[int, ...]) -> Array:
    return voxel_kernel(water_kernel(nuclide), spacing_mm, shape).total_mev


def kernel_dose(phantom: Any, nuclide: str, fault: dict[str, Any]) -> Array:
    """Dose for one decay in all of the activity, MeV per mL and g/cm3, by the point kernel of water over
    density."""
    kernel_of = other(nuclide) if "nuclide" in fault else nuclide
    factor = fault.get("voxel", 1.0)
    spacing = tuple(factor * h for h in phantom.grid.spacing_mm)
    kernel = octant(kernel_of, spacing, phantom.grid.shape_zyx) / factor**3
    if kernel_of != nuclide:  # the energy per decay would be noticed at once: only the range is wrong
        kernel = kernel * water_kernel(nuclide).total_mev / water_kernel(kernel_of).total_mev
    if "cut" in fault:
        keep = np.zeros_like(kernel)
        keep[: fault["cut"] + 1, : fault["cut"] + 1, : fault["cut"] + 1] = 1.0
        kernel = kernel * keep
    activity = phantom.activity(fault) / phantom.activity({}).sum()
    density = np.where(phantom.body, fault.get("density", phantom.density), 1.0)
    dose = convolve_symmetric(activity, kernel, dtype=np.float64) / density
    return np.where(phantom.body, dose, 0.0)
