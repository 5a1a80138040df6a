"""From CT numbers, or densities, to the anatomy that dose is deposited in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dicomnode.errors import Inconsistent
from dicomnode.model import Anatomy, DensityMap, Grid, HuMap, Settings
from dicomnode.physics.tissues import AIR_G_PER_CM3, Tissue, schneider_classes, tissue

Float64 = npt.NDArray[np.float64]

# Schneider, Bortfeld, Schlegel, Phys Med Biol 45 (2000) 459-478: mass density, g/cm3, as lines between CT
# numbers (their equations 17 to 23). Lines (intercept, slope per HU) from each lower edge on.
SCHNEIDER_LINES = (
    (-1000.0, 1.030910665, 1.029700665188e-3),
    (-98.0, 1.018, 0.893e-3),
    (14.0, 1.03, 0.0),
    (23.0, 1.003, 1.169e-3),
    (100.0, 1.017, 0.592e-3),
)
AIR_HU = -1000.0
AIR_BELOW_HU = -950.0  # the class of air in Schneider's table 6
# Densest tissue is enamel, 2.9 g/cm3 (ICRP 89); beyond stand metal and artefacts.
HIGHEST_G_PER_CM3 = 3.0


class HuCurve(Settings):
    """How CT numbers become density and body."""

    hu_density: tuple[tuple[float, float], ...] = Field(
        default=(),
        description="pairs of HU and g/cm3 measured for this scanner and tube voltage, rising; straight "
        "lines between them, on beyond the last, and from air at -1000 HU to the first; empty means the "
        "lines of Schneider 2000",
    )
    body_above_hu: float = Field(
        default=-450.0,
        ge=-900,
        le=-200,
        description="voxels above this belong to the body; between lung (about -800) and fat (-100)",
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        pairs = np.array(self.hu_density, dtype=float).reshape(-1, 2)
        rising = (np.diff(pairs, axis=0) > [0, -1e-12]).all() and (pairs[:, 1] > 0).all()
        if len(pairs) == 1 or not (rising and np.isfinite(pairs).all()):
            raise ValueError("hu_density needs two or more pairs of rising HU and non-falling positive g/cm3")
        return self


DEFAULT_CURVE = HuCurve()


def density_from_hu(hu: npt.ArrayLike, curve: HuCurve = DEFAULT_CURVE) -> Float64:
    """Mass density, g/cm3, of CT numbers; air (below -950 HU) is 0.0012, the top is 3.0."""
    hu = np.asarray(hu, dtype=np.float64)
    if curve.hu_density:
        density = _along(np.array(curve.hu_density), hu)
    else:
        edges = np.array([edge for edge, _, _ in SCHNEIDER_LINES])
        which = np.clip(np.searchsorted(edges, hu, side="right") - 1, 0, None)
        intercept = np.array([line[1] for line in SCHNEIDER_LINES])[which]
        slope = np.array([line[2] for line in SCHNEIDER_LINES])[which]
        density = intercept + slope * hu
    density = np.where(hu < AIR_BELOW_HU, AIR_G_PER_CM3, density)
    return np.clip(density, AIR_G_PER_CM3, HIGHEST_G_PER_CM3)


def _along(points: Float64, hu: Float64) -> Float64:
    """Straight lines through (HU, g/cm3). Held at the ends, lung would be as dense as the first insert of a
    phantom, and all bone as the last."""
    if points[0, 0] > AIR_HU:
        points = np.vstack([[AIR_HU, min(AIR_G_PER_CM3, points[0, 1])], points])
    (hu1, low), (hu2, high) = points[-2:]
    beyond = high + (high - low) / (hu2 - hu1) * (hu - hu2)
    return np.where(hu > hu2, beyond, np.interp(hu, points[:, 0], points[:, 1]))


def _class_edges_hu() -> Float64:
    return np.array([c.hu_from for c in schneider_classes()])


def _class_edges_density(curve: HuCurve) -> Float64:
    """Density at the lower edge of each of Schneider's classes; non-falling."""
    edges = density_from_hu(_class_edges_hu()[1:], curve)
    return np.concatenate([[0.0], np.maximum.accumulate(edges)])


def _class_names() -> tuple[str, ...]:
    return tuple(c.tissue.name for c in schneider_classes())


