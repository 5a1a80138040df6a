"""``dicomnode dose``: absorbed dose from a TIA map and an anatomy in files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import assume_option, assuming
from dicomnode.errors import ConfigError, DicomnodeError, Inconsistent

if TYPE_CHECKING:
    from dicomnode.model import Anatomy, DoseMap, Nuclide, TiaMap

VOLUME = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)
REPORT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)

# Options that only engines with statistics know, by the name of the engine's setting.
STATISTICS = ("decays", "uncertainty", "seconds")


@click.command("dose")
@click.option("--tia", "tia_path", type=VOLUME, required=True, help="Time-integrated activity, MBq s/mL.")
@click.option("--ct", type=VOLUME, help="CT, HU: a file or a folder with one DICOM series.")
@click.option("--density", type=VOLUME, help="Density, g/cm3, instead of a CT.")
@click.option("--tissue", type=VOLUME, help="Tissue labels, with --density.")
@click.option("--tissue-names", type=VOLUME, help="JSON: label -> tissue name, with --tissue.")
@click.option("--nuclide", "nuclide_name", required=True, help="Such as Lu-177.")
@click.option(
    "--progeny", type=click.Choice(["equilibrium", "none"]), help="For nuclides with a decay chain: required."
)
@click.option("--engine", "engine_name", required=True, help="Name, or module:Class.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="A setting of the engine.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--decays", type=float, help="Stop after so many decays (engines with statistics).")
@click.option("--uncertainty", type=float, help="Stop at this relative standard uncertainty.")
@click.option("--seconds", type=float, help="Stop after this time, s.")
@click.option("--out", type=OUTPUT, required=True, help="Absorbed dose, Gy.")
@click.option("--sigma-out", type=OUTPUT, help="Standard uncertainty of the dose, Gy.")
@click.option(
    "--batches-out", type=OUTPUT, help="Moments of the batches, .npz (Monte Carlo engines): for compare."
)
@assume_option
@click.option(
    "--json",
    "report",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Report as JSON; - prints it.",
)
def dose(**given: Any) -> None:
    """Absorbed dose per voxel."""
    try:
        text = _run(given)
    except DicomnodeError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    click.echo(text)


def _run(given: dict[str, Any]) -> str:
    from dicomnode.dose.registry import build
    from dicomnode.files.volumes import read_tia, write_volume

    engine = build(given["engine_name"], _engine_options(given))
    nuclide = _nuclide(given["nuclide_name"], given["progeny"])
    tia, anatomy = read_tia(given["tia_path"], assuming(given["assumed"])), _anatomy(given)
    result = _with_progress(engine, tia, anatomy, nuclide, given["seed"])
    write_volume(given["out"], result.grid, result.gy, "Gy")
    if given["sigma_out"]:
        write_volume(given["sigma_out"], result.grid, result.sigma_gy, "Gy")
    if given["batches_out"]:
        _write_batches(given["batches_out"], given["engine_name"], result)
    report = _report(engine, nuclide, tia, anatomy, result, given["seed"])
    if str(given["report"]) == "-":
        return json.dumps(report, indent=2)
    if given["report"]:
        given["report"].write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    balance = report["energy_j"]
    return (
        f"{given['engine_name']}: {report['decays']:.4g} decays of {nuclide.name}, dose to "
        f"{report['medium']}, largest {report['dose_max_gy']:.4g} Gy, mean in the body "
        f"{report['dose_mean_body_gy']:.4g} Gy; of the energy {balance['deposited_share']:.1%} deposited"
    )


def _write_batches(path: Path, engine_name: str, result: DoseMap) -> None:
    from dicomnode.files.batches import write_batches

    if result.noise is None:
        raise ConfigError([f"--batches-out does not apply: the engine {engine_name} keeps no batches"])
    write_batches(path, result.noise, result.grid)


def _with_progress(engine: Any, tia: TiaMap, anatomy: Anatomy, nuclide: Nuclide, seed: int) -> DoseMap:
    with click.progressbar(length=100, label="dose", file=sys.stderr) as bar:
        result: DoseMap = engine.dose(
            tia,
            anatomy,
            nuclide,
            seed=seed,
            progress=lambda done, _what: bar.update(int(100 * done) - bar.pos),
        )
    return result


def _engine_options(given: dict[str, Any]) -> dict[str, object]:
    """--option pairs, and the statistics options where the engine has such a setting."""
    from dicomnode.dose.registry import settings_class

    options: dict[str, object] = {}
    for pair in given["options"]:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError([f"--option {pair}: write KEY=VALUE"])
        options[key] = value
    fields = settings_class(given["engine_name"]).model_fields
    for name in STATISTICS:
        if given[name] is not None:
            if name not in fields:
                raise ConfigError([f"--{name} does not apply to the engine {given['engine_name']}"])
            options[name] = given[name]
    return options


def _nuclide(name: str, progeny: str | None) -> Nuclide:
    from dicomnode.physics.chains import BRANCHES, has_progeny, with_progeny
    from dicomnode.physics.nuclides import canonical_name, nuclide

    name = canonical_name(name)
    if not has_progeny(name):
        if progeny == "equilibrium":
            raise ConfigError([f"--progeny: no chain is known for {name}, only for {', '.join(BRANCHES)}"])
        return nuclide(name)
    if name not in BRANCHES:
        raise ConfigError([f"{name} has radioactive progeny, and no chain of it is known here"])
    if progeny is None:
        raise ConfigError([f"{name} has radioactive progeny: state --progeny equilibrium or none"])
    if progeny == "equilibrium":
        return with_progeny(name)
    return with_progeny(name, dict.fromkeys(_members(name), 0.0))


def _members(name: str) -> list[str]:
    from dicomnode.physics.chains import chain

    return [member.nuclide.name for member in chain(name)[1:]]


def _anatomy(given: dict[str, Any]) -> Anatomy:
    from dicomnode.files.volumes import read_density, read_hu, read_volume
    from dicomnode.physics.anatomy import anatomy_from_ct, anatomy_from_density

    if bool(given["ct"]) == bool(given["density"]):
        raise ConfigError(["give either --ct or --density"])
    if bool(given["tissue"]) != bool(given["tissue_names"]) or (given["tissue"] and given["ct"]):
        raise ConfigError(["--tissue and --tissue-names go together, and with --density"])
    if given["ct"]:
        return anatomy_from_ct(read_hu(given["ct"], assuming(given["assumed"])))
    density = read_density(given["density"], assuming(given["assumed"]))
    if not given["tissue"]:
        return anatomy_from_density(density)
    grid, labels = read_volume(given["tissue"], "label")
    if not grid.matches(density.grid):
        raise Inconsistent("the tissue labels lie on another grid than the density; resample them")
    return anatomy_from_density(density, labels.astype(int), _names(given["tissue_names"]))


def _names(path: Path) -> dict[int, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {int(label): str(name) for label, name in found.items()}
    except (ValueError, AttributeError) as error:
        raise ConfigError([f'{path}: write {{"1": "liver", "2": "lung"}} ({error})']) from error


def _report(
    engine: Any, nuclide: Nuclide, tia: TiaMap, anatomy: Anatomy, result: DoseMap, seed: int
) -> dict[str, Any]:
    import dicomnode

    balance, energy = result.balance, nuclide.energy
    body = anatomy.body
    return {
        "dicomnode": dicomnode.__version__,
        "engine": {
            "name": engine.identity.name,
            "version": engine.identity.version,
            "digests": dict(engine.identity.digests),
            "settings": engine.settings.model_dump() if hasattr(engine, "settings") else {},
        },
        "nuclide": {
            "name": nuclide.name,
            "half_life_s": nuclide.half_life_s,
            "electron_mev": energy.electron_mev,
            "photon_mev": energy.photon_mev,
            "positron_mev": energy.positron_mev,
            "alpha_mev": energy.alpha_mev,
            "source": nuclide.source,
        },
        "seed": seed,
        "medium": result.medium,
        "decays": tia.total_mbq_s * 1e6,
        "dose_max_gy": float(result.gy.max()),
        "dose_mean_body_gy": float(result.gy[body].mean()) if body.any() else 0.0,
        "sigma_mean_body_gy": float(result.sigma_gy[body].mean()) if body.any() else 0.0,
        "energy_j": {
            "emitted": balance.emitted_j,
            "deposited": balance.deposited_j,
            "escaped": balance.escaped_j,
            "deposited_share": balance.deposited_j / balance.emitted_j if balance.emitted_j else 0.0,
        },
    }
