"""Pictures of a result: CT with TIA and dose in three planes, as figures and as one PNG.

matplotlib is used by its object interface only (no pyplot, hence no global state) and is loaded when a
picture is asked for. Everything is sampled in patient coordinates, so volumes need not share a grid and
oblique ones are shown straight. Left of the picture is the patient's right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicomnode.model import DoseMap, Grid, HuMap, LabelMap, TiaMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

WHOLE = ("body", "field-of-view")
"""Regions that are everything: not outlined, and no place to look for the highest dose."""
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8c6d31", "#7f3fbf")
"""Okabe and Ito's colours for colour-blind readers, two added; then they repeat."""


@dataclass(frozen=True)
class Scene:
    """What is looked at, and where.

    Attributes
    ----------
    ct : in the same frame of reference, on any grid; None where there is none
    focus_mm : the point that all three planes go through; see ``focus_mm``
    """

    tia: TiaMap
    dose: DoseMap
    regions: LabelMap | None
    ct: HuMap | None
    focus_mm: tuple[float, float, float]
    ct_window_hu: tuple[float, float] = (-160.0, 240.0)

    @property
    def colours(self) -> dict[str, str]:
        """One colour per region, the same in every picture and chart."""
        return region_colours(self.regions.names if self.regions else ())


@dataclass(frozen=True, eq=False)
class Plane:
    """A raster of points in the patient. ``points_mm`` is (rows, columns, 3), row 0 at the top."""

    name: str
    points_mm: npt.NDArray[np.float64]
    extent_mm: tuple[float, float]
    letters: tuple[str, str, str, str] = field(default=("", "", "", ""))
    """Patient directions at the left, right, top and bottom edge."""


def region_colours(names: Sequence[str]) -> dict[str, str]:
    """Region -> colour; regions that are everything are grey."""
    organs = [n for n in names if n not in WHOLE]
    colours = {n: PALETTE[i % len(PALETTE)] for i, n in enumerate(organs)}
    return colours | {n: "#808080" for n in names if n in WHOLE}


def focus_mm(dose: DoseMap, regions: LabelMap | None, region: str = "") -> tuple[float, float, float]:
    """Where to look: the centre of ``region``, or the highest dose within any organ or lesion."""
    shares = [s for n, s in regions.shares.items() if n not in WHOLE] if regions else []
    if regions is not None and region:
        share = regions.shares[region]
        index = np.average(np.argwhere(share), axis=0, weights=share[share > 0])[::-1]
    else:
        within = np.maximum.reduce(shares) * dose.gy if shares else dose.gy
        index = np.array(np.unravel_index(int(np.argmax(within)), dose.gy.shape), dtype=float)[::-1]
    x, y, z = dose.grid.to_patient_mm(index)
    return float(x), float(y), float(z)


def three_planes(scene: Scene, step_mm: float = 1.5) -> tuple[Plane, Plane, Plane]:
    """Axial, coronal and sagittal planes through the focus, as large as the patient."""
    low, high = _patient_box(scene)
    x, y, z = (np.arange(a, b + step_mm, step_mm) for a, b in zip(low, high, strict=True))
    fx, fy, fz = scene.focus_mm
    return (
        _plane("axial", (x[None, :], y[:, None], np.full((1, 1), fz)), ("R", "L", "A", "P"), step_mm),
        _plane("coronal", (x[None, :], np.full((1, 1), fy), z[::-1, None]), ("R", "L", "H", "F"), step_mm),
        _plane("sagittal", (np.full((1, 1), fx), y[None, :], z[::-1, None]), ("A", "P", "H", "F"), step_mm),
    )


def _plane(name: str, axes: tuple[Array, Array, Array], letters: tuple[str, ...], step_mm: float) -> Plane:
    points = np.stack(np.broadcast_arrays(*axes), axis=-1)
    rows, columns = points.shape[:2]
    left, right, top, bottom = letters
    return Plane(name, points, (columns * step_mm, rows * step_mm), (left, right, top, bottom))


