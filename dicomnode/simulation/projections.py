"""Scans with a known truth, by a finer and different model than the one that reconstructs them.

Voxels and bins are half as large; all blurs are wider by a factor and have a septal tail; scatter comes from
where the tissue is and differs between the energy windows, so that TEW is right on average only; the CT lies
off by a few millimetres. An image that is reconstructed with its own forward model looks better than it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from dicomnode.errors import OutOfDomain
from dicomnode.model import Grid, HuMap
from dicomnode.model.projections import EnergyWindow, Projections
from dicomnode.model.settings import Settings
from dicomnode.recon.camera.attenuation import attenuation_map
from dicomnode.recon.camera.collimator import Collimator, Response
from dicomnode.recon.camera.model import Geometry
from dicomnode.recon.camera.overlap import mean_on
from dicomnode.recon.camera.projector import ParallelHoleModel
from dicomnode.simulation.phantoms import Phantom

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# A real 177Lu acquisition: ../shared/real/spect_raw/nema_lu177_headers, windows in keV.
LU177_WINDOWS = (
    EnergyWindow("Lu177 208 keV", ((187.56, 229.24),)),
    EnergyWindow("Lower scatter", ((176.54, 187.46),)),
    EnergyWindow("Upper scatter", ((229.31, 243.49),)),
)
LU177_KEV = 208.4
VIEWS_AT_ONCE = 8  # of the fine model, to bound its memory
BODY_PER_CM = 0.05
MU_WATER_PER_CM = 0.135
# Where scattered photons seem to come from: the activity smeared by these Gaussians (sigma mm, share), for
# the peak's window; lower windows hold wider scatter. After the effective scatter source of Frey and Tsui
# (IEEE NSS 1996), with widths of our own choice.
SCATTER_SPREAD = ((30.0, 0.6), (70.0, 0.4))
LOWER_WINDOW_WIDER = 1.25
LOWER_PER_KEV, UPPER_PER_KEV = (
    1.25,
    0.75,
)  # of the peak's scatter per keV; their mean is 1, so that TEW is right


class ScanSettings(Settings):
    """The camera and how it differs from the model that will reconstruct."""

    views: int = Field(60, description="views over 360 degrees", ge=3, le=360)
    bins: int = Field(64, description="transaxial bins of the detector", ge=8, le=256)
    rows: int = Field(64, description="axial rows of the detector", ge=1, le=256)
    pixel_mm: float = Field(4.8, description="edge of a detector pixel", gt=0)
    seconds_per_view: float = Field(40.0, description="time of a view", gt=0)
    cps_per_mbq: float = Field(
        9.4, description="counts per second of a head in the peak window, per MBq in air", gt=0
    )
    gap_mm: float = Field(25.0, description="from the body's contour to the detector's face", ge=0)
    largest_radius_mm: float = Field(280.0, description="the farthest that a head goes out", gt=0)
    width_factor: float = Field(1.05, description="true blur over the modelled one", gt=0)
    tail_share: float = Field(
        0.03, description="counts that went through septa, in a wide Gaussian", ge=0, lt=1
    )
    tail_ratio: float = Field(3.0, description="width of that Gaussian over the other's", ge=1)
    scatter_share: float = Field(
        0.35, description="scattered over primary photons of activity deep in water, peak window", ge=0
    )
    ct_off_mm: tuple[float, float, float] = Field(
        (2.0, -1.5, 3.0), description="where the CT lies beside the truth, x y z"
    )


@dataclass(frozen=True, eq=False)
class Scan:
    """A simulated scan with its truth.

    Attributes
    ----------
    projections : noisy whole counts of all windows
    ct : as the scanner gives it, out of place by ``ct_off_mm``
    truth : the phantom as means over the voxels of the projections' grid
    expected : float32 (windows, views, axial, transaxial), the counts without noise
    expected_scatter : float32 (views, axial, transaxial), the part of the peak's that is scatter
    counts_per_mbq : counts per view and MBq of a source in air: image = MBq per voxel times this
    """

    projections: Projections
    ct: HuMap
    truth: Phantom
    expected: Float32
    expected_scatter: Float32
    counts_per_mbq: float


def simulate_scan(
    phantom: Phantom,
    collimator: Collimator,
    settings: ScanSettings,
    *,
    seed: int,
    started_at: datetime,
    windows: tuple[EnergyWindow, ...] = LU177_WINDOWS,
    energy_kev: float = LU177_KEV,
    nuclide: str = "Lu-177",
) -> Scan:
    """Scan a phantom. ``windows`` are peak, lower and upper.

    The axis of rotation goes through the middle of the phantom's grid, along its z axis. Raises OutOfDomain
    for other than three windows, Inconsistent for grids that are not parallel.
    """
    if len(windows) != 3:
        raise OutOfDomain("energy windows of a simulated scan", len(windows), "", "peak, lower and upper")
    grid = camera_grid(phantom.grid, settings)
    truth = phantom.on(grid)
    angle = np.arange(settings.views) * 360.0 / settings.views
    mu = attenuation_map(phantom.ct, grid, energy_kev, 120.0).per_cm
    radius = contour_orbit(mu, grid, angle, settings)
    geometry = Geometry(grid.shape_zyx, (settings.pixel_mm,) * 2, angle, radius)
    response = true_response(collimator, energy_kev, settings)
    per_mbq = settings.cps_per_mbq * settings.seconds_per_view
    primary = _primary(phantom, geometry, grid, response, energy_kev) * per_mbq
    scatter = _scatter(truth, geometry, response, mu, windows, settings.scatter_share) * per_mbq
    expected = scatter.copy()
    expected[0] += primary
    counts = np.random.default_rng(seed).poisson(np.maximum(expected, 0.0)).astype(np.int32)
    projections = _projections(
        counts, windows, geometry, grid, settings, collimator, nuclide, started_at, seed
    )
    (x, y, z), (dx, dy, dz) = phantom.grid.origin_mm, settings.ct_off_mm
    placed = replace(phantom.grid, origin_mm=(x + dx, y + dy, z + dz))
    return Scan(projections, HuMap(placed, phantom.ct.hu), truth, expected.astype(np.float32),
                scatter[0].astype(np.float32), per_mbq)  # fmt: skip


def camera_grid(around: Grid, settings: ScanSettings) -> Grid:
    """The camera's voxels, with the same middle and directions as ``around``."""
    shape = (settings.rows, settings.bins, settings.bins)
    middle = around.to_patient_mm((np.array(around.shape_zyx[::-1]) - 1) / 2)
    first = middle - around.axes @ ((np.array(shape[::-1]) - 1) / 2 * settings.pixel_mm)
    origin = (float(first[0]), float(first[1]), float(first[2]))
    return Grid(shape, (settings.pixel_mm,) * 3, origin, around.direction)


