"""The demonstration: a simulated patient goes the whole way through a real node, over DICOM.

Everything is real but the patient: a node of three processes with SQLite in a fresh folder, a small PACS
on loopback, images sent by C-STORE time point by time point, and the result as the PACS received it.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.casebook.house import House, open_house
from dicomnode.casebook.views import cycle_facts, cycle_rows
from dicomnode.config import load
from dicomnode.demo.pacs import DemoPacs
from dicomnode.errors import DicomnodeError

if TYPE_CHECKING:
    from dicomnode.simulation import SimulatedPatient

HOURS = (4.0, 24.0, 72.0, 168.0)
Say = Callable[[str, float], None]
"""Called with what is being done and the fraction of the whole."""

CONFIG = """\
# Written by `dicomnode demo`: everything on loopback, in this folder.
[node]
name = "DEMO"
zone = "Europe/Zurich"
poll_s = 0.3

[archive]
data_folder = "data"

[receive]
ae_title = "DICOMNODE"
port = {node_port}
free_space_reserve_mb = 100.0

[[receive.peers]]
ae_title = "DEMOPACS"
addresses = ["127.0.0.1/32"]

[work]
workers = 2

[cycle]
series_quiet_s = 3.0

[tia]
method = "hybrid"

[[recovery.widths]]
nuclide = "Lu-177"
model = "SIMULATED SPECT/CT"
protocol = "simulated: blurred, counted, filtered"
measured_on = 2026-01-15
fwhm_mm = [{fwhm_mm}]
relative_uncertainty = 0.05

[operation]
health_port = {health_port}

[web]
port = {web_port}

[delivery]
poll_s = 0.5

