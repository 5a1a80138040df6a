"""``dicomnode compare``: an evaluated dose map against a reference, with its noise, and a verdict."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import assume_option, assuming
from dicomnode.errors import ConfigError, DicomnodeError, Inconsistent

if TYPE_CHECKING:
    from dicomnode.compare import Judgement, Measure, Pair
    from dicomnode.dicom.volumes.rtdose import DoseKind
    from dicomnode.files.volumes import Assume
    from dicomnode.model import DensityMap, DoseMap, Grid, LabelMap

VOLUME = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
DICOM_SUFFIXES = (".dcm", ".ima", "")
EXIT = {"pass": 0, "undecided": 1, "fail": 1}


@click.command("compare")
@click.argument("evaluated", type=VOLUME)
@click.argument("reference", type=VOLUME)
@click.option("--sigma", type=VOLUME, help="Standard uncertainty (Monte Carlo noise) of REFERENCE, Gy.")
@click.option(
    "--batches", type=VOLUME, help="Batches of REFERENCE, from dose --batches-out: gives the dispersion."
)
@click.option("--evaluated-sigma", type=VOLUME, help="The same of EVALUATED, if it is Monte Carlo too.")
@click.option(
    "--regions", type=VOLUME, multiple=True, help="Labels (.mha, .nii), SEG or RTSTRUCT; may repeat."
)
@click.option("--region-names", type=VOLUME, help='JSON for labels: {"1": "liver"}.')
@click.option("--density", type=VOLUME, help="Density, g/cm3: compares energy, leaves air out.")
@click.option("--body", type=VOLUME, help="Label map; voxels that are not 0 count. Default: all voxels.")
@click.option("--decays", type=float, help="Simulated for REFERENCE: undecided then names a number.")
@click.option("--dispersion", type=float, help="Variance of sums over neighbouring voxels relative to "
              "independent voxels. Default: by --batches, else 1.")  # fmt: skip
@click.option("--draws", type=click.IntRange(0, 1000), default=4, show_default=True,
              help="Bootstraps for measures whose law under noise is not known.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@assume_option
@click.option("--json", "as_json", type=OUTPUT, help="Everything as JSON; - prints it.")
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="One HTML page with pictures."
)
def compare(**given: Any) -> None:
    """Compare the dose map EVALUATED with REFERENCE (RTDOSE, .mha or .nii, Gy).

    EVALUATED is brought to the grid of REFERENCE where they differ; REFERENCE, being noisy, is never
    resampled. Ends with 0 for pass, 1 for fail or undecided, 2 for input that cannot be compared.
    """
    # Before numpy loads: many BLAS threads on small matrices cost more than they save.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        state = _run(given)
    except DicomnodeError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    sys.exit(EXIT[state])


def _run(given: dict[str, Any]) -> str:
    from dicomnode.compare import verdict
    from dicomnode.compare.table import all_measures, as_data

    pair, facts = _pair(given)
    judgement = verdict(pair)
    measures = all_measures(pair, judgement, draws=given["draws"] if pair.noisy else 0, seed=given["seed"])
    data = {"inputs": facts, **as_data(judgement, measures)}
    if given["report"]:
        _write_report(given["report"], pair, judgement, measures, facts)
    if str(given["as_json"]) == "-":
        click.echo(json.dumps(data, indent=2, allow_nan=False))
        return judgement.state.value
    if given["as_json"]:
        given["as_json"].write_text(json.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    click.echo(_table(measures))
    for gate in judgement.gates:
        click.echo(f"{gate.state.value:10} {gate.name:13} {gate.sentence}")
    click.echo(judgement.sentence)
    return judgement.state.value


def _pair(given: dict[str, Any]) -> tuple[Pair, dict[str, str]]:
    """The two maps on the reference's grid, and what was done to bring them there."""
    from dicomnode.compare import paired
    from dicomnode.dicom.volumes.rtdose import refuse_other_kind

    assume = assuming(given["assumed"])
    refuse_other_kind(_kind(given["evaluated"]), _kind(given["reference"]))
    evaluated, evaluated_frame = _dose(given["evaluated"], given["evaluated_sigma"], assume)
    reference, frame = _dose(given["reference"], given["sigma"], assume)
    if given["batches"]:
        reference = _with_batches(reference, given["batches"])
    if frame and evaluated_frame and frame != evaluated_frame:
        raise Inconsistent("the two doses lie in different frames of reference; register them first")
    body = _body(given["body"], reference.grid)
    facts = {"evaluated": given["evaluated"].name, "reference": given["reference"].name}
    facts["grid"] = f"{reference.grid.shape_zyx} voxels (z, y, x) of {reference.grid.spacing_mm} mm (x, y, z)"
    if not evaluated.grid.matches(reference.grid):
        evaluated = _brought(evaluated, reference.grid, body, given["evaluated_sigma"])
        facts["resampling"] = "evaluated map to the grid of the reference, trilinear; the reference as it is"
    else:
        facts["resampling"] = "none"
    pair = paired(
        evaluated, reference, body=body, density=_density(given["density"], assume),
        regions=_regions(given["regions"], given["region_names"], reference.grid, frame),
        evaluated_is_noisy=given["evaluated_sigma"] is not None,
        dispersion=given["dispersion"], decays=given["decays"],
    )  # fmt: skip
    facts["noise"] = (
        f"{100 * pair.relative_noise:.2g} % at the hot level of {pair.hot_gy:.4g} Gy, dispersion "
        f"{pair.dispersion:.3g}"
    )
    return pair, facts


