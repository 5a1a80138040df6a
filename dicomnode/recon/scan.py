"""A scan as the algorithms see it: counts, what is added to them, and the camera's model with its times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dicomnode.errors import Inconsistent, MissingAttribute, Refused
from dicomnode.model import Finding, Severity
from dicomnode.model.projections import Projections
from dicomnode.physics.nuclides import nuclide
from dicomnode.recon.algorithms.measurement import Measurement
from dicomnode.recon.calibration.record import SpectCalibration, dead_time_factor, mean_decay
from dicomnode.recon.camera.attenuation import AttenuationMap, photopeak_kev
from dicomnode.recon.camera.collimator import Collimator
from dicomnode.recon.camera.model import Geometry, SystemModel
from dicomnode.recon.camera.projector import ParallelHoleModel
from dicomnode.recon.camera.scatter import Scatter, estimate_scatter
from dicomnode.recon.camera.view_weights import WeightedModel
from dicomnode.recon.learned.networks import Crop
from dicomnode.recon.protocol import Protocol

BODY_PER_CM = 0.3
"""Part of the largest attenuation below 0.2 per cm that counts as body; our own choice, lungs included."""
LOSS_TO_TELL = 0.05
"""Dead-time loss of a view above which a warning is given; our own choice."""
COUNTS_PER_SUBSET = 1e4
"""Fewer bias OSEM: negative fluctuations are cut at zero. Our own choice of the limit."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What every algorithm is given.

    Attributes
    ----------
    model : expected counts per view of an image in counts per voxel towards a mean view
    data : all counts of the peak, and the scatter in them
    scatter : how that was estimated
    mu_per_cm : attenuation (z, y, x), zero where it is not modelled
    crop : box around the body
    voxel_mm : (z, y, x)
    seconds : effective live time of a mean view: decay and dead time during the scan taken off
    findings : about times and counts
    """

    model: SystemModel
    data: Measurement
    scatter: Scatter
    mu_per_cm: Tensor
    crop: Crop
    voxel_mm: tuple[float, float, float]
    seconds: float
    findings: tuple[Finding, ...]


def prepare(
    projections: Projections,
    attenuation: AttenuationMap | None,
    protocol: Protocol,
    collimator: Collimator,
    calibration: SpectCalibration | None = None,
) -> Scan:
    """Model and data of a scan.

    Raises
    ------
    Refused : counts that are not raw with a method that thins them; attenuation asked for and not there
    Inconsistent : an attenuation map on another grid
    MissingAttribute : live times
    """
    _check(projections, attenuation, protocol)
    mu = _mu(projections, attenuation)
    energy = photopeak_kev(projections)
    response = collimator.response(energy) if protocol.resolution else None
    camera = ParallelHoleModel(Geometry.of(projections), response, mu if protocol.attenuation else None)
    times, findings = _live_times(projections, calibration)
    mean = float(times.mean())
    scatter = estimate_scatter(projections, protocol.scatter)
    counts = torch.from_numpy(projections.counts[projections.peak].astype(np.float32))
    x, y, z = projections.grid.spacing_mm
    return Scan(
        model=WeightedModel(camera, torch.from_numpy((times / mean).astype(np.float32))),
        data=Measurement(counts, torch.from_numpy(scatter.counts)),
        scatter=scatter,
        mu_per_cm=torch.from_numpy(mu),
        crop=Crop.around(_body(mu, camera)),
        voxel_mm=(z, y, x),
        seconds=mean,
        findings=(*findings, *_few_counts(counts, protocol)),
    )


def _check(projections: Projections, attenuation: AttenuationMap | None, protocol: Protocol) -> None:
    if not projections.raw and protocol.automatic:
        raise Refused(
            f"{protocol.algorithm} with automatic choices thins the counts, which only raw counts allow",
            attribute="RescaleSlope",
            uid=projections.series_uid,
            remedy="Send the projections as acquired, or use osem with a fixed number of iterations",
        )
    if attenuation is None and protocol.attenuation:
        raise Refused(
            "the protocol models attenuation and there is no CT",
            uid=projections.series_uid,
            remedy="Give the CT of the same session, or a protocol with attenuation = false",
        )
    if attenuation is not None and not attenuation.grid.matches(projections.grid):
        raise Inconsistent("the attenuation map lies on another grid than the projections' image")
    if not (projections.seconds > 0).all():
        raise MissingAttribute(
            "the live time of the views is not stated, so counts cannot become a rate",
            attribute="ActualFrameDuration",
            uid=projections.series_uid,
            remedy="Ask the sender to keep ActualFrameDuration in RotationInformationSequence",
        )


def _mu(projections: Projections, attenuation: AttenuationMap | None) -> npt.NDArray[np.float32]:
    if attenuation is None:
        return np.zeros(projections.grid.shape_zyx, np.float32)
    return np.array(attenuation.per_cm, dtype=np.float32)


def _body(mu: npt.NDArray[np.float32], camera: SystemModel) -> Tensor:
    level = BODY_PER_CM * float(mu[mu < 0.2].max(initial=0.0))
    body = torch.from_numpy(mu > level) if level > 0 else camera.sensitivity() > 0
    return body if bool(body.any()) else camera.sensitivity() > 0


def _live_times(
    projections: Projections, calibration: SpectCalibration | None
) -> tuple[npt.NDArray[np.float64], list[Finding]]:
    """Seconds of each view at the activity of the first start that would give its expected counts."""
    times = projections.seconds.astype(np.float64)
    if projections.nuclide:
        half_life = nuclide(projections.nuclide).half_life_s
        times = times * mean_decay(projections.started_s, projections.seconds, half_life)
    corrected = "DTIM" in projections.facts.get("corrected_image", "")
    if calibration is None or not calibration.dead_time_us or corrected:
        return times, []
    observed = projections.counts.sum(axis=(0, 2, 3)) / projections.seconds
    factor = dead_time_factor(observed, calibration.dead_time_us)
    return times / factor, _loss(1 - 1 / float(factor.max()), float(observed.max()), projections)


def _loss(loss: float, rate: float, projections: Projections) -> list[Finding]:
    if loss < LOSS_TO_TELL:
        return []
    return [
        Finding(
            "recon-dead-time",
            Severity.WARNING,
            f"a view lost {loss:.1%} of its counts to dead time at {rate:.4g} counts/s in its windows; "
            f"it is corrected by the record's dead time, which is less sure for windows than for the whole "
            f"spectrum",
            measured=loss,
            limit=LOSS_TO_TELL,
            subject=projections.series_uid,
            source="our own choice; windows against spectrum: doi 10.1186/s40658-020-00296-w",
        )
    ]


def _few_counts(counts: Tensor, protocol: Protocol) -> Sequence[Finding]:
    each = float(counts.sum(dtype=torch.float64)) / protocol.parts
    if protocol.parts == 1 or each >= COUNTS_PER_SUBSET:
        return ()
    return (
        Finding(
            "recon-few-counts",
            Severity.WARNING,
            f"a subset has {each:.0f} counts, below {COUNTS_PER_SUBSET:.0f} ordered subsets are biased; use "
            f"fewer subsets",
            measured=each,
            limit=COUNTS_PER_SUBSET,
            unit="counts",
            source="our own choice",
        ),
    )
