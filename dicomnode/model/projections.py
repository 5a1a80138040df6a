"""Raw SPECT projections, freed of the way in which a camera stores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent
from dicomnode.model.findings import Finding
from dicomnode.model.grid import Grid


@dataclass(frozen=True)
class EnergyWindow:
    """One energy window of the camera; several ranges where it sums peaks (113 and 208 keV of 177Lu)."""

    name: str
    ranges_kev: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.ranges_kev or not all(0 < low < high for low, high in self.ranges_kev):
            raise Inconsistent(f"energy window {self.name!r} has no valid range: {self.ranges_kev} keV")

    @property
    def width_kev(self) -> float:
        """Sum of the widths of its ranges."""
        return sum(high - low for low, high in self.ranges_kev)

    @property
    def centre_kev(self) -> float:
        """Middle of the window, weighted by width where there are several ranges."""
        return sum((high - low) * (high + low) / 2 for low, high in self.ranges_kev) / self.width_kev


@dataclass(frozen=True, eq=False)
class Projections:
    """Counts of every window and view, in the geometry of the grid that they are reconstructed on.

    The reader has undone frame order, gantry conventions and patient position, so that a projector needs
    no DICOM. With ``a`` the angle of a view, the detector's face is at the distance ``radius_mm`` from the
    axis of rotation (the centre of ``grid`` along x and y), on the side of the unit vector
    ``(cos a, sin a)`` along the grid's x and y index axes. Transaxial bins go along ``(-sin a, cos a)``,
    with their middle on the axis; axial rows go with the grid's z index.

    Attributes
    ----------
    counts : int32 (windows, views, axial, transaxial), the camera's own integers
    windows : energy windows in the order of the first axis
    peak : index of the window to reconstruct
    angle_deg, radius_mm : (views,)
    seconds : (views,) live time of each view, s; 0 where not stated
    started_s : (views,) start of each view after ``started_at``, s
    pixel_mm : size of a detector pixel (transaxial, axial), mm
    grid : shape (axial, transaxial, transaxial), spacing (transaxial, transaxial, axial), in patient
        coordinates where the object states them
    started_at : aware datetime of the first view
    nuclide, collimator : as in the object ("Lu-177"; collimator name and type are in ``facts``)
    raw : True where the counts are unscaled Poisson counts. Thinning and self-supervision need that
    facts : what calibration records are chosen by (manufacturer, model, station, collimator, ...) and
        what checks need
    """

    counts: npt.NDArray[np.int32]
    windows: tuple[EnergyWindow, ...]
    peak: int
    angle_deg: npt.NDArray[np.float64]
    radius_mm: npt.NDArray[np.float64]
    seconds: npt.NDArray[np.float64]
    started_s: npt.NDArray[np.float64]
    pixel_mm: tuple[float, float]
    grid: Grid
    started_at: datetime
    nuclide: str
    collimator: str
    series_uid: str
    frame_of_reference_uid: str
    raw: bool = True
    origin: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        if self.counts.ndim != 4 or not np.issubdtype(self.counts.dtype, np.integer):
            raise Inconsistent(
                f"projections are whole counts (windows, views, axial, transaxial), got {self.counts.dtype} "
                f"of shape {self.counts.shape}"
            )
        if self.counts.min() < 0:
            raise Inconsistent("projections hold negative counts")
        windows, views, axial, transaxial = self.counts.shape
        if windows != len(self.windows) or not 0 <= self.peak < windows:
            raise Inconsistent(f"{windows} windows of counts, {len(self.windows)} named, peak {self.peak}")
        for name in ("angle_deg", "radius_mm", "seconds", "started_s"):
            if getattr(self, name).shape != (views,):
                raise Inconsistent(f"{name} has shape {getattr(self, name).shape}, there are {views} views")
        if self.grid.shape_zyx != (axial, transaxial, transaxial):
            raise Inconsistent(
                f"the grid {self.grid.shape_zyx} does not fit detector rows and bins ({axial}, {transaxial})"
            )

    @property
    def duration_s(self) -> float:
        """From the first start to the last end, s."""
        return float((self.started_s + self.seconds).max())
