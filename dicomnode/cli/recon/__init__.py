"""``dicomnode recon``: raw SPECT projections and a CT in, a calibrated image out; and calibration records."""

from __future__ import annotations

import click

from dicomnode.cli.recon.calibrate import calibrate
from dicomnode.cli.recon.image import image


class _ImageByDefault(click.Group):
    """``recon FILE...`` is ``recon image FILE...``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["image", *args]
        return super().parse_args(ctx, args)


@click.group("recon", cls=_ImageByDefault)
def recon() -> None:
    """Reconstruct raw SPECT projections (`recon PROJECTIONS...`), or make calibration records."""


@recon.command("collimators")
def collimators() -> None:
    """Collimators whose hole geometry is known, with its source."""
    from dicomnode.recon.camera.collimator import COLLIMATORS

    for one in COLLIMATORS.values():
        size = f"hole {one.hole_mm} mm, length {one.length_mm} mm, septa {one.septa_mm} mm"
        click.echo(f"{one.name}: {size}; {one.source}")


recon.add_command(image)
recon.add_command(calibrate)
