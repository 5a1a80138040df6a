"""``dicomnode run``: from DICOM folders to doses, report and RTDOSE, without a node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import faults_are_told
from dicomnode.errors import ConfigError
from dicomnode.model.text import printable

if TYPE_CHECKING:
    from dicomnode.api import Administration, Config, Found, FoundCycle, Outcome
    from dicomnode.calculation.job import Product


@click.command("run")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FOLDER..."
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="As the node's config.toml; without it every default.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="A new or empty folder for RTDOSE, maps, SR, PDF, picture and record.json.",
)
@click.option(
    "--patient", help="Patient ID: only this patient's cycles, where the folders hold several patients."
)
@click.option("--nuclide", help="Such as Lu-177: what was administered, where no object states it.")
@click.option("--activity-mbq", type=float, help="Net administered activity.")
@click.option("--administered-at", help="ISO time, 2026-03-02T09:30+01:00; without offset the site's zone.")
@click.option(
    "--accept",
    multiple=True,
    metavar="RULE[:SUBJECT]",
    help="A finding that holds, though a person has looked and it is well; repeatable.",
)
@click.option("--created-at", help="Instant written into the objects (default: now); repeats their bytes.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@faults_are_told  # fmt: skip
def run(**given: Any) -> None:
    """Doses, report and RTDOSE of every cycle in FOLDER..., computed as the node computes them.

    Folders hold the SPECT (or PET) of each time point with its CT, and contours (RTSTRUCT, SEG) where there
    are any. Exit code 1, and no dose, where a finding holds.

    Example: dicomnode run patient/ --config config.toml --out dose/
    """
    from dicomnode import api

    config = api.configuration(given["config_path"]) if given["config_path"] else api.Config()
    out = _empty_folder(given["out"])
    accepted = [(rule, subject) for rule, _, subject in (a.partition(":") for a in given["accept"])]
    found = _found(given, config, accepted)
    done = list(_computed(found, config, quiet=given["as_json"]))
    for number, (cycle, outcome) in enumerate(done, start=1):
        _write(out if len(done) == 1 else out / f"cycle-{number}", cycle, outcome)
    records = [_record(cycle, outcome) for cycle, outcome in done]
    if given["as_json"]:
        click.echo(json.dumps(records, indent=2, default=str))
    else:
        for cycle, outcome in done:
            _print(cycle, outcome)
    raise SystemExit(0 if all(outcome.verdict.release for _, outcome in done) else 1)


def _empty_folder(folder: Path) -> Path:
    """Outputs are checked before the work: made now, and never written over."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError([f"--out {folder}: is not empty; name a new folder"])
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError([f"--out {folder}: {error.strerror}"]) from error
    return folder


def _found(given: dict[str, Any], config: Config, accepted: list[tuple[str, str]]) -> Found:
    from dicomnode import api
    from dicomnode.errors import Refused

    created_at = _instant(given["created_at"], config, "--created-at") if given["created_at"] else None
    stated = _administration(given, config)
    found = api.find_cycles(given["paths"], config, accepted=accepted, created_at=created_at)
    if stated is not None:
        told = {_one_patient(found, given["patient"]): [stated]}
        found = api.find_cycles(
            given["paths"], config, accepted=accepted, created_at=created_at, administered=told
        )
    if given["patient"]:
        found = replace(found, cycles=tuple(c for c in found.cycles if c.patient_id == given["patient"]))
    for path, why in found.unread.items():
        click.echo(printable(f"not read: {path}: {why}"), err=True)
    for uid, why in found.unused.items():
        click.echo(printable(f"not used: series {uid}: {why}"), err=True)
    if not found.cycles:
        raise Refused("no time point is among the files", remedy="Give SPECT or PET series with their CT")
    return found


def _one_patient(found: Found, named: str | None) -> str:
    """Whose administration is stated."""
    patients = {named} if named else {c.patient_id for c in found.cycles}
    if len(patients) != 1:
        raise ConfigError([f"the files hold images of {len(patients)} patients: name one with --patient"])
    return patients.pop()


def _administration(given: dict[str, Any], config: Config) -> Administration | None:
    from dicomnode.model import Administration
    from dicomnode.physics.nuclides import nuclide

    parts = [given[k] for k in ("nuclide", "activity_mbq", "administered_at")]
    if all(part is None for part in parts):
        return None
    if any(part is None for part in parts):
        raise ConfigError(["--nuclide, --activity-mbq and --administered-at go together"])
    at = _instant(given["administered_at"], config, "--administered-at")
    return Administration(
        nuclide(given["nuclide"]).name, given["activity_mbq"], at, source="person:command line"
    )


