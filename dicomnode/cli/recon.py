"""``dicomnode recon``: raw SPECT projections and a CT in, a calibrated image out; and calibration records."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import assume_option, faults_are_told
from dicomnode.cli.recon_scan import checked, read_scan, recon_table, tell
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from dicomnode.model import Finding, Grid
    from dicomnode.model.projections import Projections
    from dicomnode.recon.calibration.phantom_scan import Sphere
    from dicomnode.recon.calibration.record import SpectCalibration
    from dicomnode.recon.protocol import Protocol
    from dicomnode.recon.reconstruct import Reconstruction

IN = click.Path(exists=True, path_type=Path)
OUT = click.Path(dir_okay=False, path_type=Path)
NO_UNCERTAINTY = "the image has none; it needs bootstraps in the protocol, and raw counts"


class _ImageByDefault(click.Group):
    """``recon FILE...`` is ``recon image FILE...``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["image", *args]
        return super().parse_args(ctx, args)


@click.group("recon", cls=_ImageByDefault)
def recon() -> None:
    """Reconstruct raw SPECT projections (`recon PROJECTIONS...`), or make calibration records."""


def _of_a_scan(command: Callable[..., Any]) -> Callable[..., Any]:
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


@recon.command("image")
@_of_a_scan
@click.option("--calibration", type=IN, help="Record made by `recon calibrate`; without: counts.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=OUT, required=True, help="Image, Bq/mL (counts without --calibration).")
@click.option("--sigma-out", type=OUT, help="Standard deviation by counting noise, same unit.")
@click.option("--noise-out", type=OUT, help="Replicates of that noise, for `tia --noise`.")
@click.option("--reference-out", type=OUT, help="OSEM of the same protocol, same unit.")
@click.option("--regions", type=IN, help="Labels on the image's grid: their activity, noise, recovery.")
@click.option("--json", "report", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
              help="Report as JSON; - prints it.")  # fmt: skip
@faults_are_told
def image(**given: Any) -> None:
    """Image of one acquisition: PROJECTIONS are its NM objects."""
    import torch

    from dicomnode.recon.camera.collimator import collimator
    from dicomnode.recon.reconstruct import reconstruct

    torch.set_num_threads(1)  # this process is ours; sums by several threads differ in the last bit
    protocol = _protocol(given)
    scan, attenuation, doubts = read_scan(given)
    record = _record(given["calibration"], scan, protocol, given["collimator_name"])
    regions = _regions(given["regions"], scan.grid)
    made = reconstruct(
        scan, attenuation, protocol, collimator(given["collimator_name"]), record,
        seed=given["seed"], regions=regions,
    )  # fmt: skip
    tell(made.findings, given["accept"])
    _write(given, made)
    report = _report(made, protocol, regions, (*doubts, *made.findings))
    if given["report"] and str(given["report"]) != "-":
        given["report"].write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    click.echo(json.dumps(report, indent=2) if str(given["report"]) == "-" else _summary(made))


@recon.command("calibrate")
@_of_a_scan
@click.option("--name", required=True, help="Name of the record; it is kept with every image that uses it.")
@click.option("--activity-mbq", type=float, required=True, help="In the cylinder, at --measured-at.")
@click.option("--measured-at", required=True, help="ISO time of that activity, with offset or in --zone.")
@click.option("--volume-ml", type=float, help="Filled volume: also by the concentration in the middle.")
@click.option("--uncertainty", type=float, default=0.05, show_default=True, help="Of the activity, relative.")
@click.option("--dead-time-us", type=float, help="Paralysable dead time for all windows of this set.")
@click.option(
    "--dead-time", type=IN, help="JSON with scans at several activities, instead of --dead-time-us."
)
@click.option(
    "--spheres", type=IN, help="JSON with the scan of a sphere phantom, see docs/reconstruction.md."
)
@click.option("--traceability", default="", help="Activity meter, its certificate and date.")
@click.option("--out", type=OUT, required=True, help="The record, JSON.")
@faults_are_told
def calibrate(**given: Any) -> None:
    """Calibration record from the scan of a uniform cylinder: PROJECTIONS are its NM objects."""
    import torch

    from dicomnode.recon.calibrate import Cylinder, calibrate_camera

    torch.set_num_threads(1)
    protocol = _protocol(given)
    scan, attenuation, _ = read_scan(given)
    cylinder = Cylinder(
        name=given["name"], activity_mbq=given["activity_mbq"],
        measured_at=_time(given["measured_at"], given["zone"]), volume_ml=given["volume_ml"],
        relative_uncertainty=given["uncertainty"], dead_time_us=_dead_time_us(given),
        traceability=given["traceability"],
    )  # fmt: skip
    record, findings = calibrate_camera(scan, attenuation, protocol, given["collimator_name"], cylinder)
    tell(findings, given["accept"])
    if given["spheres"]:
        record = _with_spheres(given, record, protocol)
    given["out"].write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    click.echo(
        f"{record.name}: {record.cps_per_mbq:.4g} counts/s per MBq of one view, protocol {record.protocol}"
        + (f", dead time {record.dead_time_us:.3g} us" if record.dead_time_us else "")
    )


@recon.command("collimators")
def collimators() -> None:
    """Collimators whose hole geometry is known, with its source."""
    from dicomnode.recon.camera.collimator import COLLIMATORS

    for one in COLLIMATORS.values():
        size = f"hole {one.hole_mm} mm, length {one.length_mm} mm, septa {one.septa_mm} mm"
        click.echo(f"{one.name}: {size}; {one.source}")


def _protocol(given: dict[str, Any]) -> Protocol:
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


def _record(
    path: Path | None, scan: Projections, protocol: Protocol, collimator: str
) -> SpectCalibration | None:
    from pydantic import ValidationError

    from dicomnode.recon.calibration.record import SpectCalibration, choose

    if path is None:
        return None
    try:
        record = SpectCalibration.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ConfigError([f"{path}: {e['loc']}: {e['msg']}" for e in error.errors()]) from error
    return choose([record], scan, protocol, collimator)


def _regions(path: Path | None, grid: Grid) -> dict[str, Any]:
    """Masks of a label map. Raises Inconsistent where it does not lie on the image's grid."""
    from dicomnode.errors import Inconsistent
    from dicomnode.files.volumes import read_labels

    if path is None:
        return {}
    labels = read_labels(path)
    if not labels.grid.matches(grid):
        raise Inconsistent(
            f"the labels lie on {labels.grid}, the image on {grid}", uid=str(path),
            remedy="resample the labels onto the image (make it without --regions first)",
        )  # fmt: skip
    return dict(labels.masks)


def _write(given: dict[str, Any], made: Reconstruction) -> None:
    from dicomnode.files.volumes import write_counting, write_volume

    unit = "counts" if made.bq_per_count is None else "Bq/mL"
    factor = 1.0 if made.bq_per_count is None else made.bq_per_count
    write_volume(given["out"], made.grid, made.counts * factor, unit)
    if given["reference_out"]:
        write_volume(given["reference_out"], made.grid, made.reference * factor, unit)
    if given["sigma_out"]:
        if made.uncertainty is None:
            raise ConfigError([f"--sigma-out: {NO_UNCERTAINTY}"])
        write_volume(given["sigma_out"], made.grid, made.uncertainty.sigma * factor, unit)
    if given["noise_out"]:
        if made.counting is None:
            raise ConfigError([f"--noise-out: {NO_UNCERTAINTY}"])
        write_counting(given["noise_out"], made.counting)


def _report(
    made: Reconstruction, protocol: Protocol, regions: dict[str, Any], findings: Sequence[Finding]
) -> dict[str, Any]:
    import dicomnode

    report: dict[str, Any] = {
        "dicomnode": dicomnode.__version__,
        "method": made.method,
        "algorithm": made.algorithm,
        "protocol": protocol.model_dump(mode="json"),
        "protocol_digest": made.protocol,
        "calibration": made.calibration,
        "total_mbq": None if made.bq_per_count is None else made.activity.total_mbq,
        "parameters": dict(made.parameters),
        "scores": dict(made.scores),
        "findings": [{"rule": f.rule, "severity": f.severity, "sentence": f.sentence} for f in findings],
    }
    factor = 1.0 if made.bq_per_count is None else made.bq_per_count
    sigma = made.uncertainty.region_sigma if made.uncertainty else {}
    report["regions"] = {
        name: {
            "mean": float(made.counts[mask].mean()) * factor,
            "sigma": sigma[name] * factor if name in sigma else None,
            "recovery": made.recovery[name],
        }
        for name, mask in regions.items()
    }
    return report


def _summary(made: Reconstruction) -> str:
    if made.bq_per_count is None:
        return f"{made.method}: {made.counts.sum():.5g} counts per view, not calibrated"
    return f"{made.method}: {made.activity.total_mbq:.5g} MBq, calibration {made.calibration!r}"


def _time(text: str, zone: str) -> datetime:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError([f"time of an activity {text!r}: write 2026-11-21T09:30"]) from error
    return told if told.tzinfo else told.replace(tzinfo=ZoneInfo(zone))


def _dead_time_us(given: dict[str, Any]) -> float | None:
    """The dead time that was given, or that the scans of the JSON file show."""
    from dicomnode.recon.calibrate import activity_at, dead_time_us

    if given["dead_time"] is None:
        stated: float | None = given["dead_time_us"]
        return stated
    if given["dead_time_us"] is not None:
        raise ConfigError(["give --dead-time or --dead-time-us, not both"])
    folder = given["dead_time"].parent
    scans, activities = [], []
    for one in json.loads(given["dead_time"].read_text(encoding="utf-8"))["scans"]:
        files = tuple(folder / p for p in one["projections"])
        scan, _, _ = read_scan({**given, "projections": files, "ct": None})
        measured_at = _time(one["measured_at"], given["zone"])
        scans.append(scan)
        activities.append(activity_at(one["activity_mbq"], measured_at, scan))
    return dead_time_us(scans, activities)


def _with_spheres(given: dict[str, Any], record: SpectCalibration, protocol: Protocol) -> SpectCalibration:
    """The record with the curve of the sphere phantom that the JSON file describes."""
    from dicomnode.recon.calibrate import with_recovery

    told = json.loads(given["spheres"].read_text(encoding="utf-8"))
    folder = given["spheres"].parent
    files = {
        **given,
        "projections": tuple(folder / p for p in told["projections"]),
        "ct": folder / told["ct"],
    }
    scan, attenuation, _ = read_scan(files)
    made, findings = with_recovery(
        record, scan, attenuation, protocol, _spheres(told), told["bq_per_ml"],
        told.get("background_bq_per_ml", 0.0),
    )  # fmt: skip
    tell(findings, given["accept"])
    return made


def _spheres(told: dict[str, Any]) -> list[Sphere]:
    from dicomnode.recon.calibration.phantom_scan import Sphere

    return [Sphere(tuple(one["centre_mm"]), one["diameter_mm"]) for one in told["spheres"]]
