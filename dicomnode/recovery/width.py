"""How wide the image draws a point, by the size of the object, and who says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import log, sqrt

import numpy as np

from dicomnode.errors import Inconsistent

FWHM_PER_SIGMA = 2.0 * sqrt(2.0 * log(2.0))

ASSUMED_MM = 12.0
"""Width of a 177Lu SPECT of which nothing is known, FWHM, mm (our simulated camera's; Robinson et al. 2016,
PMC4943909, find 10 to 15 mm)."""
ASSUMED_RELATIVE = 0.25
PATIENT_RELATIVE = 0.15
"""Of a width read off the patient's own images, which errs low where contours or registration err."""


class WidthSource(StrEnum):
    """Who says how wide the image is; the first that is known counts."""

    SPHERES = "spheres"
    """A sphere scan of the same camera, nuclide and protocol."""
    SITE = "site"
    """The site's own figure."""
    PATIENT = "patient"
    """This patient's own images."""
    ASSUMED = "assumed"
    """Nobody: good for a warning and an upper limit, never for a corrected dose."""


@dataclass(frozen=True)
class Width:
    """Full width at half maximum of the image by object volume.

    An iterative reconstruction with a model of resolution draws small objects wider than large ones, since
    they converge later; one width for all is the case of one volume.

    Attributes
    ----------
    volume_ml : increasing object volumes, mL
    fwhm_mm : width at each, mm; linear in ln V between, constant outside
    relative_uncertainty : standard uncertainty, common to all volumes
    source : WidthSource
    said_by : record, protocol, person or date behind it
    """

    volume_ml: tuple[float, ...]
    fwhm_mm: tuple[float, ...]
    relative_uncertainty: float
    source: WidthSource
    said_by: str = ""

    def __post_init__(self) -> None:
        if not self.volume_ml or len(self.volume_ml) != len(self.fwhm_mm):
            raise Inconsistent(
                f"a width needs as many volumes as widths, got {len(self.volume_ml)} and {len(self.fwhm_mm)}"
            )
        if any(b <= a for a, b in zip((0.0, *self.volume_ml), self.volume_ml, strict=False)):
            raise Inconsistent("the volumes of a width must be positive and increasing")
        if not all(w >= 0 for w in self.fwhm_mm):
            raise Inconsistent("a width cannot be negative", attribute="fwhm_mm", value=str(self.fwhm_mm))

    @classmethod
    def of(cls, fwhm_mm: float, relative_uncertainty: float, source: WidthSource, said_by: str = "") -> Width:
        """One width for objects of every size."""
        return cls((1.0,), (fwhm_mm,), relative_uncertainty, source, said_by)

    @property
    def corrects(self) -> bool:
        """Whether a dose may be corrected by it."""
        return self.source is not WidthSource.ASSUMED

    def at(self, volume_ml: float) -> float:
        """Width for an object of this volume, mm."""
        return float(np.interp(log(max(volume_ml, 1e-6)), np.log(self.volume_ml), self.fwhm_mm))

    @property
    def largest_mm(self) -> float:
        """Width for the largest objects: what the tissue between regions is drawn with."""
        return self.fwhm_mm[-1]

    def times(self, factor: float) -> Width:
        """The same, every width multiplied."""
        return replace(self, fwhm_mm=tuple(w * factor for w in self.fwhm_mm))

    def __str__(self) -> str:
        low, high = min(self.fwhm_mm), max(self.fwhm_mm)
        size = f"{low:.1f} mm" if low == high else f"{low:.1f} to {high:.1f} mm"
        by = f", {self.said_by}" if self.said_by else ""
        return f"{size} ± {self.relative_uncertainty:.0%} ({self.source}{by})"


def assumed() -> Width:
    """What stands where nothing is known."""
    return Width.of(ASSUMED_MM, ASSUMED_RELATIVE, WidthSource.ASSUMED, "nothing is known of the image")
