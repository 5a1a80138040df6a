"""From the files of a job to calibrated time points."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from dicomnode.archive.store import Store
from dicomnode.calculation.job import Job, SeriesFiles, TimePointJob
from dicomnode.calculation.record import Steps
from dicomnode.calculation.spect import (
    MadeSpect,
    holds_projections,
    read_ct_of_spect,
    reconstruct_time_point,
    with_counting_noise,
)
from dicomnode.check import rules
from dicomnode.config import Config
from dicomnode.cycle.calibration import calibrate
from dicomnode.model import Nuclide, TimePoint


def read_time_points(
    job: Job, config: Config, store: Store, nuclide: Nuclide, steps: Steps
) -> tuple[tuple[TimePoint, ...], tuple[MadeSpect, ...]]:
    """Every time point of a job, decoded (or reconstructed from its projections), calibrated and checked one
    by one; and the SPECT that were made here.

    Raises Refused, and NotReady where findings hold projections before they are reconstructed.
    """
    read = [_read(point, job, config, store, nuclide, steps) for point in job.time_points]
    return tuple(point for point, _ in read), tuple(made for _, made in read if made is not None)


def _files(series: SeriesFiles, store: Store) -> list[Path]:
    return [store.path(digest) for digest in series.instances.values()]


def _frame_of_structures(paths: list[Path], point: TimePointJob, config: Config, zone: ZoneInfo) -> str:
    """The emission's frame of reference; that of its CT where the site takes both as aligned and a structure
    set lies there."""
    from dicomnode.dicom.header.headers import read_header

    if point.ct is None or point.ct_frame == point.emission_frame or not config.cycle.same_study_ct:
        return point.emission_frame
    frames = {read_header(path, zone).frame_of_reference_uid for path in paths}
    return point.ct_frame if point.ct_frame in frames else point.emission_frame


def _read(
    point: TimePointJob, job: Job, config: Config, store: Store, nuclide: Nuclide, steps: Steps
) -> tuple[TimePoint, MadeSpect | None]:
    from dicomnode.dicom.volumes import read_ct, read_emission

    zone, found, made = ZoneInfo(config.node.zone), steps.found, None
    paths = _files(point.emission, store)
    found(rules.ct_is_there(point.ct is not None, config.cycle.without_ct, point.emission.uid))
    ct = None
    if point.ct is not None:
        ct, about_ct = read_ct(_files(point.ct, store))
        found(about_ct)
    records, uncertainty = config.cycle.calibration, None
    if holds_projections(paths, zone):
        of_spect = None
        if ct is not None and point.ct is not None:
            of_spect = read_ct_of_spect(_files(point.ct, store), ct, point.ct_frame, zone)
        volume, made, uncertainty = reconstruct_time_point(
            point.label, paths, of_spect, job, config, nuclide, steps
        )
        records = ()  # those are for volumes that cameras deliver
    else:
        volume = read_emission(paths, zone)
        if point.uncertainty is not None:
            volume = with_counting_noise(volume, _files(point.uncertainty, store))
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

        paths = [path for series in point.structures for path in _files(series, store)]
        frame = _frame_of_structures(paths, point, config, zone)
        regions, about_regions = read_structures(paths, volume.grid, frame)
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