def _dose(path: Path, sigma_path: Path | None, assume: Assume) -> tuple[DoseMap, str]:
    import numpy as np

    from dicomnode.model import DoseMap, EnergyBalance

    grid, gy, frame = _volume(path, assume)
    sigma = np.zeros_like(gy)
    if sigma_path is not None:
        sigma_grid, sigma = _volume(sigma_path, assume)[:2]
        if not sigma_grid.matches(grid):
            raise Inconsistent(
                f"{sigma_path.name} lies on another grid than {path.name}; noise is not resampled"
            )
    return DoseMap(grid, gy, sigma, EnergyBalance(0.0, 0.0, 0.0)), frame


def _with_batches(reference: DoseMap, path: Path) -> DoseMap:
    from dicomnode.files.batches import read_batches

    if not reference.sigma_gy.any():
        raise ConfigError(["--batches refines --sigma: give the voxel uncertainties of REFERENCE as well"])
    return replace(reference, noise=read_batches(path, reference.grid))


def _volume(path: Path, assume: Assume) -> tuple[Grid, Any, str]:
    from dicomnode.dicom.volumes.rtdose import read_rtdose
    from dicomnode.files.volumes import read_dose

    return read_rtdose(path) if _is_dicom(path) else (*read_dose(path, assume), "")


def _kind(path: Path) -> DoseKind:
    from dicomnode.dicom.volumes.rtdose import DoseKind, kind_of_dose

    return kind_of_dose(path) if _is_dicom(path) else DoseKind()


def _is_dicom(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in DICOM_SUFFIXES


def _brought(evaluated: DoseMap, grid: Grid, body: Any, sigma_path: Path | None) -> DoseMap:
    from dicomnode.compare.resample import resampled
    from dicomnode.model import DoseMap

    if sigma_path is not None:
        raise Inconsistent("the evaluated map is noisy and on another grid; a noisy map is never resampled")
    gy = resampled(evaluated.gy, evaluated.grid, grid, needed=body)
    return DoseMap(grid, gy, 0.0 * gy, evaluated.balance)


def _density(path: Path | None, assume: Assume) -> DensityMap | None:
    from dicomnode.files.volumes import read_density

    return None if path is None else read_density(path, assume)


def _body(path: Path | None, grid: Grid) -> Any:
    from dicomnode.files.volumes import read_volume

    if path is None:
        return None
    found, values = read_volume(path, "label")
    if not found.matches(grid):
        raise Inconsistent("the body lies on another grid than the reference")
    return values != 0


def _regions(paths: tuple[Path, ...], names_path: Path | None, grid: Grid, frame: str) -> LabelMap | None:
    """Regions of all files. DICOM structures are drawn on the grid; label maps must lie on it."""
    from dicomnode.model import LabelMap

    if not paths:
        return None
    shares: dict[str, Any] = {}
    for path in paths:
        found = _structures(path, grid, frame) if _is_dicom(path) else _labels(path, names_path)
        if not found.grid.matches(grid):
            raise Inconsistent(f"the regions of {path.name} lie on another grid than the reference")
        for name, share in found.shares.items():
            shares[name if name not in shares else f"{name} ({path.name})"] = share
    return LabelMap(grid, shares)


def _structures(path: Path, grid: Grid, frame: str) -> LabelMap:
    """Without a DICOM reference the structures' own frame of reference is taken to be that of the dose."""
    from dicomnode.dicom.regions.structures import read_structures
    from dicomnode.dicom.volumes.rtdose import frame_of_reference

    regions, findings = read_structures([path], grid, frame or frame_of_reference(path))
    for finding in findings:
        if finding.severity.value != "note":
            click.echo(finding.sentence, err=True)
    return regions


def _labels(path: Path, names_path: Path | None) -> LabelMap:
    from dicomnode.files.volumes import read_labels

    if names_path is None:
        return read_labels(path)
    try:
        found = json.loads(names_path.read_text(encoding="utf-8"))
        names = {int(label): str(name) for label, name in found.items()}
    except (ValueError, AttributeError) as error:
        raise ConfigError([f'{names_path}: write {{"1": "liver", "2": "lung"}} ({error})']) from error
    return read_labels(path, names)


def _write_report(
    path: Path, pair: Pair, judgement: Judgement, measures: tuple[Measure, ...], facts: dict[str, str]
) -> None:
    from dicomnode.compare.page import html_page
    from dicomnode.compare.picture import picture_png

    page = html_page(judgement, measures, picture_png(pair, judgement), facts)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)


def _table(measures: tuple[Measure, ...]) -> str:
    lines = [f"{'measure':24} {'value':>12} {'unit':6} {'by noise':>12} {'+-':>10} {'p':>9}  of"]
    for m in measures:
        expected, spread, p = (f"{v:.4g}" if v is not None else "" for v in (m.expected, m.spread, m.p_value))
        what = m.sentence.partition(":")[0] if ":" in m.sentence else ""  # region, or criterion of gamma
        row = f"{m.name:24} {m.value:12.5g} {m.unit:6} {expected:>12} {spread:>10} {p:>9}  {what}"
        lines.append(row.rstrip())
    return "\n".join(lines)
