"""``dicomnode tia``: activity volumes at a few times in, time-integrated activity out."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, replace
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from dicomnode.cli.options import assume_option, assuming
from dicomnode.errors import ConfigError, DicomnodeError, Inconsistent, Refused
from dicomnode.model import (
    ActivityMap,
    LabelMap,
    RegisteredTimePoint,
    RegistrationQuality,
    TiaFit,
)

if TYPE_CHECKING:
    from dicomnode.calculation.recovery import RecoveredCycle
    from dicomnode.files.volumes import Assume
    from dicomnode.tia import TiaSettings

FILE = click.Path(path_type=Path)
FWHM_RELATIVE = 0.10
"""Standard uncertainty of a width given with --recovery; `recovery.widths` takes another."""
GIVEN = RegistrationQuality("identity", (0.0,) * 6, (0.0, 0.0, 0.0), nan, nan, nan)
"""The files are taken to be on one grid already; that is checked, registration is not."""


@click.command()
@click.option(
    "--activity",
    "activities",
    type=FILE,
    multiple=True,
    required=True,
    help="Volume, Bq/mL, a file or a folder with one DICOM series; once per time point.",
)
@click.option(
    "--hours",
    type=float,
    multiple=True,
    help="Its time since administration, h; in the same order. Folders of DICOM state it themselves.",
)
@click.option(
    "--noise",
    "noises",
    type=FILE,
    multiple=True,
    help="Its noise by counting, as `recon --noise-out` writes it; once per --activity, or not at all.",
)
@click.option("--nuclide", "nuclide_name", required=True, help='As ICRP 107 writes it: "Lu-177".')
@click.option(
    "--method", default=None, help="trapezoid (default), mono-exponential, hybrid, ...: see docs/tia.md."
)
@click.option(
    "--start", default=None, help="Trapezoid's activity at administration: zero, physical-back-decay, fit."
)
@click.option(
    "--at-hours", type=float, default=None, help="Time point of hybrid and single-time-point methods, h."
)
@click.option("--regions", type=FILE, default=None, help="Label volume on the same grid.")
@click.option("--region-names", type=FILE, default=None, help='JSON: {"1": "left kidney", ...}.')
@click.option(
    "--settings", "settings_file", type=FILE, default=None, help="TOML with a table [tia], as in config.toml."
)
@click.option(
    "--recovery",
    "fwhm_mm",
    type=click.FloatRange(1.0, 60.0),
    default=None,
    help="Width of the images (FWHM), mm: regions are corrected for partial volume as well, see "
    "docs/recovery.md.",
)
@click.option("--recovered-out", type=FILE, default=None, help="TIA volume corrected for partial volume.")
@assume_option
@click.option("--out", type=FILE, required=True, help="TIA volume, MBq s/mL.")
@click.option("--sigma-out", type=FILE, default=None, help="Its standard uncertainty, MBq s/mL.")
@click.option(
    "--json",
    "report",
    type=FILE,
    default=None,
    help="Curves, integrals, budget and findings as JSON; - prints.",
)
def tia(
    activities: tuple[Path, ...],
    hours: tuple[float, ...],
    noises: tuple[Path, ...],
    nuclide_name: str,
    method: str | None,
    start: str | None,
    at_hours: float | None,
    regions: Path | None,
    region_names: Path | None,
    settings_file: Path | None,
    fwhm_mm: float | None,
    recovered_out: Path | None,
    assumed: tuple[str, ...],
    out: Path,
    sigma_out: Path | None,
    report: Path | None,
) -> None:
    """Integrate activity over time, from administration to infinity."""
    chosen = {"method": method, "start": start, "time_point_hours": at_hours}
    try:
        points = _points(activities, hours, noises, assuming(assumed))
        labels = _labels(regions, region_names)
        if fwhm_mm and labels is None:
            raise Inconsistent("--recovery corrects regions; give them with --regions")
        tia_settings = _settings(settings_file, chosen)
        fit, settings = _integrate(points, nuclide_name, labels, tia_settings)
        _write(fit, out, sigma_out)
        recovered = None
        if fwhm_mm and labels is not None:
            recovered = _recovered(points, nuclide_name, labels, tia_settings, fwhm_mm)
            if recovered_out:
                _write(recovered.fit, recovered_out, None)
        if report:
            _report(fit, settings, nuclide_name, report, recovered)
    except DicomnodeError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if str(report) != "-":
        _print(fit)
        if recovered is not None:
            _print_recovered(fit, recovered)


def _points(
    activities: tuple[Path, ...], hours: tuple[float, ...], noises: tuple[Path, ...], assume: Assume
) -> list[RegisteredTimePoint]:
    from dicomnode.files.volumes import read_counting

    if hours and len(activities) != len(hours):
        raise Inconsistent(
            f"{len(activities)} --activity but {len(hours)} --hours; give one of each per time point"
        )
    if noises and len(noises) != len(activities):
        raise Inconsistent(
            f"{len(activities)} --activity but {len(noises)} --noise; give one of each per time point"
        )
    told: list[float | None] = list(hours) or [None] * len(activities)
    read = [_activity(path, at, assume) for path, at in zip(activities, told, strict=True)]
    maps, times = [one for one, _ in read], [at for _, at in read]
    if noises:
        pairs = zip(maps, noises, strict=True)
        maps = [replace(one, counting=read_counting(path, one.grid, assume)) for one, path in pairs]
    return [
        RegisteredTimePoint(path.name, at, one, GIVEN)
        for path, at, one in zip(activities, times, maps, strict=True)
    ]


def _activity(path: Path, told: float | None, assume: Assume) -> tuple[ActivityMap, float]:
    """Activity and its time since the administration, h: as told, and as a folder's headers state it."""
    from dicomnode.files.dicom_folder import hours_of, scan_of_folder
    from dicomnode.files.volumes import read_activity

    if path.is_dir():
        scan = scan_of_folder(path)
        return scan.activity, hours_of(scan, told, path)
    if told is None:
        raise Inconsistent(f"{path.name} is a file, which states no time: give --hours for every --activity")
    return read_activity(path, assume), told


