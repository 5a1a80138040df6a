"""From the files of a job to calibrated time points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from dicomnode.calculation.files import Files
from dicomnode.calculation.job import Job, SeriesFiles, TimePointJob
from dicomnode.calculation.reconstruction import ct_of_spect
from dicomnode.calculation.record import Steps
from dicomnode.calculation.spect import (
    MadeSpect,
    holds_projections,
    reconstruct_time_point,
    with_counting_noise,
)
from dicomnode.check import rules
from dicomnode.config import Config
from dicomnode.cycle.calibration import calibrate
from dicomnode.model import Cycle, Finding, Nuclide, TimePoint
from dicomnode.model.statements import at_time_point


@dataclass(frozen=True, eq=False)
class ReadCycle:
    """A cycle whose images are read.

    Attributes
    ----------
    cycle : every time point in Bq/mL at the start of its acquisition, with its CT and its regions
    nuclide : of the administration
    made : the SPECT that were reconstructed here, from projections
    read_at : the instant that times of the images are compared with
    steps : the record so far: findings, and digests of the volumes
    recovery : whether partial volume is looked at; jobs of before say no
    """

    cycle: Cycle
    nuclide: Nuclide
    made: tuple[MadeSpect, ...]
    read_at: datetime
    steps: Steps
    recovery: bool = True


def read_cycle(job: Job, config: Config, files: Files, steps: Steps) -> ReadCycle:
    """Every time point of a job, decoded (or reconstructed from its projections), calibrated and checked one
    by one.

    Raises Refused, and NotReady where findings hold projections before they are reconstructed.
    """
    from dicomnode.physics.nuclides import nuclide as known_nuclide

    administration = job.administration.noun()
    nuclide = known_nuclide(administration.nuclide)
    with steps.step("read", zone=config.node.zone) as step:
        read = [_read(point, job, config, files, nuclide, steps) for point in job.time_points]
        points = tuple(point for point, _ in read)
        step.outputs({p.label: p.activity.bq_per_ml for p in points})
        step.measured({p.label: {"total_mbq": p.activity.total_mbq, **p.origin} for p in points})
    made = tuple(made for _, made in read if made is not None)
    return ReadCycle(Cycle(administration, points), nuclide, made, job.created_at, steps, job.recovery)


def _paths(series: SeriesFiles, files: Files) -> list[Path]:
    return [files.path(digest) for digest in series.instances.values()]


def _read(
    point: TimePointJob, job: Job, config: Config, files: Files, nuclide: Nuclide, steps: Steps
) -> tuple[TimePoint, MadeSpect | None]:
    from dicomnode.dicom.volumes import read_ct, read_emission

    zone, made = ZoneInfo(config.node.zone), None

    def found(findings: Iterable[Finding]) -> None:
        steps.found(at_time_point(findings, point.label))

    paths = _paths(point.emission, files)
    found(rules.ct_is_there(point.ct is not None, config.cycle.without_ct, point.emission.uid))
    ct = None
    if point.ct is not None:
        ct, about_ct = read_ct(_paths(point.ct, files))
        found(about_ct)
    records, uncertainty = config.cycle.calibration, None
    if holds_projections(paths, zone):
        of_spect = None
        if ct is not None and point.ct is not None:
            of_spect = ct_of_spect(_paths(point.ct, files)[0], ct, point.ct_frame, zone)
        volume, made, uncertainty = reconstruct_time_point(
            point.label, paths, of_spect, config, nuclide, steps
        )
        records = ()  # those are for volumes that cameras deliver
    else:
        volume = read_emission(paths, zone)
        if point.uncertainty is not None:
            volume = with_counting_noise(volume, _paths(point.uncertainty, files))
    found(rules.half_life_agrees(volume, nuclide, config.check))
    found(rules.nuclide_agrees(volume, nuclide))
    calibrated = calibrate(
        volume,
        nuclide=nuclide.name,
        half_life_s=nuclide.half_life_s,
        administered_at=job.administration.at,
        records=records,
    )
    found(calibrated.findings)
    if point.ct is not None:
        same = config.cycle.same_study_ct
        found(rules.frames_of_reference_agree(point.emission_frame, point.ct_frame, same, point.emission.uid))
    regions = None
    if point.structures:
        from dicomnode.dicom.regions.structures import read_structures

        paths = [path for series in point.structures for path in _paths(series, files)]
        # Where the site takes SPECT and CT as aligned, what is drawn on the CT lies on the SPECT as it is.
        aligned = point.ct_frame if config.cycle.same_study_ct else ""
        regions, about_regions = read_structures(
            paths, volume.grid, point.emission_frame, aligned_frame=aligned
        )
        found(f for f in about_regions if f.subject not in job.regions_left_out)
        regions = regions.without(job.regions_left_out)
    time_point = TimePoint(
        label=point.label,
        acquired_at=calibrated.at,
        duration_s=volume.duration_s or 0.0,
        activity=calibrated.activity,
        ct=ct,
        regions=regions,
        spect_uid=point.emission.uid,
        ct_uid=point.ct.uid if point.ct else "",
        frame_of_reference_uid=point.emission_frame,
        calibration_relative_uncertainty=(
            calibrated.relative_uncertainty if uncertainty is None else uncertainty
        ),
        origin=calibrated.origin,
        camera_model=volume.facts.get("model", ""),
    )
    return time_point, made
