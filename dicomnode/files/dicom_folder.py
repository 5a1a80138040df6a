"""A folder of DICOM read by the readers of the node, with their refusals: one door to the same data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from dicomnode.dicom.header.dataset import open_object
from dicomnode.dicom.header.headers import read_header
from dicomnode.dicom.volumes import read_ct, read_emission
from dicomnode.errors import MissingAttribute, Refused, Unsupported
from dicomnode.model import ActivityMap, Finding, HuMap, Severity
from dicomnode.model.statements import Fact, Statement, within

UTC = ZoneInfo("UTC")


@dataclass(frozen=True)
class Scan:
    """An emission series of a folder: activity at ``at``, and when its headers say it was administered."""

    activity: ActivityMap
    at: datetime
    administered_at: datetime | None

    @property
    def hours(self) -> float | None:
        """From the administration to the scan, h; None where the headers do not state the administration."""
        if self.administered_at is None:
            return None
        return (self.at - self.administered_at).total_seconds() / 3600


def hu_of_folder(folder: Path) -> HuMap:
    """CT numbers of the one series of a folder. Raises Refused as ``read_ct``, and where a finding holds."""
    ct, findings = read_ct(one_series(folder))
    _refuse_held(findings, folder)
    return ct


def scan_of_folder(folder: Path, zone: ZoneInfo = UTC) -> Scan:
    """Activity of the one emission series of a folder, at the start of its acquisition.

    ``zone``: of times without an offset. Raises Refused as ``read_emission``, and for what needs settings of
    the node: counts, and values that are not stated to be decay-corrected to the start.
    """
    paths = one_series(folder)
    volume = read_emission(paths, zone)
    _refuse_held(volume.findings, folder)
    at_start = volume.decay_reference == "START" and volume.decay_reference_at == volume.started_at
    if volume.unit != "Bq/mL" or not at_start:
        what = volume.decay_reference or "no stated instant"
        raise Unsupported(
            f"the series holds {volume.unit}, decay-corrected to {what}; Bq/mL at the start of the "
            f"acquisition are needed", attribute="DecayCorrection", value=volume.decay_reference,
            uid=str(folder), remedy="Send it to the node, whose [[cycle.calibration]] says how to read it",
        )  # fmt: skip
    header = read_header(paths[0], zone)
    return Scan(ActivityMap(volume.grid, volume.values), volume.started_at, header.administered_at)


BY_OPTION, BY_HEADER = "--hours", "the headers of the series"
HOURS = Fact(
    name="the time since the administration",
    rule="hours-contradict",
    places=(BY_OPTION, BY_HEADER),
    agree=within(absolute=0.1),
    tolerance="0.1 h",
    absent="refused: give --hours",
    remedy="Give the right --hours, or leave them to the headers",
    show=lambda hours: f"{hours:.5g} h",
    refused=True,
)


def hours_of(scan: Scan, told: float | None, folder: Path) -> float:
    """Hours since the administration as told, else by the headers. Raises Refused without, and where
    they differ."""
    hours = HOURS.settle([Statement(BY_OPTION, told), Statement(BY_HEADER, scan.hours)], str(folder)).value
    if hours is None:
        raise MissingAttribute(
            "the series does not say when it was administered",
            attribute="RadiopharmaceuticalStartDateTime", uid=str(folder), remedy="Give --hours",
        )  # fmt: skip
    return hours


def one_series(folder: Path) -> list[Path]:
    """Files of the one DICOM series of a folder; files of other kinds beside it are left aside.

    Raises Refused for none, or for several, which are named by description and modality.
    """
    series: dict[str, list[Path]] = defaultdict(list)
    names: dict[str, str] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and _is_dicom(p)):
        obj = open_object(path, pixels=False)
        uid = obj.text("SeriesInstanceUID")
        series[uid].append(path)
        names[uid] = f"{obj.text('SeriesDescription') or 'no description'} ({obj.text('Modality')})"
    if not series:
        raise MissingAttribute("the folder holds 0 DICOM series, one is needed", uid=str(folder))
    if len(series) > 1:
        which = "; ".join(sorted(names.values()))
        raise Refused(
            f"the folder holds {len(series)} DICOM series, one is needed: {which}",
            uid=str(folder), remedy="Put the wanted series into a folder of its own",
        )  # fmt: skip
    return next(iter(series.values()))


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _refuse_held(findings: Iterable[Finding], folder: Path) -> None:
    held = [f.sentence for f in findings if f.severity is Severity.HOLD]
    if held:
        raise Refused("; ".join(held), uid=str(folder))
