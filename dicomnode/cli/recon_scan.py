"""What ``dicomnode recon`` reads: a scan with its CT, checked as the node checks it, and what holds it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

import click

from dicomnode.cli.options import assuming
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dicomnode.model import Finding
    from dicomnode.model.projections import Projections
    from dicomnode.recon.camera.attenuation import AttenuationMap
    from dicomnode.recon.examination.acquisition import AcquisitionLimits
    from dicomnode.recon.examination.examine import CtOfSpect
    from dicomnode.recon.examination.outline import OutlineLimits

S = TypeVar("S", bound="BaseModel")


def read_scan(given: dict[str, Any]) -> tuple[Projections, AttenuationMap | None, tuple[Finding, ...]]:
    """Projections, the map of their CT, and findings. These are printed; the command ends where one holds
    that --accept does not name."""
    from dicomnode.dicom.projections.projections import read_projections
    from dicomnode.recon.examination.examine import examine, examine_without_ct

    zone = ZoneInfo(given["zone"])
    acquisition, outline = _limits(given["settings"])
    scan = read_projections(given["projections"], zone, given["angles"], given["nuclide"])
    if given["ct"] is None:
        attenuation, found = None, examine_without_ct(scan, acquisition)
    else:
        attenuation, found = examine(scan, _ct(given, zone), acquisition, outline)
    tell(found, given["accept"])
    return scan, attenuation, found


def tell(findings: Iterable[Finding], accepted: tuple[str, ...]) -> None:
    """Print findings; end the command with exit code 1 where one holds that is not accepted."""
    from dicomnode.model import Severity

    holds = []
    for finding in findings:
        held = finding.severity is Severity.HOLD
        taken = " (accepted by a person)" if held and finding.rule in accepted else ""
        click.echo(f"{finding.severity}: {finding.rule}: {finding.sentence}{taken}", err=True)
        if held and not taken:
            holds.append(finding.rule)
    if holds:
        options = " ".join(f"--accept {rule}" for rule in dict.fromkeys(holds))
        raise click.ClickException(
            f"held, nothing is written. Where a person has looked and it is well: {options}"
        )


def recon_table(settings: Path | None) -> dict[str, Any]:
    """The table [recon] of a file such as config.toml, empty without a file."""
    if settings is None:
        return {}
    try:
        table: dict[str, Any] = tomllib.loads(settings.read_text(encoding="utf-8")).get("recon", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{settings}: {error}"]) from error
    return table


def checked(kind: type[S], table: Any) -> S:
    """Settings from a table; a wrong value or an unknown key is an error with its name."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise ConfigError([f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]) from error


def _limits(settings: Path | None) -> tuple[AcquisitionLimits, OutlineLimits]:
    """Limits of the checks: of the file's [recon.acquisition] and [recon.outline], else the defaults."""
    from dicomnode.recon.examination.acquisition import AcquisitionLimits
    from dicomnode.recon.examination.outline import OutlineLimits

    table = recon_table(settings)
    return (
        checked(AcquisitionLimits, table.get("acquisition", {})),
        checked(OutlineLimits, table.get("outline", {})),
    )


def _ct(given: dict[str, Any], zone: ZoneInfo) -> CtOfSpect:
    """A CT from a folder with one series, whose first slice says what it is, or from a file, which cannot."""
    from dicomnode.dicom.header.headers import read_header
    from dicomnode.files.dicom_folder import hu_of_folder, one_series
    from dicomnode.files.volumes import read_hu
    from dicomnode.recon.examination.examine import CtOfSpect

    path, kvp = given["ct"], given["kvp"]
    if not path.is_dir():
        return CtOfSpect(read_hu(path, assuming(given["assumed"])), None, None, kvp)
    header = read_header(one_series(path)[0], zone)
    told = header.facts.get("KVP", "")
    return CtOfSpect(
        hu_of_folder(path), header.frame_of_reference_uid, header.acquired_at,
        float(told) if kvp is None and told else kvp,
    )  # fmt: skip
