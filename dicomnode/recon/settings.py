"""Settings of the reconstruction as the node and the command line use it."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, field_validator

from dicomnode.errors import Refused
from dicomnode.model import Settings
from dicomnode.model.choice import Choice, refuse_clashes
from dicomnode.model.projections import Projections
from dicomnode.recon.calibration.record import SPECT_CALIBRATION, SpectCalibration
from dicomnode.recon.examination.acquisition import AcquisitionLimits
from dicomnode.recon.examination.outline import OutlineLimits
from dicomnode.recon.protocol import Protocol


class CameraSettings(Settings):
    """How the projections of one camera are understood. Every text that is given must match."""

    manufacturer: str = Field("", description="Manufacturer (0008,0070) contains this text, any case")
    model: str = Field("", description="ManufacturerModelName (0008,1090) contains this text, any case")
    grid_name: str = Field("", description="CollimatorGridName (0018,1180) contains this text, any case")
    collimator: str = Field(
        description="name of the collimator's geometry (`dicomnode recon --help` lists them)"
    )
    angles_counted: Literal["patient", "gantry"] = Field(
        "patient", description="whom Start Angle refers to; the standard says the patient"
    )


CAMERA: Choice[CameraSettings] = Choice(
    table="[[recon.camera]]",
    name=lambda c: c.collimator,
    effect=lambda c: (c.collimator, c.angles_counted),
    reach=lambda c: tuple(t.casefold() for t in (c.manufacturer, c.model, c.grid_name)),
)


class ReconSettings(Settings):
    """Reconstruction of raw SPECT projections."""

    reconstruct: bool = Field(
        False, description="make time points of raw projections and the CT of their frame of reference"
    )
    seed: int = Field(0, ge=0, description="random seed; same seed, same bytes")
    protocol: Protocol = Protocol()
    acquisition: AcquisitionLimits = AcquisitionLimits()
    outline: OutlineLimits = OutlineLimits()
    camera: tuple[CameraSettings, ...] = Field(
        (), description="cameras whose projections are reconstructed; all that match one must agree"
    )
    calibration: tuple[SpectCalibration, ...] = Field(
        (), description="calibration records, made by `dicomnode recon calibrate`"
    )

    @field_validator("camera")
    @classmethod
    def _no_camera_twice(cls, value: tuple[CameraSettings, ...]) -> tuple[CameraSettings, ...]:
        return tuple(refuse_clashes(CAMERA, value))

    @field_validator("calibration")
    @classmethod
    def _no_record_twice(cls, value: tuple[SpectCalibration, ...]) -> tuple[SpectCalibration, ...]:
        return tuple(refuse_clashes(SPECT_CALIBRATION, value))

    def camera_of(self, manufacturer: str, model: str, grid_name: str, uid: str) -> CameraSettings:
        """The camera that took an acquisition. Raises Refused where none matches, or several that differ."""
        fitting = [
            camera for camera in self.camera
            if camera.manufacturer.casefold() in manufacturer.casefold()
            and camera.model.casefold() in model.casefold()
            and camera.grid_name.casefold() in grid_name.casefold()
        ]  # fmt: skip
        if fitting:
            return CAMERA.among(fitting, date.max, uid)
        raise Refused(
            f"no [[recon.camera]] matches {manufacturer or '?'} {model or '?'} with the collimator "
            f"{grid_name or '?'}, so its collimator's geometry is not known",
            attribute="CollimatorGridName", value=grid_name, uid=uid,
            remedy="Add a [[recon.camera]] table that names the collimator",
        )  # fmt: skip

    def camera_that_took(self, projections: Projections) -> CameraSettings:
        """The camera that took these projections. Raises Refused where none matches."""
        facts = projections.facts
        return self.camera_of(
            facts.get("manufacturer", ""),
            facts.get("model", ""),
            projections.collimator,
            projections.series_uid,
        )
