"""Raw projections to an image, in steps that the node and ``dicomnode recon`` both take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from dicomnode.model import Finding, HuMap
from dicomnode.model.projections import Projections

if TYPE_CHECKING:
    from dicomnode.recon.calibration.record import SpectCalibration
    from dicomnode.recon.camera.attenuation import AttenuationMap
    from dicomnode.recon.examination.acquisition import AcquisitionLimits
    from dicomnode.recon.examination.examine import CtOfSpect
    from dicomnode.recon.examination.outline import OutlineLimits
    from dicomnode.recon.protocol import Protocol
    from dicomnode.recon.reconstruct import Reconstruction

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ExaminedScan:
    """One acquisition with its CT, and what is doubtful in both.

    Attributes
    ----------
    attenuation : on the projections' grid; None where no CT was given
    """

    projections: Projections
    attenuation: AttenuationMap | None
    findings: tuple[Finding, ...]


def ct_of_spect(
    slice_path: Path, hu: HuMap, frame: str | None, zone: ZoneInfo, kvp: float | None = None
) -> CtOfSpect:
    """The CT, its time and tube voltage (kV), where ``kvp`` does not say, as a slice of its series states."""
    from dicomnode.dicom.header.headers import read_header
    from dicomnode.recon.examination.examine import CtOfSpect

    header = read_header(slice_path, zone)
    stated = header.facts.get("KVP", "")
    return CtOfSpect(
        hu,
        header.frame_of_reference_uid if frame is None else frame,
        header.acquired_at,
        float(stated) if kvp is None and stated else kvp,
    )


def examined_scan(
    paths: Sequence[Path],
    ct: CtOfSpect | None,
    zone: ZoneInfo,
    *,
    angles: Literal["patient", "gantry"],
    nuclide: str,
    acquisition: AcquisitionLimits,
    outline: OutlineLimits,
) -> ExaminedScan:
    """Read the NM objects of one acquisition, and check it with its CT (alone where there is none).

    Raises Refused for projections that cannot be used, and as ``attenuation_map``.
    """
    from dicomnode.dicom.projections.projections import read_projections
    from dicomnode.recon.examination.examine import examine, examine_without_ct

    projections = read_projections(paths, zone, angles, nuclide)
    if ct is None:
        return ExaminedScan(projections, None, examine_without_ct(projections, acquisition))
    attenuation, found = examine(projections, ct, acquisition, outline)
    return ExaminedScan(projections, attenuation, found)


def reconstructed(
    scan: ExaminedScan,
    protocol: Protocol,
    collimator_name: str,
    calibration: SpectCalibration | None,
    *,
    seed: int,
    regions: Mapping[str, Mask] | None = None,
) -> Reconstruction:
    """The image of one acquisition, the same bits on every run."""
    from dicomnode.recon.camera.collimator import collimator
    from dicomnode.recon.reconstruct import reconstruct

    with one_thread():
        return reconstruct(
            scan.projections, scan.attenuation, protocol, collimator(collimator_name), calibration,
            seed=seed, regions=regions,
        )  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread, since sums by several differ in the last bit; the caller's number comes back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
