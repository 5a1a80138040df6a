"""Is an examination fit to be reconstructed: all checks that come before, for node and command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from dicomnode.model import Finding, HuMap
from dicomnode.model.projections import Projections
from dicomnode.recon.camera.attenuation import AttenuationMap, attenuation_map, photopeak_kev
from dicomnode.recon.examination.acquisition import (
    AcquisitionLimits,
    acquisition_findings,
    coverage_findings,
    pairing_findings,
)
from dicomnode.recon.examination.outline import OutlineLimits, outline_findings, outline_score


@dataclass(frozen=True, eq=False)
class CtOfSpect:
    """The CT of a time point and what the reconstruction has to know of it.

    ``frame_of_reference_uid`` is empty where the object should state one and does not, None where the CT is
    a file that cannot state any.
    """

    hu: HuMap
    frame_of_reference_uid: str | None
    acquired_at: datetime | None
    kvp: float | None


def examine(
    projections: Projections, ct: CtOfSpect, acquisition: AcquisitionLimits, outline: OutlineLimits
) -> tuple[AttenuationMap, tuple[Finding, ...]]:
    """The attenuation map on the projections' grid, and all that is doubtful about the examination: what the
    reader found, the acquisition, its CT, and the body's outline in both. What holds must not be
    reconstructed before a person has looked. Raises as ``attenuation_map``.
    """
    uid = projections.series_uid
    attenuation = attenuation_map(ct.hu, projections.grid, photopeak_kev(projections), ct.kvp)
    return attenuation, (
        *examine_without_ct(projections, acquisition),
        *pairing_findings(projections, ct.frame_of_reference_uid, ct.acquired_at, acquisition),
        *(replace(f, subject=uid) for f in attenuation.findings),
        *coverage_findings(projections, attenuation, acquisition),
        *outline_findings(outline_score(projections, attenuation), outline, uid),
    )


def examine_without_ct(projections: Projections, acquisition: AcquisitionLimits) -> tuple[Finding, ...]:
    """The same for projections alone."""
    return (*projections.findings, *acquisition_findings(projections, acquisition))
