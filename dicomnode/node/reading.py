"""From the files of a job to calibrated time points."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from zoneinfo import ZoneInfo

from dicomnode.archive.store import Store
from dicomnode.check import rules
from dicomnode.config import Config
from dicomnode.cycle.calibration import calibrate
from dicomnode.model import Finding, Nuclide, TimePoint
from dicomnode.node.job import Job, SeriesFiles, TimePointJob

Found = Callable[[Iterable[Finding]], None]


def read_time_points(
    job: Job, config: Config, store: Store, nuclide: Nuclide, found: Found
) -> tuple[TimePoint, ...]:
    """Every time point of a job, decoded, calibrated and checked one by one."""
    return tuple(_read(point, job, config, store, nuclide, found) for point in job.time_points)


def _files(series: SeriesFiles, store: Store) -> list[Path]:
    return [store.path(digest) for digest in series.instances.values()]


def _read(
    point: TimePointJob, job: Job, config: Config, store: Store, nuclide: Nuclide, found: Found
) -> TimePoint:
    from dicomnode.dicom.decode import read_ct, read_emission

    volume = read_emission(_files(point.emission, store), ZoneInfo(config.node.zone))
    found(rules.half_life_agrees(volume, nuclide, config.check))
    found(rules.nuclide_agrees(volume, nuclide))
    calibrated = calibrate(
        volume,
        nuclide=nuclide.name,
        half_life_s=nuclide.half_life_s,
        administered_at=job.administration.at,
        records=config.cycle.calibration,
    )
    found(calibrated.findings)
    found(rules.ct_is_there(point.ct is not None, config.cycle.without_ct, point.emission.uid))
    ct = None
    if point.ct is not None:
        same = config.cycle.same_study_ct
        found(rules.frames_of_reference_agree(point.emission_frame, point.ct_frame, same, point.emission.uid))
        ct, about_ct = read_ct(_files(point.ct, store))
        found(about_ct)
    regions = None
    if point.structures:
        from dicomnode.dicom.structures import read_structures

        paths = [path for series in point.structures for path in _files(series, store)]
        regions, about_regions = read_structures(paths, volume.grid, point.emission_frame)
        found(about_regions)
    return TimePoint(
        label=point.label,
        acquired_at=calibrated.at,
        duration_s=volume.duration_s or 0.0,
        activity=calibrated.activity,
        ct=ct,
        regions=regions,
        spect_uid=point.emission.uid,
        ct_uid=point.ct.uid if point.ct else "",
        frame_of_reference_uid=point.emission_frame,
        calibration_relative_uncertainty=calibrated.relative_uncertainty,
        origin=calibrated.origin,
    )
