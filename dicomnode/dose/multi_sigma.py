"""What the engine ``multi-vsv`` says of its own uncertainty (k = 1, relative, per voxel).

In quadrature: 1 %; the medium that stands in for the voxel's density, |rho / rho_m - 1|; and the share of
dose that is not from the voxel's own electrons, times what cross-fire was off by in EGSnrc's phantom a
(soft tissue 17 %, lung 17 %, bone 25 %: docs/engines.md) and, near a step of density, times 0.6 min(1, x)
with x the faces that electrons cross. Of what the voxel's own decays give, the part that crosses faces counts
near a step too (``hot_at_steps``).
"""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt

from dicomnode.dose.inputs import face_crossing, mean_range_mm
from dicomnode.model import Nuclide

Float64 = npt.NDArray[np.float64]
Window = tuple[slice, slice, slice]

MODEL = 0.01
CROSS_SOFT, CROSS_BONE, CROSS_LUNG = 0.17, 0.25, 0.17
# With kernels of the source's medium lung got too much from tissue: 131I 130 %, 177Lu 50 %.
CROSS_LUNG_BY_SOURCE = 1.3
LUNG_BELOW_G_PER_CM3 = 0.6
BONE_ABOVE_G_PER_CM3 = 1.2
STEP_G_PER_CM3 = 0.3
AT_STEPS = 0.6
# Slabs of tissue, lung and bone with activity in all of them, against our Monte Carlo: voxels of 177Lu, 131I
# and 90Y were off by 4, 5 and 15 % rms at 4 mm, 9, 12 and 16 % at 1 x 1 x 5 mm (tests/dose/test_steps.py).
HOT_AT_STEPS = 0.2
THINNEST_G_PER_CM3 = 0.25  # electrons are looked for as far as they reach in lung


def relative_sigma(
    density: npt.NDArray[np.float32],
    medium: Float64,
    nuclide: Nuclide,
    spacing_mm: tuple[float, float, float],
    own_share: Float64,
    window: Window,
    *,
    by_source: bool,
) -> Float64:
    """The rule above for the voxels of a window.

    Parameters
    ----------
    density : of the whole grid, g/cm3
    medium : density of the kernel's medium, in the window
    own_share : 0 to 1, the part of the dose given by electrons of decays in the voxel itself
    by_source : kernels are those of the source's medium
    """
    own = density[window]  # single precision: two digits of an uncertainty count
    cross = np.full_like(own, CROSS_SOFT)
    cross[own < LUNG_BELOW_G_PER_CM3] = CROSS_LUNG_BY_SOURCE if by_source else CROSS_LUNG
    cross[own > BONE_ABOVE_G_PER_CM3] = CROSS_BONE
    cross *= cross
    steps = AT_STEPS * min(1.0, face_crossing(nuclide, spacing_mm))
    near = near_a_step(density, nuclide, spacing_mm, window)
    cross[near] += np.float32(steps**2)
    cross *= np.asarray((1 - own_share) ** 2, dtype=np.float32)
    hot = own_share * hot_at_steps(own.astype(np.float64), nuclide, spacing_mm)
    cross[near] += np.asarray(hot[near] ** 2, dtype=np.float32)
    cross += np.asarray((own / medium - 1) ** 2, dtype=np.float32)
    return np.asarray(np.sqrt(cross + np.float32(MODEL**2)), dtype=np.float64)


def hot_at_steps(density: Float64, nuclide: Nuclide, spacing_mm: tuple[float, float, float]) -> Float64:
    """Relative error near a step of density of the dose from the voxel's own decays and those around it.

    A share 1 / (1 + x / rho) of the electrons' energy stays in the voxel of the decay, x = ``face_crossing``
    (as in ``vsv``); the rest goes through the step, or comes from beyond it.
    """
    return np.asarray(HOT_AT_STEPS * (1 - 1 / (1 + face_crossing(nuclide, spacing_mm) / density)))


def near_a_step(
    density: npt.NDArray[np.float32], nuclide: Nuclide, spacing_mm: tuple[float, float, float], window: Window
) -> npt.NDArray[np.bool_]:
    """True where densities within the reach of electrons differ by more than 0.3 g/cm3."""
    from scipy import ndimage

    range_mm = mean_range_mm(nuclide.energy.electron_mev + nuclide.energy.positron_mev) / THINNEST_G_PER_CM3
    reach = [max(1, ceil(range_mm / edge)) for edge in reversed(spacing_mm)]
    outer = tuple(slice(max(0, part.start - n), part.stop + n) for part, n in zip(window, reach, strict=True))
    inner = tuple(
        slice(part.start - wide.start, part.stop - wide.start)
        for part, wide in zip(window, outer, strict=True)
    )
    size, around = tuple(2 * n + 1 for n in reach), density[outer]
    highest = ndimage.maximum_filter(around, size=size, mode="nearest")
    step = highest - ndimage.minimum_filter(around, size=size, mode="nearest")
    return np.asarray(step[inner] > STEP_G_PER_CM3)
