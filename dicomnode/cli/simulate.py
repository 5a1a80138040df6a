"""``dicomnode simulate``: make patients whose truth is known."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.simulate_spect import spect


@click.group()
def simulate() -> None:
    """Make patients whose truth is known."""


@simulate.command()
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed, another patient."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to."
)
@click.option("--size", type=click.Choice(["full", "small"]), default="full", show_default=True)
@click.option(
    "--hours",
    type=float,
    multiple=True,
    default=(4.0, 24.0, 72.0, 168.0),
    show_default=True,
    help="Scan times after administration, h.",
)
@click.option(
    "--emission",
    type=click.Choice(["Bq/ml", "counts", "pt"]),
    default="Bq/ml",
    show_default=True,
    help="How the SPECT is written.",
)
def patient(seed: int, out: Path, size: str, hours: tuple[float, ...], emission: str) -> None:
    """Write one 177Lu-DOTATATE cycle as DICOM (OUT/dicom) with its truth (OUT/truth)."""
    from typing import cast

    from dicomnode.simulation import make_patient, scan
    from dicomnode.simulation.objects import Emission, write_dicom, write_truth
    from dicomnode.simulation.patient import Size

    made = make_patient(seed, size=cast(Size, size))
    scans = [scan(made, time) for time in sorted(hours)]
    files = write_dicom(made, scans, out / "dicom", emission=cast(Emission, emission))
    write_truth(made, out / "truth")
    click.echo(f"{len(files)} DICOM objects in {out / 'dicom'}, truth in {out / 'truth'}")


simulate.add_command(spect)
