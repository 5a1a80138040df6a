"""``dicomnode nuclides``: what the dose calculation uses for a nuclide."""

from __future__ import annotations

import json
from typing import Any

import click

from dicomnode.errors import DicomnodeError, OutOfDomain


@click.command("nuclides")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def nuclides(name: str | None, as_json: bool) -> None:
    """Half-life, mean energies and progeny of NAME; without NAME, the nuclides with kernels and chains."""
    try:
        found = [_described(n) for n in ([name] if name else _usual())]
    except DicomnodeError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(json.dumps(found[0] if name else found, indent=2))
        return
    for entry in found:
        click.echo(_line(entry))
    if name:
        _echo_details(found[0])


def _usual() -> list[str]:
    from dicomnode.physics.chains import BRANCHES
    from dicomnode.physics.media import kernel_names

    administered = ("Ac-225", "Ra-223", "Th-227", "Pb-212", "At-211")
    return [*(n for n in kernel_names() if "+" not in n), *(n for n in administered if n in BRANCHES)]


def _energies(nuclide: Any) -> dict[str, float]:
    energy = nuclide.energy
    return {
        "electron_mev": energy.electron_mev,
        "photon_mev": energy.photon_mev,
        "positron_mev": energy.positron_mev,
        "alpha_mev": energy.alpha_mev,
    }


def _described(name: str) -> dict[str, Any]:
    from dicomnode.physics.chains import BRANCHES, chain, has_progeny, with_progeny
    from dicomnode.physics.media import kernel_names
    from dicomnode.physics.nuclides import nuclide

    found = nuclide(name)
    entry = {
        "name": found.name,
        "half_life_s": found.half_life_s,
        "energy_per_decay": _energies(found),
        "source": found.source,
        "water_kernel": {found.name, f"{found.name}+progeny"} & set(kernel_names()) != set(),
    }
    entry["needs_progeny"] = has_progeny(found.name)
    if found.name in BRANCHES:
        entry["progeny_decays_per_decay"] = {m.nuclide.name: m.decays for m in chain(found.name)[1:]}
        entry["energy_with_progeny_in_equilibrium"] = _energies(with_progeny(found.name))
    return entry


def _line(entry: dict[str, Any]) -> str:
    energy = "  ".join(
        f"{part.removesuffix('_mev')} {1000 * mev:.2f} keV"
        for part, mev in entry["energy_per_decay"].items()
        if mev
    )
    return f"{entry['name']:8} half-life {entry['half_life_s'] / 3600:.6g} h  {energy}"


def _echo_details(entry: dict[str, Any]) -> None:
    from dicomnode.errors import Unsupported
    from dicomnode.physics.nuclides import emissions

    if entry["needs_progeny"] and "progeny_decays_per_decay" not in entry:
        click.echo("  radioactive progeny that matter, and no chain known here: refused by the engines")
    for daughter, decays in entry.get("progeny_decays_per_decay", {}).items():
        click.echo(f"  progeny {daughter}: {decays:.5g} decays per decay")
    click.echo(f"  source: {entry['source']}")
    try:
        emitted = emissions(entry["name"])
    except (Unsupported, OutOfDomain) as error:
        click.echo(f"  emissions: {error}")
        return
    for kind in ("beta", "positron"):
        spectrum = getattr(emitted, kind)
        if spectrum is not None:
            click.echo(
                f"  {kind}: {spectrum.yield_per_decay:.5g} per decay, "
                f"end point {spectrum.energy_mev[-1]:.4g} MeV"
            )
    for kind in ("conversion", "auger", "gamma", "xray", "annihilation", "alpha", "recoil"):
        lines = getattr(emitted, kind)
        if len(lines):
            click.echo(f"  {kind}: {len(lines)} lines, {lines[:, 1].sum():.5g} per decay")