def _patient_box(scene: Scene, margin_mm: float = 12.0) -> tuple[Array, Array]:
    """Corners (lowest, highest x, y, z) of what to show: the body where it is known, else the dose grid."""
    grid = scene.dose.grid
    body = scene.regions.shares.get("body") if scene.regions else None
    if body is None or not body.any():
        body = np.ones(grid.shape_zyx, dtype=np.float32)
    index = np.argwhere(body)[:, ::-1]
    corners = np.array(np.meshgrid(*zip(index.min(axis=0), index.max(axis=0), strict=True)))
    points = grid.to_patient_mm(corners.reshape(3, -1).T)
    whole = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape_zyx[::-1]])).reshape(3, -1).T
    limits = grid.to_patient_mm(whole)
    low = np.maximum(points.min(axis=0) - margin_mm, limits.min(axis=0))
    return low, np.minimum(points.max(axis=0) + margin_mm, limits.max(axis=0))


def sampled(grid: Grid, values: Array, plane: Plane) -> npt.NDArray[np.float64]:
    """Values of a volume on a plane, trilinear; NaN outside the volume."""
    from scipy.ndimage import map_coordinates

    ijk = grid.to_index(plane.points_mm.reshape(-1, 3)).T[::-1]
    flat = map_coordinates(values.astype(np.float32), ijk, order=1, mode="nearest")
    upper = np.array(grid.shape_zyx)[:, None] - 0.5
    outside = ((ijk < -0.5) | (ijk > upper)).any(axis=0)
    return np.where(outside, np.nan, flat.astype(np.float64)).reshape(plane.points_mm.shape[:2])


def draw_ct(axes: Axes, scene: Scene, plane: Plane, *, outlines: bool = True, letters: bool = True) -> None:
    """The CT (black where there is none), with outlines of the regions in their colours."""
    width, height = plane.extent_mm
    box = (0.0, width, height, 0.0)
    axes.set_facecolor("black")
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal")
    if scene.ct is not None:
        low, high = scene.ct_window_hu
        shown = np.ma.masked_invalid(sampled(scene.ct.grid, scene.ct.hu, plane))
        axes.imshow(shown, cmap="gray", vmin=low, vmax=high, extent=box, interpolation="bilinear")
    if outlines and scene.regions is not None:
        _outline(axes, scene.regions, plane, scene.colours)
    axes.set(xlim=(0.0, width), ylim=(height, 0.0))
    if letters:
        _letters(axes, plane)


def _outline(axes: Axes, regions: LabelMap, plane: Plane, colours: Mapping[str, str]) -> None:
    width, height = plane.extent_mm
    for name, share in regions.shares.items():
        if name in WHOLE:
            continue
        inside = np.nan_to_num(sampled(regions.grid, share, plane))
        if inside.max() <= 0.5:
            continue
        rows, columns = inside.shape
        x = (np.arange(columns) + 0.5) * width / columns
        y = (np.arange(rows) + 0.5) * height / rows
        axes.contour(x, y, inside, levels=[0.5], colors=[colours[name]], linewidths=0.9, zorder=5)


