"""The materials of an anatomy as the transport takes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.model import Anatomy
from dicomnode.physics.anatomy import anatomy_from_density
from dicomnode.physics.interactions import Medium, medium_of
from dicomnode.physics.tissues import tissue


def transported_media(anatomy: Anatomy) -> tuple[npt.NDArray[np.integer], tuple[Medium, ...]]:
    """(material of each voxel, materials that occur), each at the mean density of its voxels (for the density
    effect). Composition follows from density where the anatomy states none.

    Raises
    ------
    OutOfDomain : unknown tissue, or more than 255 of them
    """
    if anatomy.material is None:
        anatomy = anatomy_from_density(anatomy.density)
    assert anatomy.material is not None
    used, index = np.unique(anatomy.material, return_inverse=True)
    index = index.reshape(anatomy.material.shape)
    if len(used) > 255:
        raise OutOfDomain("number of tissues", len(used), "", "up to 255")
    sums = np.bincount(index.ravel(), anatomy.density.g_per_cm3.ravel().astype(np.float64))
    means = sums / np.bincount(index.ravel())
    names = [anatomy.material_names[n] for n in used]
    return index, tuple(medium_of(tissue(name), float(mean)) for name, mean in zip(names, means, strict=True))
