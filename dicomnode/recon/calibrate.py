"""Calibration records from scans of phantoms, with the protocol that will use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import exp, hypot, log

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent, Refused
from dicomnode.model import Finding, Severity
from dicomnode.model.projections import Projections
from dicomnode.physics.nuclides import nuclide
from dicomnode.recon.calibration.phantom_scan import Sphere, cylinder_factor, sphere_recoveries
from dicomnode.recon.calibration.record import (
    SpectCalibration,
    fit_dead_time,
    fit_recovery,
    fitting,
    mean_decay,
    windows_of,
)
from dicomnode.recon.camera.attenuation import AttenuationMap
from dicomnode.recon.camera.collimator import Collimator, collimator
from dicomnode.recon.camera.scatter import ScatterMethod
from dicomnode.recon.protocol import Protocol
from dicomnode.recon.reconstruct import reconstruct
from dicomnode.recon.scan import prepare

BOOTSTRAPS = 8
"""For the noise of a calibration factor: known to 27 %, which is enough beside the activity meter's; our own
choice."""


@dataclass(frozen=True)
class Cylinder:
    """What a person measured of a uniform cylinder.

    Attributes
    ----------
    name : of the record to be made
    activity_mbq : in the cylinder at ``measured_at``, an aware time
    volume_ml : filled volume, None where it is not known
    relative_uncertainty : standard uncertainty of the activity, relative
    dead_time_us : paralysable dead time for the count rate over all windows
    traceability : activity meter, its certificate and date
    """

    name: str
    activity_mbq: float
    measured_at: datetime
    volume_ml: float | None = None
    relative_uncertainty: float = 0.05
    dead_time_us: float | None = None
    traceability: str = ""


def calibrate_camera(
    projections: Projections,
    attenuation: AttenuationMap | None,
    protocol: Protocol,
    collimator_name: str,
    cylinder: Cylinder,
) -> tuple[SpectCalibration, tuple[Finding, ...]]:
    """The record of a cylinder scan, and what is doubtful about its reconstruction. The factor is that of the
    concentration in the middle where the volume is known, else that of all counts.

    Raises
    ------
    Refused : no nuclide; no cylinder; both ways to the factor disagree; no attenuation or scatter correction,
        be it by the protocol or because the scan has no windows for it
    """
    if not projections.nuclide:
        raise Refused("the scan does not name its nuclide", attribute="RadionuclideCodeSequence",
                      uid=projections.series_uid, remedy="State it with --nuclide")  # fmt: skip
    without_factor = _record(projections, protocol, collimator_name, cylinder, 1.0, 0.0)
    camera = collimator(collimator_name)
    scan = prepare(projections, attenuation, protocol, camera, without_factor)
    if not protocol.attenuation or scan.scatter.method is ScatterMethod.NONE:
        raise Refused(
            "attenuation or scatter is not corrected in this scan, so no factor for activity comes of it",
            attribute="EnergyWindowInformationSequence", uid=projections.series_uid,
            remedy="Acquire scatter windows beside the peak, and choose a protocol with both corrections",
        )  # fmt: skip
    quick = protocol.model_copy(update={"bootstraps": 0})
    made = reconstruct(projections, attenuation, quick, camera, without_factor)
    activity = activity_at(cylinder.activity_mbq, cylinder.measured_at, projections)
    found = cylinder_factor(made.counts, made.grid, scan.seconds, activity, cylinder.volume_ml)
    factor = found.of_total if found.of_middle is None else found.of_middle
    region = found.middle if found.of_middle is not None else np.ones(made.grid.shape_zyx, dtype=bool)
    noise, told = _noise(projections, attenuation, protocol, camera, region)
    record = _record(projections, protocol, collimator_name, cylinder, factor, noise)
    return record, (*made.findings, *told)


def _noise(
    projections: Projections,
    attenuation: AttenuationMap | None,
    protocol: Protocol,
    camera: Collimator,
    region: npt.NDArray[np.bool_],
) -> tuple[float, tuple[Finding, ...]]:
    """Relative standard deviation of a region's mean by counting. Voxels of an image are not independent, so
    it comes from bootstraps of the whole chain."""
    repeated = protocol.model_copy(update={"bootstraps": BOOTSTRAPS})
    made = reconstruct(projections, attenuation, repeated, camera, regions={"region": region})
    if made.uncertainty is not None:
        return made.uncertainty.region_sigma["region"] / float(made.counts[region].mean()), ()
    sentence = (
        "the counts of this scan are not raw, so their noise is not in the uncertainty of the factor: it is "
        "that of the activity alone"
    )
    uid = projections.series_uid
    return 0.0, (Finding("recon-calibration-noise", Severity.WARNING, sentence, subject=uid),)


def with_recovery(
    record: SpectCalibration,
    projections: Projections,
    attenuation: AttenuationMap | None,
    protocol: Protocol,
    spheres: Sequence[Sphere],
    bq_per_ml: float,
    background_bq_per_ml: float = 0.0,
) -> tuple[SpectCalibration, tuple[Finding, ...]]:
    """The record with the recovery curve of a sphere phantom scanned alike, and what is doubtful about that
    scan's reconstruction.

    ``bq_per_ml``, ``background_bq_per_ml`` : true concentrations at the start of that scan.

    Raises
    ------
    Refused : a protocol whose resolution follows the counts, for which no curve holds; a scan of another
        camera, collimator, nuclide, window set or protocol than the record's
    Inconsistent : spheres outside the image, recoveries that cannot be, or that no curve passes
    """
    if protocol.automatic:
        raise Refused(
            "the protocol chooses its resolution by the counts of each scan, so no curve of a phantom holds",
            remedy="Fix prior_weight or iterations, or use the recovery of inserted regions",
        )
    fitting([record], projections, protocol, record.collimator)
    quick = protocol.model_copy(update={"bootstraps": 0})
    made = reconstruct(projections, attenuation, quick, collimator(record.collimator), record)
    measured = sphere_recoveries(made.activity.bq_per_ml, made.grid, spheres, bq_per_ml, background_bq_per_ml)
    curve = fit_recovery([sphere.volume_ml for sphere in spheres], measured)
    fitted = {"recovery_ml": curve.ml, "recovery_power": curve.power}
    return record.model_copy(update=fitted), made.findings


def dead_time_us(scans: Sequence[Projections], activity_mbq: Sequence[float]) -> float:
    """Paralysable dead time (us) for the count rate over all windows, of one source scanned at several
    activities, in its place and with the orbit unchanged.

    ``activity_mbq`` : at the start of each scan.

    Raises
    ------
    Inconsistent : as ``fit_dead_time``; scans that differ in camera, collimator, nuclide or windows; counts
        that the camera corrected for dead time; views of unknown live time
    """
    kinds = {_kind(scan) for scan in scans}
    if len(kinds) > 1:
        raise Inconsistent(f"the scans for the dead time differ: {' and '.join(map(str, sorted(kinds)))}")
    if any("DTIM" in scan.facts.get("corrected_image", "") for scan in scans):
        raise Inconsistent("the camera corrected for dead time already, so none can be measured",
                           attribute="CorrectedImage", value="DTIM")  # fmt: skip
    if not all((scan.seconds > 0).all() for scan in scans):
        raise Inconsistent("the live time of a view is not stated", attribute="ActualFrameDuration")
    during, rates = [], []
    for scan, activity in zip(scans, activity_mbq, strict=True):
        decay = mean_decay(scan.started_s, scan.seconds, nuclide(scan.nuclide).half_life_s)
        during.append(activity * float(decay.mean()))
        rates.append(float((scan.counts.sum(axis=(0, 2, 3)) / scan.seconds).mean()))
    return fit_dead_time(during, rates)[0]


def _kind(scan: Projections) -> tuple[str, ...]:
    names = ("manufacturer", "model", "station")
    return (
        *(scan.facts.get(name, "") for name in names),
        scan.collimator,
        scan.nuclide,
        str(windows_of(scan)),
    )


def activity_at(mbq: float, measured_at: datetime, scan: Projections) -> float:
    """Activity at the start of a scan, MBq, by decay from the time it was measured at."""
    elapsed = (scan.started_at - measured_at).total_seconds()
    return mbq * exp(-log(2.0) * elapsed / nuclide(scan.nuclide).half_life_s)


def _record(
    projections: Projections,
    protocol: Protocol,
    collimator_name: str,
    cylinder: Cylinder,
    factor: float,
    noise: float,
) -> SpectCalibration:
    return SpectCalibration(
        name=cylinder.name,
        manufacturer=projections.facts.get("manufacturer", ""),
        model=projections.facts.get("model", ""),
        station=projections.facts.get("station", ""),
        collimator=collimator_name,
        nuclide=projections.nuclide,
        windows_kev=windows_of(projections),
        protocol=protocol.digest(projections.grid),
        cps_per_mbq=factor,
        relative_uncertainty=hypot(cylinder.relative_uncertainty, noise),
        measured_on=projections.started_at.date(),
        radius_mm=float(projections.radius_mm.mean()),
        dead_time_us=cylinder.dead_time_us,
        traceability=cylinder.traceability,
    )
