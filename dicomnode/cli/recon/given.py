"""What the verbs of ``dicomnode recon`` share: the options of a scan, the scan itself, and what holds it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

import click

from dicomnode.cli.options import assume_option, assuming
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dicomnode.calculation.reconstruction import ExaminedScan
    from dicomnode.model import Finding
    from dicomnode.recon.examination.acquisition import AcquisitionLimits
    from dicomnode.recon.examination.examine import CtOfSpect
    from dicomnode.recon.examination.outline import OutlineLimits
    from dicomnode.recon.protocol import Protocol

S = TypeVar("S", bound="BaseModel")
IN = click.Path(exists=True, path_type=Path)
OUT = click.Path(dir_okay=False, path_type=Path)


def of_a_scan(command: Callable[..., Any]) -> Callable[..., Any]:
    """Arguments and options that say what is reconstructed, and how."""
    for option in reversed([
        click.argument("projections", nargs=-1, required=True, type=IN),
        click.option("--ct", type=IN, help="CT, HU: a folder with one DICOM series, or a file."),
        click.option("--kvp", type=float, help="Tube voltage of a CT that is a file; a series says its own."),
        click.option("--collimator", "collimator_name", required=True, help="Such as siemens-me."),
        click.option("--nuclide", default="", help="Where the object does not say, such as Lu-177."),
        click.option("--settings", type=IN, help="TOML with a table [recon.protocol], as in config.toml."),
        click.option("--option", "options", multiple=True, metavar="KEY=VALUE",
                     help="A choice of the protocol, over --settings; repeatable."),
        click.option("--algorithm", help="osem, bsrem, noise2noise, ...: docs/reconstruction.md."),
        click.option("--angles", type=click.Choice(["patient", "gantry"]), default="patient",
                     show_default=True, help="Whom Start Angle refers to."),
        click.option("--zone", default="UTC", show_default=True, help="Time zone of times without offset."),
        assume_option,
        click.option("--accept", multiple=True, metavar="RULE",
                     help="A finding that holds, though a person has looked and it is well; repeatable."),
    ]):  # fmt: skip
        command = option(command)
    return command


def read_scan(given: Mapping[str, Any]) -> ExaminedScan:
    """A scan with its CT, checked as the node checks it. Findings are printed; the command ends where one
    holds that --accept does not name."""
    from dicomnode.calculation.reconstruction import examined_scan

    zone = ZoneInfo(given["zone"])
    acquisition, outline = _limits(given["settings"])
    ct = None if given["ct"] is None else _ct(given, zone)
    scan = examined_scan(
        given["projections"], ct, zone, angles=given["angles"], nuclide=given["nuclide"],
        acquisition=acquisition, outline=outline,
    )  # fmt: skip
    tell(scan.findings, given["accept"])
    return scan


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


def protocol_of(given: dict[str, Any]) -> Protocol:
    """The protocol of --settings, changed by --option and --algorithm."""
    from dicomnode.recon.protocol import Protocol

    table = recon_table(given["settings"]).get("protocol", {})
    for pair in given["options"]:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError([f"--option {pair}: write KEY=VALUE"])
        group, _, name = key.rpartition(".")
        (table.setdefault(group, {}) if group else table)[name] = value
    if given["algorithm"]:
        table["algorithm"] = given["algorithm"]
    return checked(Protocol, table)


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


def _ct(given: Mapping[str, Any], zone: ZoneInfo) -> CtOfSpect:
    """A CT from a folder with one series, whose first slice says what it is, or from a file, which cannot."""
    from dicomnode.calculation.reconstruction import ct_of_spect
    from dicomnode.files.dicom_folder import hu_of_folder, one_series
    from dicomnode.files.volumes import read_hu
    from dicomnode.recon.examination.examine import CtOfSpect

    path, kvp = given["ct"], given["kvp"]
    if not path.is_dir():
        return CtOfSpect(read_hu(path, assuming(given["assumed"])), None, None, kvp)
    return ct_of_spect(one_series(path)[0], hu_of_folder(path), None, zone, kvp)
