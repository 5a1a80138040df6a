"""``dicomnode simulate spect``: raw projections and a CT as DICOM, of a phantom or of any activity map."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import assume_option, assuming, faults_are_told
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.simulation.phantoms import Phantom
    from dicomnode.simulation.projections import Scan

IN = click.Path(exists=True, path_type=Path)
STARTED = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
"""The same scan has the same bytes, so its time is fixed."""
KVP = 120.0
PHANTOM_SHAPE, PHANTOM_MM = (112, 160, 160), 2.0


@click.command("spect")
@click.option("--phantom", type=click.Choice(["nema", "lesions"]), help="A phantom of ours, or else:")
@click.option(
    "--activity", type=IN, help="177Lu activity, Bq/mL (.mha, .nii), any grid parallel to the CT's."
)
@click.option("--ct", type=IN, help="Its CT, HU: a file, or a folder with one DICOM series.")
@click.option("--collimator", default="siemens-me", show_default=True)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the scan (views, bins, rows, pixel_mm, seconds_per_view, cps_per_mbq, ...).",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed, other noise."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)  # fmt: skip
@assume_option
@faults_are_told
def spect(**given: Any) -> None:
    """Write a simulated 177Lu scan: OUT/dicom/NM.dcm (raw TOMO, three windows), OUT/dicom/CT, OUT/truth.

    The scan is made by a finer and different model than the one that reconstructs.
    """
    from dicomnode.recon.camera.collimator import collimator
    from dicomnode.simulation.projections import simulate_scan

    phantom = _phantom(given)
    scan = simulate_scan(
        phantom, collimator(given["collimator"]), _settings(given["options"]), seed=given["seed"],
        started_at=STARTED,
    )  # fmt: skip
    files = _write_dicom(scan, given)
    _write_truth(scan, phantom, given)
    counts = scan.projections.counts.sum(axis=(1, 2, 3)).tolist()
    click.echo(
        f"{files} DICOM objects in {given['out'] / 'dicom'}; {counts[0]} counts in the photopeak of "
        f"{scan.truth.activity.total_mbq:.4g} MBq"
    )


def _phantom(given: dict[str, Any]) -> Phantom:
    from dicomnode.files.volumes import read_hu, read_volume
    from dicomnode.model import ActivityMap, Grid
    from dicomnode.simulation.phantoms import from_maps, lesions, nema_like

    if given["phantom"]:
        first = [-(n - 1) / 2 * PHANTOM_MM for n in reversed(PHANTOM_SHAPE)]
        grid = Grid(PHANTOM_SHAPE, (PHANTOM_MM,) * 3, (first[0], first[1], first[2]))
        return {"nema": nema_like, "lesions": lesions}[given["phantom"]](grid)
    if not (given["activity"] and given["ct"]):
        raise ConfigError(["give --phantom, or --activity and --ct"])
    assume = assuming(given["assumed"])
    activity = ActivityMap(*read_volume(given["activity"], "Bq/mL", assume))
    return from_maps(activity, read_hu(given["ct"], assume), {}, 1.0)


def _settings(options: tuple[str, ...]) -> Any:
    from pydantic import ValidationError

    from dicomnode.simulation.projections import ScanSettings

    table = {}
    for pair in options:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError([f"--option {pair}: write KEY=VALUE"])
        table[key] = json.loads(value) if value.startswith("[") else value
    try:
        return ScanSettings.model_validate(table)
    except ValidationError as error:
        raise ConfigError([f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]) from error


def _write_dicom(scan: Scan, given: dict[str, Any]) -> int:
    """One NM object and the CT's slices, of one invented person and one frame of reference."""
    from dicomnode.dicom.reference import PatientStudy
    from dicomnode.dicom.uids import named_uid
    from dicomnode.dicom.write.modules import ObjectIdentity
    from dicomnode.dicom.write.nm_tomo import write_projections
    from dicomnode.dicom.write.scans import Acquisition, Equipment, Subject, ct_series
    from dicomnode.physics.nuclides import nuclide

    name = ("simulated spect", given["phantom"] or "maps", str(given["seed"]), _content(scan))
    frame, study = named_uid(*name, "frame"), named_uid(*name, "study")
    who = Subject(f"SIM-{given['seed']:04d}", "SIMULATED^SPECT", "19600101", "O")
    patient = PatientStudy(
        who.patient_name, who.patient_id, study, who.birth_date, who.sex, f"{STARTED:%Y%m%d}",
        f"{STARTED:%H%M%S}", "1", frame_of_reference_uid=frame,
    )  # fmt: skip
    series = named_uid(*name, "nm series")
    identity = ObjectIdentity(named_uid(*name, "nm"), series, 2, "177Lu TOMO, simulated", STARTED)
    folder = given["out"] / "dicom"
    (folder / "CT").mkdir(parents=True, exist_ok=True)
    tomo = write_projections(scan.projections, patient, identity, nuclide("Lu-177").half_life_s)
    (folder / "NM.dcm").write_bytes(tomo)
    ct_uid = named_uid(*name, "ct series")
    acquisition = Acquisition(
        study, ct_uid, frame, STARTED, 20.0, "1", series_description="CT, simulated",
        equipment=Equipment("SIMULATED (not a camera)"),
    )  # fmt: skip
    slices = ct_series(
        scan.ct, subject=who, acquisition=acquisition, uid_of=lambda k: named_uid(ct_uid, str(k)), kvp=KVP
    )
    for k, ds in enumerate(slices):
        ds.save_as(folder / "CT" / f"{k:04d}.dcm", enforce_file_format=True)
    return len(slices) + 1


def _content(scan: Scan) -> str:
    """Digest of all that makes the objects: other images under one UID are a conflict wherever they meet."""
    views, ct = scan.projections, scan.ct
    digest = sha256()
    for values in (views.counts, views.angle_deg, views.radius_mm, views.seconds, views.started_s, ct.hu):
        digest.update(values.tobytes())
    digest.update(repr((views.windows, views.collimator, views.grid, ct.grid)).encode())
    return digest.hexdigest()


def _write_truth(scan: Scan, phantom: Phantom, given: dict[str, Any]) -> None:
    """The true activity on the camera's grid, and the numbers that go with it."""
    from dicomnode.files.volumes import write_volume

    folder = given["out"] / "truth"
    folder.mkdir(parents=True, exist_ok=True)
    truth = scan.truth
    write_volume(folder / "activity.mha", truth.grid, truth.activity.bq_per_ml, "Bq/mL")
    seconds = float(scan.projections.seconds[0])
    told = {
        "total_mbq": truth.activity.total_mbq,
        "cps_per_mbq": scan.counts_per_mbq / seconds,
        "seconds_per_view": seconds,
        "seed": given["seed"],
        "regions": {
            name: {"volume_ml": float(share.sum(dtype=float)) * phantom.grid.voxel_ml,
                   "contrast": phantom.contrast.get(name)}
            for name, share in phantom.shares.items()
        },
    }  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