[[delivery.peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
objects = ["rtdose", "tia-map", "sigma-map", "sr", "pdf"]
"""


@dataclass(frozen=True)
class Row:
    """One line of the organ table: what the node found beside what is true.

    Attributes
    ----------
    node_gy, low_gy, high_gy : uncorrected mean and its interval (k = 2)
    recovered_gy, recovered_sigma_gy : mean corrected for partial volume, k = 1
    true_gy : the patient's own, on the 2 mm grid of the anatomy
    """

    region: str
    node_gy: float
    low_gy: float
    high_gy: float
    recovered_gy: float
    recovered_sigma_gy: float
    true_gy: float


@dataclass(frozen=True)
class Demonstration:
    """What came of it."""

    cycle_id: str
    rows: tuple[Row, ...]
    files: tuple[Path, ...]
    picture: Path
    seconds_after_last_object: float
    page: str
    """Address of the review page, and a log-in for this demonstration only; empty without its parts."""


def demonstrate(folder: Path, *, seed: int, size: str, say: Say) -> Demonstration:
    """Run the whole way in ``folder`` (must be new or empty). Raises where the cycle is held."""
    from dicomnode.simulation import make_patient, scan
    from dicomnode.simulation.objects import write_dicom

    if folder.exists() and any(folder.iterdir()):
        raise DicomnodeError(f"{folder} is not empty; give a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    say("drawing a patient", 0.02)
    patient = make_patient(seed, size="small" if size == "small" else "full")
    scans = []
    for i, hours in enumerate(HOURS):
        say(f"scanning the patient {hours:g} h after administration", 0.06 + 0.06 * i)
        scans.append(scan(patient, hours, seed=seed))
    say("writing NM, CT and SEG", 0.30)
    files = write_dicom(patient, scans, folder / "images", emission="Bq/ml")
    pacs = DemoPacs(folder / "pacs")
    try:
        config_path = _configure(folder, pacs.port)
        with _node(config_path, folder / "node.log"):
            house = open_house(load(config_path))
            _send(files, house, say)
            sent_at = time.monotonic()
            cycle_id = _wait(house, say, timeout_s=240)
            seconds = time.monotonic() - sent_at
            facts = cycle_facts(house, cycle_id)
            picture = _picture(house, facts, folder)
        say("comparing with the truth", 0.96)
        rows = _compare(patient, facts)
        page = _page(folder, config_path, cycle_id)
        return Demonstration(cycle_id, rows, tuple(pacs.received.values()), picture, seconds, page)
    finally:
        pacs.close()


def _configure(folder: Path, pacs_port: int) -> Path:
    path = folder / "config.toml"
    from dicomnode.simulation.scanner import PSF_FWHM_MM

    text = CONFIG.format(
        node_port=_free_port(),
        health_port=_free_port(),
        pacs_port=pacs_port,
        web_port=_free_port(),
        fwhm_mm=PSF_FWHM_MM,
    )
    path.write_text(text, encoding="utf-8")
    return path


def _page(folder: Path, config_path: Path, cycle_id: str) -> str:
    """A log-in at the review page; what to open and type is kept in ``page.txt`` of the folder."""
    if find_spec("argon2") is None or find_spec("starlette") is None:
        return ""
    from dicomnode.web.rights import Role
    from dicomnode.web.users import added, write_users

    web, password = load(config_path).web, secrets.token_hex(6)
    write_users(web.users_file, added({}, "demo", "Demo Physicist", Role.PHYSICIST, password))
    text = f"http://{web.address}:{web.port}/cycles/{cycle_id}  user demo  password {password}"
    path = folder / "page.txt"
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="utf-8")
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _node(config_path: Path, log: Path) -> Iterator[None]:
    """`dicomnode serve` as a process of its own, until the end of the block."""
    command = [sys.executable, "-m", "dicomnode", "serve", "--config", str(config_path)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream, stdout=stream)
        try:
            yield
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(60)


def _send(files: Sequence[Path], house: House, say: Say) -> None:
    """C-STORE every file as a PACS would: an object without an answer is sent again."""
    from pydicom import dcmread

    association = _associate(house)
    for number, path in enumerate(files, start=1):
        say(f"sending {number} of {len(files)} objects", 0.35 + 0.2 * number / len(files))
        status = association.send_c_store(dcmread(path))
        if "Status" not in status:
            # pynetdicom's requestor can lose an answer between its threads on a loaded machine.
            association.abort()
            association = _associate(house)
            status = association.send_c_store(dcmread(path))
        if status.get("Status") != 0:
            raise DicomnodeError(f"the node answered {status.get('Status', 'nothing')} to {path.name}")
    association.release()


def _associate(house: House) -> Any:
    """An association with the node, as soon as it listens."""
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import CTImageStorage, NuclearMedicineImageStorage, SegmentationStorage

    entity = AE("DEMOPACS")
    entity.dimse_timeout = 15
    for context in (NuclearMedicineImageStorage, CTImageStorage, SegmentationStorage):
        entity.add_requested_context(context, "1.2.840.10008.1.2.1")
    receive = house.config.receive
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        association = entity.associate(
            "127.0.0.1",
            receive.port,
            ae_title=receive.ae_title,
            evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)],
        )
        if association.is_established:
            return association
        time.sleep(0.5)
    raise DicomnodeError("the node does not answer; see node.log in the folder of the demonstration")


def _no_delay(event: Any) -> None:
    """Without TCP_NODELAY each object waits 40 ms for a delayed acknowledgement."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _wait(house: House, say: Say, timeout_s: float) -> str:
    """Until the cycle is delivered; a hold is told with its reasons."""
    deadline = time.monotonic() + timeout_s
    steps = {"COLLECTING": 0.58, "READY": 0.62, "COMPUTING": 0.7, "RELEASED": 0.9, "DELIVERED": 0.95}
    while time.monotonic() < deadline:
        rows = cycle_rows(house)
        state = rows[0]["state"] if rows else "COLLECTING"
        say(f"the node: {state.lower()}", steps.get(state, 0.6))
        if state == "HELD" and rows:
            raise DicomnodeError("the cycle is held: " + "; ".join(rows[0]["reasons"]))
        if state == "DELIVERED":
            return str(rows[0]["id"])
        time.sleep(0.3)
    raise DicomnodeError(f"nothing was delivered within {timeout_s:g} s; see node.log")


def _picture(house: House, facts: dict[str, Any], folder: Path) -> Path:
    digest = next(r["file_sha256"] for r in facts["results"] if r["role"] == "picture")
    path = folder / "dose.png"
    path.write_bytes(house.store.path(digest).read_bytes())
    return path


def _compare(patient: SimulatedPatient, facts: dict[str, Any]) -> tuple[Row, ...]:
    """The node's organ doses beside the patient's own: true activity, density and organs on the grid that the
    patient was drawn on, same engine. Averaged to the SPECT's voxels the truth itself would lose up to 14 %
    of a small lesion to its edge voxels."""
    from dicomnode.dose.registry import build
    from dicomnode.physics.anatomy import anatomy_from_density
    from dicomnode.physics.nuclides import nuclide

    density = patient.density
    anatomy, emitting = anatomy_from_density(density), nuclide(patient.administration.nuclide)
    true = build("vsv").dose(patient.tia(), anatomy, emitting).gy
    found = {o["region"]: o for o in facts["organ_doses"]}
    return tuple(
        _row(found[name], float(np.average(true[mask], weights=density.g_per_cm3[mask])))
        for name, mask in patient.regions.masks.items()
        if name in found
    )


def _row(found: dict[str, Any], true_gy: float) -> Row:
    names = ("mean_gy", "low_gy", "high_gy", "recovered_gy", "recovered_sigma_gy")
    mean, low, high, recovered, sigma = (
        float("nan") if found[name] is None else float(found[name]) for name in names
    )
    return Row(found["region"], mean, low, high, recovered, sigma, true_gy)
