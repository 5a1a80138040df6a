"""``dicomnode recon image``: the image of one acquisition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import faults_are_told
from dicomnode.cli.recon.given import IN, OUT, of_a_scan, protocol_of, read_scan, tell
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.model import Finding, Grid
    from dicomnode.model.projections import Projections
    from dicomnode.recon.calibration.record import SpectCalibration
    from dicomnode.recon.protocol import Protocol
    from dicomnode.recon.reconstruct import Reconstruction

NO_UNCERTAINTY = "the image has none; it needs bootstraps in the protocol, and raw counts"


@click.command("image")
@of_a_scan
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
    from dicomnode.calculation.reconstruction import reconstructed

    protocol = protocol_of(given)
    scan = read_scan(given)
    record = _record(given["calibration"], scan.projections, protocol, given["collimator_name"])
    regions = _regions(given["regions"], scan.projections.grid)
    made = reconstructed(
        scan, protocol, given["collimator_name"], record, seed=given["seed"], regions=regions
    )
    tell(made.findings, given["accept"])
    _write(given, made)
    report = _report(made, protocol, regions, (*scan.findings, *made.findings))
    if given["report"] and str(given["report"]) != "-":
        given["report"].write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    click.echo(json.dumps(report, indent=2) if str(given["report"]) == "-" else _summary(made))


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