def _instant(text: str, config: Config, option: str) -> datetime:
    from zoneinfo import ZoneInfo

    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError([f"{option} {text!r}: write 2026-03-02T09:30+01:00"]) from error
    return at if at.tzinfo else at.replace(tzinfo=ZoneInfo(config.node.zone))


def _computed(found: Found, config: Config, *, quiet: bool) -> Iterator[tuple[FoundCycle, Outcome]]:
    """Every cycle in order of time, so that a report adds up the course."""
    from dicomnode import api

    done: list[tuple[FoundCycle, Outcome]] = []
    for cycle in found.cycles:
        with _progress(quiet) as say:
            outcome = api.run(cycle, config, before=done, progress=say)
        done.append((cycle, outcome))
        yield cycle, outcome


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda fraction, what: bar.update(task, completed=fraction, description=what)


def _write(folder: Path, cycle: FoundCycle, outcome: Outcome) -> None:
    """One file per object, and the record; nothing where a finding holds."""
    from dicomnode import api

    made = api.objects(cycle, outcome)
    if not made:
        return
    folder.mkdir(exist_ok=True)
    for product in outcome.products:
        (folder / _file_name(product)).write_bytes(made[product.role])
    (folder / "report.pdf").write_bytes(_pdf(made["pdf"]))
    (folder / "record.json").write_text(
        json.dumps(_record(cycle, outcome), indent=2, default=str) + "\n", encoding="utf-8"
    )


def _file_name(product: Product) -> str:
    """DICOM objects by role; beside them picture, volumes to look at (MetaImage), curves and DVH (JSON)."""
    if product.sop_class_uid:
        return f"{product.role}.dcm"
    if product.role == "picture":
        return "picture.png"
    return f"{product.role}.mha.gz" if product.role.startswith("view-") else f"{product.role}.json"


def _pdf(encapsulated: bytes) -> bytes:
    """The PDF within its DICOM object, without the byte that makes its length even."""
    from io import BytesIO

    from pydicom import dcmread

    ds = dcmread(BytesIO(encapsulated))
    return bytes(ds.EncapsulatedDocument)[: ds.get("EncapsulatedDocumentLength")]


def _record(cycle: FoundCycle, outcome: Outcome) -> dict[str, Any]:
    """What went in, what every step computed by digest, findings and doses."""
    return {
        "job": cycle.job.model_dump(mode="json"),
        "steps": [asdict(step) for step in outcome.steps],
        "findings": [asdict(finding) for finding in outcome.verdict.findings],
        "released": outcome.verdict.release,
        "organs": [asdict(organ) for organ in outcome.organs],
        "curves": [asdict(curve) for curve in outcome.curves],
    }


def _print(cycle: FoundCycle, outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    given = cycle.job.administration
    click.echo(f"{given.nuclide}, {given.activity_mbq:.4g} MBq at {given.at.isoformat()}, "
               f"{len(cycle.job.time_points)} time points")  # fmt: skip
    for severity in ("hold", "warning"):
        for f in outcome.verdict.findings:
            if f.severity == severity:
                click.echo(printable(f"{severity}: {f.rule}: {f.sentence}"), err=True)
    if not outcome.verdict.release:
        click.echo(_held(outcome), err=True)
        return
    table = Table("region", "mean, Gy", "+- Gy (k=1)", "volume, mL", title="Absorbed dose")
    for o in outcome.organs:
        table.add_row(
            Text(printable(o.region)), f"{o.mean_gy:.3g}", f"{o.sigma_gy:.2g}", f"{o.volume_ml:.4g}"
        )
    Console().print(table)


def _held(outcome: Outcome) -> str:
    """What a person may do; what was refused cannot be accepted, only mended."""
    from shlex import quote

    from dicomnode.calculation.cycle_dose import REFUSED

    holds = [f for f in outcome.verdict.holds if not f.rule.startswith(REFUSED)]
    names = dict.fromkeys(printable(f"{f.rule}:{f.subject}" if f.subject else f.rule) for f in holds)
    options = " ".join(f"--accept {quote(name)}" for name in names)
    return "held, no dose is written" + (
        f". Where a person has looked and it is well: {options}" if options else ""
    )
