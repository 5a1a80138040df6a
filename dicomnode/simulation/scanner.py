"""Imaging of a simulated patient: a SPECT with blur and counting noise, a CT with noise and a couch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.model import ActivityMap, Grid, HuMap, LabelMap
from dicomnode.simulation.patient import SimulatedPatient, Size

REFERENCE_HOURS = 24.0
"""The scan at this time is made without a shift: its frame is the patient's own."""
SENSITIVITY_CPS_PER_MBQ = 5.67
"""SPECT sensitivity for 177Lu, Santoro et al. 2018, 10.1186/s13550-018-0459-4: 5.67 +- 0.08 cps/MBq."""
DURATION_S = 1800.0
PSF_FWHM_MM = 12.0
"""Resolution of the whole image: camera and post-filter together."""
POST_FILTER_FWHM_MM = 6.0
"""Part of the resolution that comes after counting, so that the noise is correlated as it is in images."""
CT_NOISE_HU = 12.0
SPECT_GRID: Mapping[Size, tuple[int, int, float]] = {"full": (128, 96, 4.42), "small": (64, 64, 6.6)}
"""Matrix, slices, voxel size in mm."""
CT_GRID: Mapping[Size, tuple[int, float, int, float]] = {
    "full": (256, 2.0, 140, 3.0),
    "small": (112, 4.4, 84, 5.0),
}
"""Matrix, pixel in mm, slices, slice distance in mm."""


@dataclass(frozen=True)
class Pose:
    """Where the patient lies on the couch: p (patient) is at R p + shift (scanner), R = Rz Ry Rx."""

    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def rotation(self) -> npt.NDArray[np.float64]:
        ax, ay, az = np.deg2rad(self.rotation_deg)
        rx = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
        ry = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
        rz = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
        return np.asarray(rz @ ry @ rx)

    def to_scanner(self, patient_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Scanner coordinates (..., 3) of points (..., 3) of the patient."""
        return np.asarray(np.asarray(patient_mm) @ self.rotation.T + np.array(self.shift_mm))


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """One SPECT/CT of a simulated patient.

    Attributes
    ----------
    hours : start of the acquisition after administration, h
    acquired_at : the same as an aware datetime
    duration_s : of the SPECT, s; its values are decay-corrected to the start
    pose : of the patient on the couch
    counts : float32 (z, y, x), reconstructed counts per voxel in the whole duration
    sensitivity_cps_per_mbq : so that activity = counts / (sensitivity * duration)
    activity : ActivityMap, Bq/mL
    ct : HuMap in the same frame of reference
    seed : of the noise and the pose
    """

    hours: float
    acquired_at: datetime
    duration_s: float
    pose: Pose
    counts: npt.NDArray[np.float32]
    sensitivity_cps_per_mbq: float
    activity: ActivityMap
    ct: HuMap
    seed: int


def scan(
    patient: SimulatedPatient, hours: float, *, seed: int = 0, pose: Pose | None = None, noise: bool = True
) -> SimulatedScan:
    """Image the patient ``hours`` after administration.

    Without a ``pose``, one is drawn: a few mm and 1 to 2 degrees, none at ``REFERENCE_HOURS``. Noise is
    Poisson in each voxel of the image blurred to the camera's resolution, then filtered; this stands for a
    reconstruction whose noise grows with activity, it is not one. Nothing is scattered or attenuated.
    """
    rng = np.random.default_rng([patient.seed, seed, round(hours * 1000)])
    drawn = _draw_pose(rng)
    if pose is None:
        pose = Pose() if hours == REFERENCE_HOURS else drawn
    grid = spect_grid(patient.size)
    counts = _counts(patient, hours, pose, grid, rng if noise else None)
    per_voxel = SENSITIVITY_CPS_PER_MBQ * DURATION_S * grid.voxel_ml / 1e6
    return SimulatedScan(
        hours=hours,
        acquired_at=patient.administration.at + timedelta(hours=hours),
        duration_s=DURATION_S,
        pose=pose,
        counts=counts,
        sensitivity_cps_per_mbq=SENSITIVITY_CPS_PER_MBQ,
        activity=ActivityMap(grid, counts / np.float32(per_voxel)),
        ct=_ct(patient, pose, rng if noise else None),
        seed=seed,
    )


def spect_grid(size: Size) -> Grid:
    """Grid of the simulated SPECT, centred on the patient's origin."""
    matrix, slices, voxel = SPECT_GRID[size]
    half, high = (matrix - 1) / 2 * voxel, (slices - 1) / 2 * voxel
    return Grid((slices, matrix, matrix), (voxel,) * 3, (-half, -half, -high))


def ct_grid(size: Size) -> Grid:
    """Grid of the simulated CT."""
    matrix, pixel, slices, distance = CT_GRID[size]
    half, high = (matrix - 1) / 2 * pixel, (slices - 1) / 2 * distance
    return Grid((slices, matrix, matrix), (pixel, pixel, distance), (-half, -half, -high))


def regions_on(patient: SimulatedPatient, grid: Grid) -> LabelMap:
    """The true regions on another grid of the patient's own frame."""
    shares = {
        name: np.clip(averaged_on(share, patient.grid, grid, outside=0.0), 0.0, 1.0)
        for name, share in patient.regions.shares.items()
    }
    return LabelMap(grid, shares, dict(patient.regions.volume_ml))


def averaged_on(
    values: npt.NDArray[np.float32], grid: Grid, target: Grid, *, outside: float
) -> npt.NDArray[np.float32]:
    """Values of the patient's frame averaged over the voxels of a coarser grid (3 x 3 x 3 samples each)."""
    fold = 3
    sx, sy, sz = (s / fold for s in target.spacing_mm)
    ox, oy, oz = np.array(target.origin_mm) - target.axes @ (np.array([sx, sy, sz]) * (fold - 1) / 2)
    nz, ny, nx = target.shape_zyx
    fine = Grid((nz * fold, ny * fold, nx * fold), (sx, sy, sz), (ox, oy, oz), target.direction)
    sampled = resample(values, grid, fine, Pose(), outside)
    blocks = sampled.reshape(nz, fold, ny, fold, nx, fold)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float64), dtype=np.float32)