def _integrate(
    points: list[RegisteredTimePoint],
    nuclide_name: str,
    labels: LabelMap | None,
    settings: TiaSettings,
) -> tuple[TiaFit, dict[str, Any]]:
    from dicomnode.physics.nuclides import nuclide
    from dicomnode.tia import integrate_points

    radionuclide = nuclide(nuclide_name)
    with click.progressbar(length=100, label="tia", file=sys.stderr) as bar:
        fit = integrate_points(
            points,
            labels,
            radionuclide,
            settings,
            progress=lambda done, _what: bar.update(int(100 * done) - bar.pos),
        )
    return fit, settings.model_dump(mode="json")


def _recovered(
    points: list[RegisteredTimePoint],
    nuclide_name: str,
    labels: LabelMap,
    settings: TiaSettings,
    fwhm_mm: float,
) -> RecoveredCycle:
    """The files corrected as the node corrects a cycle; what no label names is tissue everywhere."""
    from dicomnode.calculation.recovery import recover_points, shares_of
    from dicomnode.physics.nuclides import nuclide
    from dicomnode.recovery import RecoverySettings, Scan, Width, WidthSource, make_shares

    width = Width.of(fwhm_mm, FWHM_RELATIVE, WidthSource.SITE, "--recovery")
    body = np.ones(labels.grid.shape_zyx, bool)
    shares = make_shares(shares_of(labels), body, labels.grid.spacing_mm)
    scans = [Scan(p.label, (p.activity.bq_per_ml / 1e6).astype(np.float32), shares, width) for p in points]
    own = [labels.grid] * len(points)
    return recover_points(
        points, scans, own, labels, body, nuclide(nuclide_name), settings, RecoverySettings()
    )


def _settings(path: Path | None, chosen: Mapping[str, object]) -> TiaSettings:
    """TiaSettings from the file's table [tia], overridden by the options given."""
    from pydantic import ValidationError

    from dicomnode.tia import TiaSettings

    table: dict[str, object] = {}
    if path:
        try:
            table = dict(tomllib.loads(path.read_text(encoding="utf-8")).get("tia", {}))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError([f"{path}: {error}"]) from error
    table |= {key: value for key, value in chosen.items() if value is not None}
    try:
        return TiaSettings.model_validate(table)
    except ValidationError as error:
        faults = [
            f"tia.{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()
        ]
        raise ConfigError(faults) from error


