"""What GATE needs on a machine, looked at without importing it.

Importing opengate checks for the folders of its data and downloads several GB where one is missing; a
missing file within them ends the process without a word (signal 6 or 11). So everything is checked before
a process with opengate starts, and that process is told to leave the data alone (``GATEONRTD``).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from dicomnode.errors import EngineUnavailable
from dicomnode.physics.interactions import SYMBOLS

JOB = Path(__file__).with_name("job.py")
ISOLATED = ("-I",)
"""The job's own folder must not come first on the path: a module beside it is called as one of Python's."""
SETUP = "Run `dicomnode gate setup`"

# Variable of Geant4 11.4 -> folder of opengate-core 10.1 (its g4DataSetup.py).
DATA_SETS = {
    "G4NEUTRONHPDATA": "G4NDL4.7.1",
    "G4LEDATA": "G4EMLOW8.8",
    "G4LEVELGAMMADATA": "PhotonEvaporation6.1.2",
    "G4RADIOACTIVEDATA": "RadioactiveDecay6.1.2",
    "G4PARTICLEXSDATA": "G4PARTICLEXS4.2",
    "G4PIIDATA": "G4PII1.3",
    "G4REALSURFACEDATA": "RealSurface2.2",
    "G4SAIDXSDATA": "G4SAIDDATA2.0",
    "G4ABLADATA": "G4ABLA3.3",
    "G4INCLDATA": "G4INCL1.3",
    "G4ENSDFSTATEDATA": "G4ENSDFSTATE3.0",
    "G4CHANNELINGDATA": "G4CHANNELING2.0",
}
PhysicsList = Literal["G4EmStandardPhysics_option3", "G4EmStandardPhysics_option4"]
# What Geant4 11.4 reads for electrons and photons, found by tracing its calls. {Z}: each element.
NUCLEI = "G4ENSDFSTATE3.0/ENSDFSTATE.dat"  # where missing: abort() before any handler
EM = "G4EMLOW8.8"
BY_ELEMENT = (
    *(f"{EM}/epics2017/phot/pe-{part}-{{Z}}.dat" for part in ("cs", "high", "low")),
    f"{EM}/epics2017/rayl/re-cs-{{Z}}.dat",
    f"{EM}/brem_SB/br{{Z}}",
)
FOLDERS = {
    "G4EmStandardPhysics_option3": (f"{EM}/fluor", f"{EM}/auger", f"{EM}/ion_stopping_data/icru90"),
    "G4EmStandardPhysics_option4": (
        f"{EM}/fluor", f"{EM}/auger", f"{EM}/ion_stopping_data/icru90",
        f"{EM}/msc_GS", f"{EM}/penelope", f"{EM}/livermore", f"{EM}/doppler",
    ),
}  # fmt: skip
STAND_IN = f"{EM}/NOT_OFFICIAL.txt"

ATOMIC_NUMBER = {symbol: z for z, symbol in enumerate(SYMBOLS, start=1)}


@dataclass(frozen=True)
class Installation:
    """A Python with opengate, and its data.

    Attributes
    ----------
    python : the interpreter
    opengate, core : versions
    data : folder with the sub-folders of ``DATA_SETS``
    """

    python: str
    opengate: str
    core: str
    data: Path

    @property
    def stand_in(self) -> bool:
        """True where the data say of themselves that they are not the official ones."""
        return (self.data / STAND_IN).exists()

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a job: where the data lie, and that nothing is to be checked or downloaded."""
        return {"GATEONRTD": "1"} | {name: str(self.data / sub) for name, sub in DATA_SETS.items()}

    @property
    def digest(self) -> str:
        """SHA-256 over the names and bytes of the electromagnetic data."""
        return _digest(self.data)


def find(python: str = "", data: str = "") -> Installation:
    """The installation used by jobs. Nothing is imported and nothing downloaded.

    Parameters
    ----------
    python : interpreter that has opengate; empty: this one
    data : folder with the Geant4 data; empty: ``geant4_data`` within opengate-core

    Raises
    ------
    EngineUnavailable : no such Python, no opengate in it, or no data folder
    """
    python = python or sys.executable
    if os.sep in python:  # jobs run in folders of their own; a link into an environment stays a link
        python = os.path.abspath(python)
    try:
        command = [python, *ISOLATED, str(JOB), "--where"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise EngineUnavailable(f"GATE: the Python {python!r} cannot be started: {error}") from error
    if run.returncode:
        raise EngineUnavailable(f"GATE: {python} failed to look for opengate: {run.stderr.strip()[-300:]}")
    found = json.loads(run.stdout)
    if not found["opengate"] or not found["core"]:
        lacking = "opengate" if not found["opengate"] else "opengate-core"
        raise EngineUnavailable(
            f"GATE: {lacking} is not installed in {python}. Install it there (pip install "
            f'"dicomnode[gate]"), or name the Python that has it in the setting python'
        )
    return Installation(python, found["opengate"], found["core"], Path(data or found["data"]))


def require_data(installation: Installation, physics_list: PhysicsList, elements: Iterable[str]) -> None:
    """See that every file is there that the simulation will read.

    Parameters
    ----------
    elements : symbols of the elements in the patient

    Raises
    ------
    EngineUnavailable : folders or files are missing; the message names them and the remedy
    """
    folder = installation.data
    if not folder.is_dir():
        raise EngineUnavailable(f"GATE: the Geant4 data folder {folder} does not exist. {SETUP}")
    missing = [name for name in DATA_SETS.values() if not (folder / name).is_dir()]
    missing += [name for name in _files(elements) if not _filled(folder / name)]
    missing += [f"{name}/" for name in FOLDERS[physics_list] if not _filled(folder / name)]
    if missing:
        shown = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        raise EngineUnavailable(
            f"GATE: the Geant4 data in {folder} lack {shown} ({physics_list} reads them). {SETUP} for the "
            f"official data of opengate {installation.opengate}"
        )


def _files(elements: Iterable[str]) -> Iterator[str]:
    yield NUCLEI
    for symbol in sorted(set(elements)):
        if symbol not in ATOMIC_NUMBER:
            raise EngineUnavailable(f"GATE: no data are known for the element {symbol!r}")
        yield from (pattern.format(Z=ATOMIC_NUMBER[symbol]) for pattern in BY_ELEMENT)


def _filled(path: Path) -> bool:
    """A file that is not empty, or a folder that holds something."""
    if path.is_dir():
        return any(path.iterdir())
    return path.is_file() and path.stat().st_size > 0


@cache
def _digest(data: Path) -> str:
    total = hashlib.sha256()
    for sub in (f"{EM}/brem_SB", f"{EM}/epics2017", f"{EM}/fluor"):
        for path in sorted((data / sub).rglob("*")):
            if path.is_file():
                total.update(os.fsencode(path.relative_to(data)))
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