def _draw_pose(rng: np.random.Generator) -> Pose:
    turn = rng.uniform(1.0, 2.0, 3) * rng.choice((-1.0, 1.0), 3) * (0.6, 0.6, 1.0)
    shift = rng.uniform(3.0, 8.0, 3) * rng.choice((-1.0, 1.0), 3)
    return Pose(
        (float(turn[0]), float(turn[1]), float(turn[2])), (float(shift[0]), float(shift[1]), float(shift[2]))
    )


def _counts(
    patient: SimulatedPatient, hours: float, pose: Pose, grid: Grid, rng: np.random.Generator | None
) -> npt.NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    sharp = patient.concentration(patient.activity_mbq(hours))
    before_mm = (PSF_FWHM_MM**2 - POST_FILTER_FWHM_MM**2) ** 0.5
    blurred = gaussian_filter(sharp, _sigma(before_mm, patient.grid), mode="constant", truncate=3.5)
    expected = resample(blurred, patient.grid, grid, pose, 0.0)
    expected *= np.float32(grid.voxel_ml * SENSITIVITY_CPS_PER_MBQ * DURATION_S)
    counted = expected if rng is None else rng.poisson(expected).astype(np.float32)
    smooth = gaussian_filter(counted, _sigma(POST_FILTER_FWHM_MM, grid), mode="constant", truncate=4.0)
    return np.asarray(smooth, dtype=np.float32)


def _sigma(fwhm_mm: float, grid: Grid) -> list[float]:
    """Standard deviation in voxels along z, y, x of a Gaussian of the given width."""
    return [fwhm_mm / 2.3548 / spacing for spacing in reversed(grid.spacing_mm)]


def _ct(patient: SimulatedPatient, pose: Pose, rng: np.random.Generator | None) -> HuMap:
    from scipy.ndimage import gaussian_filter

    grid = ct_grid(patient.size)
    hu = resample(patient.ct.hu, patient.grid, grid, pose, -1000.0)
    _add_couch(hu, grid)
    if rng is not None:
        noise = rng.standard_normal(hu.shape, dtype=np.float32)
        # Filtered in the slice as a soft kernel does; divided so that the standard deviation stays.
        noise = gaussian_filter(noise, (0.0, 0.7, 0.7), truncate=3.0)
        hu += noise * np.float32(CT_NOISE_HU / noise.std())
    return HuMap(grid, np.rint(np.clip(hu, -1024.0, 3071.0)))


def _add_couch(hu: npt.NDArray[np.float32], grid: Grid) -> None:
    """A curved carbon-fibre couch with a foam core, fixed to the scanner; only where there is air."""
    _nz, ny, nx = grid.shape_zyx
    x = grid.origin_mm[0] + grid.spacing_mm[0] * np.arange(nx)[None, :]
    y = grid.origin_mm[1] + grid.spacing_mm[1] * np.arange(ny)[:, None]
    depth = y - (136.0 - 26.0 * (x / 215.0) ** 2)
    shell_mm = max(3.0, grid.spacing_mm[0])
    inside = (np.abs(x) < 215.0) & (depth > 0) & (depth < 32.0)
    core = (np.abs(x) < 215.0 - shell_mm) & (depth > shell_mm) & (depth < 32.0 - shell_mm)
    couch = np.where(core, -940.0, -250.0)
    hu[:] = np.where(inside & (hu < -900.0), couch.astype(np.float32), hu)


def resample(
    values: npt.NDArray[np.float32], grid: Grid, target: Grid, pose: Pose, outside: float
) -> npt.NDArray[np.float32]:
    """Values of the patient's frame as seen on a grid of the scanner's, linearly interpolated."""
    import SimpleITK as sitk  # noqa: N813

    def image(array: npt.NDArray[np.float32], geometry: Grid) -> Any:
        made = sitk.GetImageFromArray(array)
        made.SetSpacing(geometry.spacing_mm)
        made.SetOrigin(geometry.origin_mm)
        made.SetDirection(geometry.direction)
        return made

    # ITK maps points of the target to points of the source: p = R' (q - shift).
    inverse = sitk.AffineTransform(3)
    inverse.SetMatrix(pose.rotation.T.ravel().tolist())
    inverse.SetTranslation((-pose.rotation.T @ np.array(pose.shift_mm)).tolist())
    sampler = sitk.ResampleImageFilter()
    sampler.SetSize(list(reversed(target.shape_zyx)))
    sampler.SetOutputSpacing(target.spacing_mm)
    sampler.SetOutputOrigin(target.origin_mm)
    sampler.SetOutputDirection(target.direction)
    sampler.SetTransform(inverse)
    sampler.SetInterpolator(sitk.sitkLinear)
    sampler.SetDefaultPixelValue(outside)
    array: npt.NDArray[np.float32] = sitk.GetArrayFromImage(sampler.Execute(image(values, grid)))
    return array
