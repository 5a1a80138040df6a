"""``dicomnode gate``: whether GATE can run here, and the one command that may fetch its data."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from dicomnode.errors import DicomnodeError, EngineUnavailable

# What a patient is made of, and metal of implants left out: elements of the tissues of `dicomnode materials`.
ELEMENTS = ("H", "C", "N", "O", "Na", "Mg", "P", "S", "Cl", "Ar", "K", "Ca", "Fe", "I")
DOWNLOAD = "from opengate_core.g4DataSetup import check_g4_data; check_g4_data()"


@click.group("gate")
def gate() -> None:
    """GATE 10 (opengate): its installation and its Geant4 data."""


@gate.command("check")
@click.option("--python", default="", help="The Python that has opengate; without: this one.")
@click.option("--data", default="", help="Folder with the Geant4 data; without: where opengate looks.")
@click.option("--physics-list", default="G4EmStandardPhysics_option3", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def check(python: str, data: str, physics_list: Any, as_json: bool) -> None:
    """Whether everything is there that a simulation reads. Exit 0: yes, 1: no. Downloads nothing."""
    from dicomnode.montecarlo.gate.data import find, require_data

    try:
        found = find(python, data)
        require_data(found, physics_list, ELEMENTS)
    except EngineUnavailable as error:
        click.echo(
            json.dumps({"ready": False, "why": str(error)}) if as_json else str(error), err=not as_json
        )
        sys.exit(1)
    answer = {
        "ready": True, "python": found.python, "opengate": found.opengate, "core": found.core,
        "data": str(found.data), "official_data": not found.stand_in, "sha256": found.digest,
    }  # fmt: skip
    kind = "stand-in data: for tests, never for a patient" if found.stand_in else "data"
    text = f"GATE can run: opengate {found.opengate} in {found.python}, {kind} in {found.data}"
    click.echo(json.dumps(answer) if as_json else text)


@gate.command("setup")
@click.option("--python", default="", help="The Python that has opengate; without: this one.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Link this folder of Geant4 data (the twelve sub-folders) to where opengate looks.",
)
@click.option("--download", is_flag=True, help="Fetch the official data from CERN (2 GB or more).")
def setup(python: str, data: Path | None, download: bool) -> None:
    """Put the Geant4 data where GATE finds them: link a folder, or download. Nothing else ever does.

    The official electromagnetic data (G4EMLOW) state that they are not for commercial use and are to be used
    within Geant4; that is between your site and Geant4, so they do not come with this program.
    """
    if (data is None) == (not download):
        click.echo("Give either --data FOLDER or --download", err=True)
        sys.exit(2)
    try:
        click.echo(_link(python, data) if data is not None else _download(python))
    except DicomnodeError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _link(python: str, data: Path) -> str:
    from dicomnode.montecarlo.gate.data import find, require_data

    require_data(find(python, str(data.resolve())), "G4EmStandardPhysics_option3", ELEMENTS)
    place = find(python).data
    if place.is_symlink():
        place.unlink()
    elif place.exists() and any(place.iterdir()):
        raise EngineUnavailable(f"{place} holds data already; remove it, or leave it as it is")
    elif place.exists():
        place.rmdir()  # opengate leaves an empty folder behind a failed download
    place.symlink_to(data.resolve(), target_is_directory=True)
    return f"{place} -> {data.resolve()}"


def _download(python: str) -> str:
    """opengate's own download, by the Python that has it; it resumes and checks the names."""
    import os
    import subprocess

    from dicomnode.montecarlo.gate.data import find, require_data

    found = find(python)
    environment = os.environ | {"GATEONRTD": "1"}  # no second download at import
    status = subprocess.run([found.python, "-c", DOWNLOAD], env=environment, check=False).returncode
    if status:
        raise EngineUnavailable(
            f"the download failed (status {status}). Without access to cern.ch, copy the twelve folders "
            f"from a machine that has them and run `dicomnode gate setup --data FOLDER`"
        )
    require_data(found, "G4EmStandardPhysics_option3", ELEMENTS)
    return f"Geant4 data in {found.data}"
