"""The table [recovery]: what is done about partial volume, and how wide images from elsewhere are."""

from __future__ import annotations

from datetime import date
from typing import Literal, Self

from pydantic import Field, model_validator

from dicomnode.model import Settings
from dicomnode.recovery.width import Width, WidthSource


class ImageWidth(Settings):
    """Width of the images of one camera, nuclide and protocol, as the site knows it."""

    nuclide: str = Field(description="nuclide as ICRP 107 writes it, e.g. Lu-177", min_length=1)
    model: str = Field(description="ManufacturerModelName (0008,1090) of the images, exactly", min_length=1)
    protocol: str = Field(
        description="reconstruction in words: iterations, subsets, filter, resolution model", min_length=1
    )
    measured_on: date = Field(description="day of the sphere scan or of the estimate")
    fwhm_mm: tuple[float, ...] = Field(description="full width at half maximum, mm; one, or one a volume")
    volume_ml: tuple[float, ...] = Field(
        (), description="volumes of the spheres that the widths belong to, mL, increasing; none for one width"
    )
    relative_uncertainty: float = Field(
        0.10, ge=0.01, lt=0.5, description="standard uncertainty of the width, relative"
    )

    @model_validator(mode="after")
    def _is_a_width(self) -> Self:
        if len(self.fwhm_mm) != max(len(self.volume_ml), 1) or not all(0 < w < 60 for w in self.fwhm_mm):
            raise ValueError("fwhm_mm must hold one width between 0 and 60 mm, or one for each of volume_ml")
        if any(b <= a for a, b in zip((0.0, *self.volume_ml), self.volume_ml, strict=False)):
            raise ValueError("volume_ml must be positive and increasing")
        return self

    def width(self) -> Width:
        said = f"{self.model}, {self.protocol}, {self.measured_on}"
        volumes = self.volume_ml or (1.0,)
        return Width(volumes, self.fwhm_mm, self.relative_uncertainty, WidthSource.SITE, said)


class RecoverySettings(Settings):
    """The settings of this room."""

    use: Literal["report", "off"] = Field(
        "report",
        description="partial-volume correction: report (both values side by side; maps, course and checks "
        "keep the uncorrected one) or off",
    )
    widths: tuple[ImageWidth, ...] = Field(
        (), description="widths of images reconstructed elsewhere, by camera and nuclide"
    )
    from_patient: bool = Field(
        True, description="where no width is known, read it off the patient's own images (a lower bound)"
    )
    contour_mm: float = Field(
        1.0, gt=0, lt=10, description="standard uncertainty of a contour's edge, mm, common to a region"
    )
    registration_mm: float = Field(
        1.5,
        ge=0,
        lt=20,
        description="standard uncertainty of the image's place under the contours, mm an axis",
    )
    regions: tuple[str, ...] = Field(
        (), description="regions that may have a corrected value; empty: every region"
    )

    def width_of(self, nuclide: str, model: str) -> Width | None:
        """The site's width for a nuclide and a camera, the latest measured; None for none."""
        fit = [w for w in self.widths if (w.nuclide, w.model) == (nuclide, model)]
        return max(fit, key=lambda w: w.measured_on).width() if fit else None