def anatomy_from_ct(ct: HuMap, curve: HuCurve = DEFAULT_CURVE) -> Anatomy:
    """Density, composition along the Schneider line, and body of a CT.

    The body is the largest connected part above ``body_above_hu`` with what it encloses (lungs, gut
    gas) filled in, in three dimensions and slice by slice, because lungs and airways are open at the
    ends of a scan. A couch that touches the patient is not told apart.

    Raises
    ------
    Inconsistent : no voxel lies above the threshold
    """
    classes = np.searchsorted(_class_edges_hu(), ct.hu, side="right") - 1
    return Anatomy(
        density=DensityMap(ct.grid, density_from_hu(ct.hu, curve).astype(np.float32)),
        body=_body(ct.hu > curve.body_above_hu, f"above {curve.body_above_hu} HU"),
        material=np.clip(classes, 0, None).astype(np.uint16),
        material_names=_class_names(),
    )


# Between inflated lung (0.2 to 0.3 g/cm3) and couch foam (0.05): where only densities are known, lungs
# have to count as body on their own.
BODY_ABOVE_G_PER_CM3 = 0.1


def anatomy_from_density(
    density: DensityMap,
    labels: npt.NDArray[np.integer] | None = None,
    names: Mapping[int, str] | None = None,
    curve: HuCurve = DEFAULT_CURVE,
) -> Anatomy:
    """Anatomy of a density map.

    Parameters
    ----------
    density : DensityMap
    labels : tissue label of each voxel (z, y, x), or None: composition follows from density along the
        Schneider line
    names : label -> tissue name as in ``tissues``; every label that occurs has to be there
    curve : relates density to Schneider's classes

    Raises
    ------
    Inconsistent : shapes differ, a label has no name, or nothing is denser than 0.1 g/cm3
    OutOfDomain : unknown tissue
    """
    body = _body(density.g_per_cm3 > BODY_ABOVE_G_PER_CM3, f"above {BODY_ABOVE_G_PER_CM3} g/cm3")
    if labels is None:
        edges = _class_edges_density(curve).astype(np.float32)
        material = (np.searchsorted(edges, density.g_per_cm3, side="right") - 1).astype(np.uint16)
        return Anatomy(density, body, material, _class_names())
    material, found = _materials(labels, names or {}, density.grid.shape_zyx)
    return Anatomy(density, body, material, found)


SOFT_TISSUE_G_PER_CM3 = 1.04
"""Four-component soft tissue, ICRU Report 44 (1989)."""


def anatomy_without_ct(grid: Grid) -> Anatomy:
    """Soft tissue everywhere: what is left to assume where there is no CT. The body is the whole grid."""
    density = DensityMap(grid, np.full(grid.shape_zyx, SOFT_TISSUE_G_PER_CM3, dtype=np.float32))
    return anatomy_from_density(density)


def _materials(
    labels: npt.NDArray[np.integer], names: Mapping[int, str], shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.uint16], tuple[str, ...]]:
    """Labels renumbered from zero, and the tissue of each number."""
    if labels.shape != shape:
        raise Inconsistent(f"tissue labels have shape {labels.shape}, the density grid {shape}")
    used, index = np.unique(labels, return_inverse=True)
    missing = [int(label) for label in used if int(label) not in names]
    if missing:
        raise Inconsistent(f"tissue labels without a name: {missing}; name each label that occurs")
    found = tuple(tissue(names[int(label)]).name for label in used)
    return index.reshape(shape).astype(np.uint16), found


def _body(dense: npt.NDArray[np.bool_], what: str) -> npt.NDArray[np.bool_]:
    """Largest connected part with its holes filled."""
    from scipy import ndimage

    parts, count = ndimage.label(dense)
    if count == 0:
        raise Inconsistent(f"no body found: no voxel is {what}")
    largest = int(np.bincount(parts.reshape(-1))[1:].argmax()) + 1
    body = ndimage.binary_fill_holes(parts == largest)
    filled = np.stack([ndimage.binary_fill_holes(layer) for layer in body])
    filled.flags.writeable = False
    return filled


def schneider_tissue(g_per_cm3: float, curve: HuCurve = DEFAULT_CURVE) -> Tissue:
    """The composition that the Schneider line has at a density."""
    edges = _class_edges_density(curve)
    return schneider_classes()[int(np.searchsorted(edges, g_per_cm3, side="right")) - 1].tissue