def _labels(regions: Path | None, names: Path | None) -> LabelMap | None:
    from dicomnode.files.volumes import read_labels

    if regions is None:
        if names:
            raise Inconsistent("--region-names needs --regions")
        return None
    if names is None:
        return read_labels(regions)
    try:
        named = {
            int(value): str(name) for value, name in json.loads(names.read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, AttributeError) as error:
        raise Refused('the names must be a JSON object such as {"1": "liver"}', uid=str(names)) from error
    return read_labels(regions, named)


def _write(fit: TiaFit, out: Path, sigma_out: Path | None) -> None:
    from dicomnode.files.volumes import write_volume

    try:
        write_volume(out, fit.tia.grid, fit.tia.mbq_s_per_ml, "MBq s/mL")
        if sigma_out:
            write_volume(sigma_out, fit.sigma.grid, fit.sigma.mbq_s_per_ml, "MBq s/mL")
    except (OSError, RuntimeError) as error:
        raise Refused(f"the result cannot be written: {error}", uid=str(out)) from error


def _report(
    fit: TiaFit, settings: dict[str, Any], nuclide: str, path: Path, recovered: RecoveredCycle | None
) -> None:
    import dicomnode

    content = {
        "dicomnode": dicomnode.__version__,
        "nuclide": nuclide,
        "method": fit.method,
        "settings": settings,
        "total_mbq_s": fit.tia.total_mbq_s,
        "regions": [asdict(region) for region in fit.regions],
        "findings": [asdict(finding) for finding in fit.findings],
    }
    if recovered is not None:
        content["recovery"] = {
            "width": str(recovered.widths[0]),
            "total_mbq_s": recovered.fit.tia.total_mbq_s,
            "found": [asdict(region) for region in recovered.regions],
            "regions": [asdict(region) for region in recovered.fit.regions],
            "findings": [asdict(finding) for finding in recovered.findings],
        }
    text = json.dumps(content, indent=2, allow_nan=False)
    if str(path) == "-":
        click.echo(text)
        return
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise Refused(f"the report cannot be written: {error.strerror}", uid=str(path)) from error


def _print(fit: TiaFit) -> None:
    width = max(len(r.region) for r in fit.regions)
    click.echo(f"{'region':{width}}   TIA, MBq h   ± (k=1)  T1/2 eff, h  after last scan  method")
    for r in fit.regions:
        relative = f"{100 * r.sigma_tia_mbq_s / r.tia_mbq_s:.1f} %" if r.tia_mbq_s else "-"
        half = "-" if r.effective_half_life_h is None else f"{r.effective_half_life_h:.1f}"
        after = "-" if r.extrapolated_fraction is None else f"{100 * r.extrapolated_fraction:.0f} %"
        total = f"{r.tia_mbq_s / 3600:11.4g}"
        click.echo(f"{r.region:{width}}  {total}  {relative:>8}  {half:>11}  {after:>15}  {r.method}")
    for finding in fit.findings:
        click.echo(f"{finding.severity}: {finding.sentence}", err=finding.severity != "note")


def _print_recovered(fit: TiaFit, recovered: RecoveredCycle) -> None:
    """Both values side by side, with what limits the corrected one."""
    before = {r.region: r.tia_mbq_s / 3600 for r in fit.regions}
    after = {r.region: r.tia_mbq_s / 3600 for r in recovered.fit.regions}
    width = max(len(r.region) for r in recovered.regions)
    click.echo(f"\n{'region':{width}}   TIA, MBq h  recovery  corrected  ± (k=1)  limited by")
    for r in recovered.regions:
        value = "        -        -" if r.withheld else f"{after[r.region]:9.4g}  {r.sigma_log:7.0%}"
        why = r.withheld or r.limited_by
        click.echo(f"{r.region:{width}}  {before[r.region]:11.4g}  {r.coefficient:8.2f}  {value}  {why}")
    for finding in recovered.findings:
        click.echo(f"{finding.severity}: {finding.sentence}", err=finding.severity != "note")