def contour_orbit(mu_per_cm: Float32, grid: Grid, angle_deg: Float64, settings: ScanSettings) -> Float64:
    """Radii (views,), mm, that keep the gap to the body as a contouring camera does, in whole millimetres."""
    _, y, x = np.nonzero(mu_per_cm > BODY_PER_CM)
    if not len(x):
        return np.full(len(angle_deg), settings.largest_radius_mm)
    middle = (grid.shape_zyx[2] - 1) / 2
    at = np.unique(np.stack([x, y]), axis=1).T - middle
    towards = np.stack([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))])
    reach = (at @ towards).max(axis=0) * settings.pixel_mm + settings.gap_mm
    return np.asarray(np.ceil(np.minimum(reach, settings.largest_radius_mm)))


def true_response(collimator: Collimator, energy_kev: float, settings: ScanSettings) -> Response:
    """What the simulated camera really does to a point."""
    wide = collimator.response(energy_kev).widened(settings.width_factor)
    return Response(wide.slope, wide.face_mm, wide.intrinsic_mm, settings.tail_share, settings.tail_ratio)


def _primary(
    phantom: Phantom, geometry: Geometry, grid: Grid, response: Response, energy_kev: float
) -> Float64:
    """Unscattered counts per MBq of the phantom, from voxels and bins of half the edge."""
    fine = _halved(grid)
    mbq = mean_on(phantom.activity.bq_per_ml, phantom.grid, fine) * (fine.voxel_ml / 1e6)
    mu = attenuation_map(phantom.ct, fine, energy_kev, 120.0).per_cm
    image = torch.from_numpy(mbq)
    parts = []
    for first in range(0, geometry.views, VIEWS_AT_ONCE):
        part = slice(first, first + VIEWS_AT_ONCE)
        views = Geometry(fine.shape_zyx, (fine.spacing_mm[0], fine.spacing_mm[2]),
                         geometry.angle_deg[part], geometry.radius_mm[part])  # fmt: skip
        seen = ParallelHoleModel(views, response, mu).forward(image).double().numpy()
        count, rows, bins = seen.shape
        parts.append(seen.reshape(count, rows // 2, 2, bins // 2, 2).sum(axis=(2, 4)))
    return np.concatenate(parts)


def _halved(grid: Grid) -> Grid:
    """Voxels of half the edge on the same volume."""
    spacing = np.array(grid.spacing_mm)
    origin = np.array(grid.origin_mm) - grid.axes @ (spacing / 4)
    nz, ny, nx = grid.shape_zyx
    sx, sy, sz = (float(edge) / 2 for edge in spacing)
    at = (float(origin[0]), float(origin[1]), float(origin[2]))
    return Grid((2 * nz, 2 * ny, 2 * nx), (sx, sy, sz), at, grid.direction)


def _scatter(
    truth: Phantom,
    geometry: Geometry,
    response: Response,
    mu: Float32,
    windows: tuple[EnergyWindow, ...],
    share: float,
) -> Float64:
    """Scattered counts per MBq in each window (windows, views, axial, transaxial)."""
    peak, lower, upper = windows
    model = ParallelHoleModel(geometry, response, mu)
    near = _seen_scatter(model, truth, mu, share, 1.0)
    wide = _seen_scatter(model, truth, mu, share, LOWER_WINDOW_WIDER)
    wide *= near.sum() / max(wide.sum(), 1e-30)
    return np.stack([
        near,
        wide * (LOWER_PER_KEV * lower.width_kev / peak.width_kev),
        near * (UPPER_PER_KEV * upper.width_kev / peak.width_kev),
    ])  # fmt: skip


def _seen_scatter(
    model: ParallelHoleModel, truth: Phantom, mu: Float32, share: float, wider: float
) -> Float64:
    """Counts from an effective source: activity smeared out, in proportion to the tissue that scatters."""
    from scipy.ndimage import gaussian_filter

    grid = truth.grid
    mbq = truth.activity.bq_per_ml * (grid.voxel_ml / 1e6)
    smeared = sum(
        part
        * gaussian_filter(mbq, [wider * sigma / edge for edge in reversed(grid.spacing_mm)], mode="constant")
        for sigma, part in SCATTER_SPREAD
    )
    source = (share * smeared * mu / MU_WATER_PER_CM).astype(np.float32)
    return np.asarray(model.forward(torch.from_numpy(source)).double().numpy())


def _projections(
    counts: npt.NDArray[np.int32],
    windows: tuple[EnergyWindow, ...],
    geometry: Geometry,
    grid: Grid,
    settings: ScanSettings,
    collimator: Collimator,
    nuclide: str,
    started_at: datetime,
    seed: int,
) -> Projections:
    """The noun, with a series UID that follows from the seed. Two heads take a half each, at one time."""
    seconds = np.full(geometry.views, settings.seconds_per_view)
    heads = 2 if geometry.views % 2 == 0 else 1
    started = np.tile(np.arange(geometry.views // heads) * settings.seconds_per_view, heads)
    uid = f"2.25.{int(np.random.default_rng(seed).integers(2**62))}"
    return Projections(
        counts, windows, 0, geometry.angle_deg, geometry.radius_mm, seconds, started,
        geometry.voxel_mm, grid, started_at, nuclide, collimator.name, f"{uid}.1", f"{uid}.2",
        facts={"manufacturer": "SIMULATED (not a camera)", "seed": str(seed), "detectors": str(heads)},
    )  # fmt: skip
