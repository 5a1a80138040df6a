"""`dicomnode demo`."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.options import faults_are_told


@click.command()
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo-out",
    show_default=True,
    help="A new or empty folder; everything of the demonstration stays in it.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is another patient.")
@click.option("--size", type=click.Choice(["full", "small"]), default="full", show_default=True)
@faults_are_told
def demo(folder: Path, seed: int, size: str) -> None:
    """A simulated 177Lu-DOTATATE patient through a real node, over DICOM, on this machine."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from dicomnode.demo.run import demonstrate

    console = Console()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.percentage:3.0f} %  {task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=1.0)
        result = demonstrate(
            folder,
            seed=seed,
            size=size,
            say=lambda what, fraction: bar.update(task, description=what, completed=fraction),
        )
    table = Table(
        "region",
        "node, Gy (k=2)",
        "/ truth",
        "corrected, Gy (k=1)",
        "/ truth",
        "truth, Gy",
        title="Mean absorbed dose",
    )
    for row in result.rows:
        cells = (
            f"{row.node_gy:.2f} ({row.low_gy:.2f}-{row.high_gy:.2f})",
            f"{row.node_gy / row.true_gy:.3f}",
            f"{row.recovered_gy:.2f} +- {row.recovered_sigma_gy:.2f}",
            f"{row.recovered_gy / row.true_gy:.3f}",
            f"{row.true_gy:.2f}",
        )
        table.add_row(row.region, *cells)
    console.print(table)
    console.print(
        "What the 12 mm blur takes from a region (partial volume) is in the upper end of its interval, and "
        "taken out of the corrected value; the maps are uncorrected."
    )
    console.print(f"{result.seconds_after_last_object:.1f} s from the last image to the delivered RTDOSE")
    console.print(f"received by the PACS: {len(result.files)} objects in {folder / 'pacs'}")
    console.print(f"picture: {result.picture}")
    if result.page:
        console.print(f"review page (`make demo-web`, or dicomnode serve --role web): {result.page}")
    console.print(f"ask the record: dicomnode show {result.cycle_id[:8]} --config {folder / 'config.toml'}")
