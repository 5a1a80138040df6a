"""``dicomnode materials``: the tissues there are."""

from __future__ import annotations

import json

import click

from dicomnode.errors import DicomnodeError


@click.command("materials")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def materials(name: str | None, as_json: bool) -> None:
    """Composition by mass, density and source of tissue NAME, or of all."""
    from dicomnode.physics.tissues import tissue, tissues

    try:
        found = [tissue(name)] if name else list(tissues().values())
    except DicomnodeError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        entries = {
            t.name: {
                "density_g_per_cm3": t.density_g_per_cm3,
                "mass_fractions": dict(t.mass_fractions),
                "source": t.source,
            }
            for t in found
        }
        click.echo(json.dumps(entries, indent=2))
        return
    for entry in found:
        density = "by CT" if entry.density_g_per_cm3 is None else f"{entry.density_g_per_cm3:g}"
        elements = " ".join(f"{e} {100 * f:.3g}" for e, f in entry.mass_fractions.items())
        click.echo(f"{entry.name:28} {density:>7} g/cm3  {elements} %  ({entry.source})")