def _letters(axes: Axes, plane: Plane) -> None:
    sides = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"))
    ends = ((0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom"))
    for letter, (x, y, ha, va) in zip(plane.letters, (*sides, *ends), strict=True):
        style: dict[str, Any] = {"ha": ha, "va": va, "fontsize": 7, "color": "#d0d0d0", "zorder": 6}
        axes.text(x, y, letter, transform=axes.transAxes, **style)


def draw_wash(axes: Axes, grid: Grid, values: Array, plane: Plane, *, top: float, colours: str) -> Any:
    """A colour wash over the CT: clear at zero, solid from a tenth of ``top`` on.

    Colours go by the square root, so that organs are seen beside a lesion of ten times their dose; the
    scale's ticks say so.
    """
    from matplotlib.colors import PowerNorm

    width, height = plane.extent_mm
    shown = np.clip(np.nan_to_num(sampled(grid, values, plane)), 0.0, top)
    opacity = 0.8 * np.clip((shown / top - 0.01) / 0.09, 0.0, 1.0)
    return axes.imshow(
        shown, cmap=colours, norm=PowerNorm(0.5, 0.0, top), alpha=opacity,
        extent=(0.0, width, height, 0.0), interpolation="bilinear", zorder=3,
    )  # fmt: skip


def top_of(grid: Grid, values: Array, planes: Sequence[Plane]) -> float:
    """Upper end of a colour scale: nearly the highest value shown, so that one voxel does not dim all."""
    shown = np.concatenate([np.nan_to_num(sampled(grid, values, p)).ravel() for p in planes])
    return max(float(np.quantile(shown, 0.9995)), 1e-12)


def draw_scale(figure: Figure, image: Any, label: str, colour: str, *, upright: bool) -> None:
    """The colour scale, solid, along the side of (or under) the picture it belongs to."""
    from matplotlib.cm import ScalarMappable

    image.axes.apply_aspect()
    box = image.axes.get_position()
    if upright:
        place = (box.x1 + 0.008, box.y0, 0.012, box.height)
    else:
        place = (box.x0 + 0.04 * box.width, box.y0 - 0.035, 0.92 * box.width, 0.014)
    axes = figure.add_axes(place)
    scale = ScalarMappable(norm=image.norm, cmap=image.cmap)
    bar = figure.colorbar(scale, cax=axes, orientation="vertical" if upright else "horizontal")
    ticks = round_ticks(float(image.norm.vmax))
    bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
    bar.set_label(label, fontsize=8, color=colour)
    axes.minorticks_off()
    axes.tick_params(labelsize=7.5, colors=colour, length=2, width=0.5)


def round_ticks(top: float) -> list[float]:
    """Round numbers up to ``top``, denser below as a square-root scale is: 0, 1, 5, 10, 20."""
    step = 10.0 ** np.floor(np.log10(top))
    step /= 2.0 if top / step < 3.0 else 1.0
    ticks = [0.0, 0.1 * step, 0.5 * step, *np.arange(step, top * 1.0001, step)]
    return [float(t) for t in ticks]


def png(scene: Scene, *, title: str = "", dots_per_inch: int = 150) -> bytes:
    """One picture: CT, CT with TIA, CT with dose; coronal above axial, through the focus."""
    from matplotlib.figure import Figure

    axial, coronal, _ = three_planes(scene)
    wide, high, flat = coronal.extent_mm[0], coronal.extent_mm[1], axial.extent_mm[1]
    inches = 3.4 / wide
    height = (high + flat) * inches + 1.25
    figure = Figure(figsize=(3 * 3.4 + 0.7, height), facecolor="black")
    layout = figure.add_gridspec(
        2, 3, height_ratios=[high, flat], wspace=0.03, hspace=0.03,
        left=0.03, right=0.97, top=1.0 - 0.45 / height, bottom=0.8 / height,
    )  # fmt: skip
    for column, (heading, wash) in enumerate((("CT", None), *washes(scene, (axial, coronal)))):
        for row, plane in enumerate((coronal, axial)):
            axes = figure.add_subplot(layout[row, column])
            draw_ct(axes, scene, plane, outlines=column != 1)
            image = draw_wash(axes, plane=plane, **wash) if wash else None
            if row == 0:
                axes.set_title(heading, color="white", fontsize=12, pad=6)
        if image is not None:
            draw_scale(figure, image, "", "white", upright=False)
    figure.text(0.03, 0.2 / height, title, color="#b0b0b0", fontsize=9, parse_math=False)
    return png_bytes(figure, dots_per_inch)


def washes(scene: Scene, planes: Sequence[Plane]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Heading and drawing arguments of the TIA and of the dose."""
    tia_h = scene.tia.mbq_s_per_ml / 3600.0
    tia: dict[str, Any] = {"grid": scene.tia.grid, "values": tia_h, "colours": "viridis"}
    dose: dict[str, Any] = {"grid": scene.dose.grid, "values": scene.dose.gy, "colours": "inferno"}
    for wash in (tia, dose):
        wash["top"] = top_of(wash["grid"], wash["values"], planes)
    return ("Time-integrated activity, MBq h / mL", tia), ("Absorbed dose, Gy", dose)


def png_bytes(figure: Figure, dots_per_inch: int) -> bytes:
    """The figure as PNG, without the date and version that would make bytes differ."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()
