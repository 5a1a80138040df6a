"""``dicomnode recon calibrate``: a calibration record from the scan of a phantom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import faults_are_told
from dicomnode.cli.recon.given import IN, OUT, of_a_scan, protocol_of, read_scan, tell
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from dicomnode.recon.calibration.phantom_scan import Sphere
    from dicomnode.recon.calibration.record import SpectCalibration
    from dicomnode.recon.protocol import Protocol


@click.command("calibrate")
@of_a_scan
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
    from dicomnode.calculation.reconstruction import one_thread
    from dicomnode.recon.calibrate import Cylinder, calibrate_camera

    protocol = protocol_of(given)
    scan = read_scan(given)
    cylinder = Cylinder(
        name=given["name"], activity_mbq=given["activity_mbq"],
        measured_at=_time(given["measured_at"], given["zone"]), volume_ml=given["volume_ml"],
        relative_uncertainty=given["uncertainty"], dead_time_us=_dead_time_us(given),
        traceability=given["traceability"],
    )  # fmt: skip
    with one_thread():
        record, findings = calibrate_camera(
            scan.projections, scan.attenuation, protocol, given["collimator_name"], cylinder
        )
    tell(findings, given["accept"])
    if given["spheres"]:
        record = _with_spheres(given, record, protocol)
    given["out"].write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    click.echo(
        f"{record.name}: {record.cps_per_mbq:.4g} counts/s per MBq of one view, protocol {record.protocol}"
        + (f", dead time {record.dead_time_us:.3g} us" if record.dead_time_us else "")
    )


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
        scan = read_scan({**given, "projections": files, "ct": None}).projections
        measured_at = _time(one["measured_at"], given["zone"])
        scans.append(scan)
        activities.append(activity_at(one["activity_mbq"], measured_at, scan))
    return dead_time_us(scans, activities)


def _with_spheres(given: dict[str, Any], record: SpectCalibration, protocol: Protocol) -> SpectCalibration:
    """The record with the curve of the sphere phantom that the JSON file describes."""
    from dicomnode.calculation.reconstruction import one_thread
    from dicomnode.recon.calibrate import with_recovery

    told = json.loads(given["spheres"].read_text(encoding="utf-8"))
    folder = given["spheres"].parent
    files = {
        **given,
        "projections": tuple(folder / p for p in told["projections"]),
        "ct": folder / told["ct"],
    }
    scan = read_scan(files)
    with one_thread():
        made, findings = with_recovery(
            record, scan.projections, scan.attenuation, protocol, _spheres(told), told["bq_per_ml"],
            told.get("background_bq_per_ml", 0.0),
        )  # fmt: skip
    tell(findings, given["accept"])
    return made


def _spheres(told: dict[str, Any]) -> list[Sphere]:
    from dicomnode.recon.calibration.phantom_scan import Sphere

    return [Sphere(tuple(one["centre_mm"]), one["diameter_mm"]) for one in told["spheres"]]
