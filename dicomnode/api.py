"""dicomnode in a notebook: from DICOM folders to absorbed dose, without a server, database or processes.

>>> from dicomnode import api
>>> config = api.configuration("config.toml")               # the node's own file; or api.Config()
>>> cycle = api.read_time_points(["patient"], config)       # SPECT, CT and regions, Bq/mL
>>> answer = api.dose_of_cycle(cycle, config)
>>> {organ.region: organ.mean_gy for organ in answer.organs}

The node calls the same functions (``calculation.cycle_dose``), so that the same files, configuration and
software give the same volumes, digest by digest. Arrays are (z, y, x) in patient coordinates (LPS, mm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.calculation.cycle_dose import Progress, no_progress
from dicomnode.calculation.cycle_dose import compute as _compute
from dicomnode.calculation.cycle_dose import dose_of_cycle as _dose_of_cycle
from dicomnode.calculation.folder import Found, FoundCycle, with_course
from dicomnode.calculation.folder import find_cycles as _find_cycles
from dicomnode.calculation.job import Outcome
from dicomnode.calculation.products import Answer
from dicomnode.calculation.products import picture as _picture
from dicomnode.calculation.record import Steps
from dicomnode.calculation.time_points import ReadCycle, read_cycle
from dicomnode.config import Config
from dicomnode.config import load as _load
from dicomnode.dose.engine import DoseEngine
from dicomnode.errors import Refused
from dicomnode.model import (
    ActivityMap,
    Administration,
    Anatomy,
    Cycle,
    DoseMap,
    Grid,
    HuMap,
    LabelMap,
    OrganDose,
    RegionTia,
    TiaMap,
    TimePoint,
)

__all__ = [
    "ActivityMap", "Administration", "Anatomy", "Answer", "Config", "Cycle", "DoseMap", "Found", "FoundCycle",
    "Grid", "HuMap", "LabelMap", "OrganDose", "Outcome", "ReadCycle", "RegionTia", "TiaMap", "TimePoint",
    "configuration", "curves", "dose_of_cycle", "engine", "engines", "find_cycles", "methods", "objects",
    "picture", "read_time_points", "regions", "run",
]  # fmt: skip

Paths = str | Path | Iterable[str | Path]
"""A file or folder, or several."""


def configuration(path: str | Path) -> Config:
    """The configuration in a file such as the node's ``config.toml``; ``Config()`` has every default.

    Raises
    ------
    ConfigError : with every fault as "file:line: key: what is wrong"
    """
    return _load(Path(path), engine=True)


def find_cycles(
    paths: Paths,
    config: Config | None = None,
    *,
    administered: Mapping[str, Sequence[Administration]] | None = None,
    accepted: Sequence[tuple[str, str]] = (),
    created_at: datetime | None = None,
) -> Found:
    """Group the DICOM files in folders into time points and cycles, as the node groups what it receives.

    Only headers are read.

    Parameters
    ----------
    paths : files and folders; folders are searched to the bottom
    config : [cycle], [recon], [[administration]] and the zone of [node] decide; None: the defaults
    administered : Patient ID -> what was administered, where no object states it, or states it wrongly
    accepted : (rule, subject) of findings that you have looked at and that need not hold
    created_at : the instant that objects made of the cycles will bear; None: now. The same instant, files and
        configuration give the same bytes.

    Raises
    ------
    Refused : no DICOM object is there
    """
    at = created_at or datetime.now(UTC)
    return _find_cycles(_listed(paths), config or Config(), at, administered=administered, accepted=accepted)


def read_time_points(
    source: FoundCycle | Paths,
    config: Config | None = None,
    *,
    administered: Mapping[str, Sequence[Administration]] | None = None,
    accepted: Sequence[tuple[str, str]] = (),
) -> ReadCycle:
    """The time points of one cycle: SPECT in Bq/mL at the start of each acquisition, CT in HU, regions.

    Raw projections are reconstructed where [recon] of the configuration says so. ``.cycle.time_points`` holds
    the volumes, ``.steps.findings`` what was noticed.

    Parameters
    ----------
    source : one of ``find_cycles(...).cycles``, or files and folders that hold one cycle
    config, administered, accepted : as in ``find_cycles``

    Raises
    ------
    Refused : no cycle is there, or more than one; or an object cannot be used: which, why, and what to do
    NotReady : a finding holds the projections before they are reconstructed
    """
    config = config or Config()
    if not isinstance(source, FoundCycle):
        source = _only(find_cycles(source, config, administered=administered, accepted=accepted))
    steps = Steps(source.job.accepted)
    steps.found(source.job.doubts)
    return read_cycle(source.job, config, source.files, steps)


def dose_of_cycle(
    cycle: ReadCycle | Cycle, config: Config | None = None, *, progress: Progress = no_progress
) -> Answer:
    """Absorbed dose of a cycle: registration, time-integrated activity, dose, organ doses, and all findings.

    Parameters
    ----------
    cycle : what ``read_time_points`` gives, or a ``Cycle`` of your own arrays
    config : [registration], [tia], [tissue], [dose], [check] and [results] decide
    progress : called with the fraction done and what is being done; may raise to interrupt

    Returns
    -------
    Answer
        ``dose.gy`` and ``dose.sigma_gy`` (z, y, x) in Gy; ``organs`` with mean, D2, D50, D98, BED and EQD2 in
        Gy; ``fit.regions`` with the curves in MBq; ``verdict.release`` is False where a finding holds: a
        dose that holds is for a person to look at.

    Raises
    ------
    NotReady : a finding holds before there is a dose; the message holds its sentences
    ConfigError, EngineUnavailable, OutOfDomain, NotConverged, Inconsistent : what the rooms refuse
    """
    if isinstance(cycle, Cycle):
        from dicomnode.physics.nuclides import nuclide

        of = nuclide(cycle.administration.nuclide)
        cycle = ReadCycle(cycle, of, (), datetime.now(UTC), Steps())
    apart = replace(cycle, steps=cycle.steps.copy())
    return _dose_of_cycle(apart, config or Config(), progress)


def run(
    cycle: FoundCycle,
    config: Config | None = None,
    *,
    before: Sequence[tuple[FoundCycle, Outcome]] = (),
    progress: Progress = no_progress,
) -> Outcome:
    """The whole way that the node goes: from the files of a cycle to RTDOSE, maps, SR and PDF.

    Bad data raise nothing: they become findings that hold, and then ``objects`` gives none.

    Parameters
    ----------
    cycle : one of ``find_cycles(...).cycles``
    before : cycles that were run already; the patient's earlier ones are added up in the report's course
    """
    return _compute(with_course(cycle, before).job, config or Config(), cycle.files, progress)


def objects(cycle: FoundCycle, outcome: Outcome) -> dict[str, bytes]:
    """What ``run`` made, by role; empty where a finding holds: nothing of such a cycle leaves before a person
    has looked.

    "rtdose", "tia-map", "sr", "pdf" and others are DICOM objects; "picture" is a PNG, "curves" and "dvh" are
    JSON, "view-..." gzipped MetaImage volumes.
    """
    if not outcome.verdict.release:
        return {}
    return {product.role: cycle.files.content(product.file_sha256) for product in outcome.products}


def regions(answer: Answer) -> dict[str, OrganDose]:
    """Region -> its dose, Gy; ``answer.regions.masks`` holds its voxels, bool (z, y, x)."""
    return {organ.region: organ for organ in answer.organs}


def curves(answer: Answer) -> dict[str, RegionTia]:
    """Region -> its curve: ``hours`` since administration, ``activity_mbq`` and ``sigma_mbq`` at each time
    point, and ``tia_mbq_s``, the integral to infinity."""
    return {curve.region: curve for curve in answer.fit.regions}


def picture(answer: Answer, config: Config | None = None) -> bytes:
    """CT with TIA and dose in three planes through the highest dose of any region, as PNG."""
    return _picture(answer, config or Config())


def engines() -> dict[str, str]:
    """Dose engines by name, with one line on each; ``[dose] engine`` of the configuration names one."""
    from dicomnode.dose.registry import available, described

    return {name: described(name) for name in available()}


def engine(name: str, **options: object) -> DoseEngine:
    """A dose engine by name; its ``dose(tia, anatomy, nuclide, seed=0)`` gives a ``DoseMap``, Gy.

    Raises
    ------
    ConfigError : unknown name or option; the message lists what there is
    EngineUnavailable : it, or what it needs, is not installed
    """
    from dicomnode.dose.registry import build

    return build(name, options)


def methods() -> dict[str, str]:
    """Methods of time-integrated activity by name, with one line on each; ``[tia] method`` names one."""
    from dicomnode.tia.methods import available, described

    return {name: described(name) for name in available()}


def _listed(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]


def _only(found: Found) -> FoundCycle:
    if len(found.cycles) == 1:
        return found.cycles[0]
    because = (
        "; ".join(dict.fromkeys([*found.unused.values(), *found.unread.values()])) or "no emission series"
    )
    raise Refused(
        f"the files hold {len(found.cycles)} cycles and not one" + ("" if found.cycles else f" ({because})"),
        remedy="Give the files of one cycle, or choose one of find_cycles(...).cycles",
    )
