"""What the engine ``multi-vsv`` says of its own uncertainty (k = 1, relative, per voxel).

In quadrature: 1 %; the medium that stands in for the voxel's density, |rho / rho_m - 1|; and the share of
dose that is not from the voxel's own electrons, times what cross-fire was off by in EGSnrc's phantom a
(soft tissue 17 %, lung 17 %, bone 25 %: docs/engines.md) and, near a step of density, times 0.6 min(1, x)
with x the faces that electrons cross. Of what the voxel's own decays give, the part that crosses faces counts
near a step too (``hot_at_steps``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicomnode.dose.density_steps import Window, hot_at_steps, near_a_step
from dicomnode.dose.inputs import face_crossing
from dicomnode.model import Nuclide

Float64 = npt.NDArray[np.float64]

MODEL = 0.01
CROSS_SOFT, CROSS_BONE, CROSS_LUNG = 0.17, 0.25, 0.17
# With kernels of the source's medium lung got too much from tissue: 131I 130 %, 177Lu 50 %.
CROSS_LUNG_BY_SOURCE = 1.3
LUNG_BELOW_G_PER_CM3 = 0.6
BONE_ABOVE_G_PER_CM3 = 1.2
AT_STEPS = 0.6


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
