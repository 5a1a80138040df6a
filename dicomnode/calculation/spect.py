"""From raw projections and their CT to a SPECT in Bq/mL, within a calculation, and to its objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from dicomnode.calculation.job import Job
from dicomnode.calculation.reconstruction import ExaminedScan, examined_scan, reconstructed
from dicomnode.calculation.record import Steps
from dicomnode.config import Config
from dicomnode.dose.engine import EngineIdentity
from dicomnode.errors import Inconsistent, Refused
from dicomnode.model import CountingNoise, Finding, Nuclide, Severity
from dicomnode.model.projections import Projections
from dicomnode.model.series import EmissionVolume, Role

if TYPE_CHECKING:
    from dicomnode.dicom.reference import PatientStudy, SourceImage
    from dicomnode.dicom.write.modules import ObjectIdentity
    from dicomnode.dicom.write.spect_image import SpectImage
    from dicomnode.recon.calibration.record import SpectCalibration
    from dicomnode.recon.examination.examine import CtOfSpect
    from dicomnode.recon.reconstruct import Reconstruction

SERIES = {"spect-pt": 9110, "spect-osem": 9130, "spect-nm": 9150, "spect-sigma": 9170, "spect-noise": 9190}
"""Series numbers of the first time point; the next one's is one higher."""


@dataclass(frozen=True, eq=False)
class MadeSpect:
    """A SPECT that was reconstructed here, and what its objects say; ``beside`` is OSEM of the same counts
    where the image is another algorithm's."""

    label: str
    image: SpectImage
    beside: SpectImage | None
    patient: PatientStudy
    sources: tuple[SourceImage, ...]


def holds_projections(paths: Sequence[Path], zone: ZoneInfo) -> bool:
    """True where the files are raw projections."""
    from dicomnode.dicom.header.headers import read_header

    return read_header(paths[0], zone).role is Role.PROJECTIONS


def reconstruct_time_point(
    label: str,
    paths: Sequence[Path],
    ct: CtOfSpect | None,
    config: Config,
    nuclide: Nuclide,
    steps: Steps,
) -> tuple[EmissionVolume, MadeSpect, float]:
    """The volume in Bq/mL at the start of the acquisition, its objects' content, and the relative uncertainty
    of its calibration.

    Raises Refused for projections that cannot be used, NotReady where a finding holds before the
    reconstruction has begun.
    """
    from dicomnode.dicom.header.headers import read_header

    zone, recon = ZoneInfo(config.node.zone), config.recon
    header = read_header(paths[0], zone)
    if ct is None:
        raise Refused(
            "raw projections cannot be reconstructed without the CT of their frame of reference",
            uid=header.series_instance_uid, remedy="Send the CT of the SPECT/CT examination",
        )  # fmt: skip
    camera = recon.camera_of(
        header.facts.get("Manufacturer", ""), header.facts.get("ManufacturerModelName", ""),
        header.facts.get("CollimatorGridName", ""), paths[0].name,
    )  # fmt: skip
    scan = examined_scan(
        paths, ct, zone, angles=camera.angles_counted, nuclide=nuclide.name, acquisition=recon.acquisition,
        outline=recon.outline,
    )  # fmt: skip
    steps.found(scan.findings)
    steps.stop_if_held()
    made, record = _reconstruct(label, scan, config, steps)
    content = _content(label, paths, scan, made, config, nuclide)
    return _volume(scan.projections, made), content, record.relative_uncertainty


def _reconstruct(
    label: str, scan: ExaminedScan, config: Config, steps: Steps
) -> tuple[Reconstruction, SpectCalibration]:
    """The reconstruction as a step of the calculation's record, and the calibration that it used."""
    from dicomnode.recon.calibration.record import choose

    recon = config.recon
    name = recon.camera_that_took(scan.projections).collimator
    calibration = choose(recon.calibration, scan.projections, recon.protocol, name)
    digest = recon.protocol.digest(scan.projections.grid)
    with steps.step(
        f"reconstruction {label}", EngineIdentity("recon", digest), recon.seed,
        protocol=recon.protocol.model_dump(mode="json"), calibration=calibration.model_dump(mode="json"),
    ) as step:  # fmt: skip
        made = reconstructed(scan, recon.protocol, name, calibration, seed=recon.seed)
        noise = made.counting
        step.outputs({"activity": made.activity.bq_per_ml} | ({"noise": noise.bq_per_ml} if noise else {}))
        step.measured({
            "total_mbq": made.activity.total_mbq, "method": made.method, "scores": dict(made.scores),
            "parameters": dict(made.parameters), **scan.projections.origin,
        })  # fmt: skip
    steps.found(_for_dosimetry(made.findings))
    return made, calibration


def _for_dosimetry(findings: Sequence[Finding]) -> list[Finding]:
    """What is a warning to who looks at an image holds where a dose is computed from it."""
    return [replace(f, severity=Severity.HOLD) if f.rule == "recon-not-quantitative" else f for f in findings]


def _volume(projections: Projections, made: Reconstruction) -> EmissionVolume:
    """As any SPECT in Bq/mL that is decay-corrected to its start."""
    return EmissionVolume(
        grid=projections.grid,
        values=made.activity.bq_per_ml,
        unit="Bq/mL",
        started_at=projections.started_at,
        duration_s=projections.duration_s,
        decay_reference="START",
        decay_reference_at=projections.started_at,
        nuclide=projections.nuclide,
        half_life_s=None,
        series_uid=projections.series_uid,
        frame_of_reference_uid=projections.frame_of_reference_uid,
        origin={"unit": f"reconstructed here, calibration record {made.calibration!r}",
                **projections.origin},
        facts=projections.facts,
        counting=made.counting,
    )  # fmt: skip


def with_counting_noise(volume: EmissionVolume, paths: Sequence[Path]) -> EmissionVolume:
    """An image that this node reconstructed earlier, with the noise that was kept beside it.

    Raises Inconsistent where the two do not belong together, and as ``read_activity_noise``.
    """
    from dicomnode.dicom.volumes.activity_noise import read_activity_noise

    if volume.unit != "Bq/mL":
        raise Inconsistent(
            f"counting noise in Bq/mL refers to a SPECT in {volume.unit}",
            uid=volume.series_uid, remedy="Remove the noise, or send the SPECT as it was reconstructed",
        )  # fmt: skip
    return replace(volume, counting=read_activity_noise(paths, volume.grid))


def _content(
    label: str,
    paths: Sequence[Path],
    scan: ExaminedScan,
    made: Reconstruction,
    config: Config,
    nuclide: Nuclide,
) -> MadeSpect:
    from pydicom import dcmread

    from dicomnode.dicom.header.headers import read_header
    from dicomnode.dicom.reference import patient_study, source_image
    from dicomnode.dicom.write.spect_image import Radiopharmaceutical, SpectImage

    heads = [dcmread(path, stop_before_pixels=True) for path in paths]
    told = read_header(paths[0], ZoneInfo(config.node.zone))
    protocol, projections, attenuation = config.recon.protocol, scan.projections, scan.attenuation
    assert attenuation is not None  # reconstruct_time_point refuses a scan without CT
    corrected = ["DECY", *(["ATTN"] if protocol.attenuation else []),
                 *(["SCAT"] if made.parameters["scatter"] != "none" else [])]  # fmt: skip
    image = SpectImage(
        activity=made.activity,
        started_at=projections.started_at,
        duration_s=projections.duration_s,
        isotope=Radiopharmaceutical(
            nuclide.name, nuclide.half_life_s, told.radiopharmaceutical, told.administered_mbq,
            told.administered_at,
        ),
        position=projections.facts.get("patient_position", "HFS"),
        method=made.method,
        attenuation=f"CT {attenuation.kvp:g} kV to {attenuation.energy_kev:.1f} keV",
        scatter=str(made.parameters["scatter"]).upper(),
        window=projections.windows[projections.peak],
        collimator=projections.collimator,
        corrected=tuple(corrected),
    )  # fmt: skip
    beside = None
    if made.algorithm not in ("osem", "mlem"):
        beside = replace(
            image,
            activity=made.reference_activity,
            method=protocol.sentence("osem", str(made.parameters["scatter"])),
        )
    return MadeSpect(
        label,
        image,
        beside,
        patient_study(heads[0]),
        tuple(source_image(h) for h in heads),
    )


def spect_objects(made: MadeSpect, job: Job, config: Config) -> Iterator[tuple[str, bytes, str, str]]:
    """(role, bytes, SOP Class UID, SOP Instance UID) of every object of one reconstructed SPECT: PT slices
    and the noise always, NM where a peer wants it."""
    from dicomnode.dicom.reference import SourceImage
    from dicomnode.dicom.sop_classes import NM, PET
    from dicomnode.dicom.write.parametric_map import PARAMETRIC_MAP_STORAGE, write_activity_sigma
    from dicomnode.dicom.write.spect_image import slice_uid, write_pt, write_recon_tomo

    noisy: list[SourceImage] = []
    for kind, image in (("spect-pt", made.image), ("spect-osem", made.beside)):
        if image is None:
            continue
        identity = _identity(made.label, kind, "SPECT Bq/mL", job, config)
        for k, content in enumerate(write_pt(image, made.patient, identity, made.sources)):
            uid = slice_uid(identity, k)
            yield f"{kind}-{made.label}-{k:04d}", content, PET, uid
            if image is made.image:
                noisy.append(SourceImage(PET, uid, identity.series_uid, made.patient.study_uid))
    if any("spect-nm" in peer.objects for peer in config.delivery.peers):
        identity = _identity(made.label, "spect-nm", "SPECT Bq/mL", job, config)
        content = write_recon_tomo(made.image, made.patient, identity, made.sources)
        uid = identity.sop_instance_uid
        yield f"spect-nm-{made.label}", content, NM, uid
        noisy.append(SourceImage(NM, uid, identity.series_uid, made.patient.study_uid))
    noise = made.image.activity.counting
    if noise is not None:
        identity = _identity(made.label, "spect-sigma", "SPECT uncertainty Bq/mL", job, config)
        sigma, grid = noise.sigma_bq_per_ml(), made.image.activity.grid
        content = write_activity_sigma(grid, sigma, made.patient, identity, sources=made.sources)
        yield f"spect-sigma-{made.label}", content, PARAMETRIC_MAP_STORAGE, identity.sop_instance_uid
    if noise is not None and any("spect-noise" in peer.objects for peer in config.delivery.peers):
        yield from _noise_objects(made, noise, noisy, job, config)


def _noise_objects(
    made: MadeSpect, noise: CountingNoise, images: Sequence[SourceImage], job: Job, config: Config
) -> Iterator[tuple[str, bytes, str, str]]:
    """The replicates, one object each, that refer to the images whose noise they are."""
    from dicomnode.dicom.uids import named_uid
    from dicomnode.dicom.write.parametric_map import PARAMETRIC_MAP_STORAGE, write_activity_noise

    first = _identity(made.label, "spect-noise", "SPECT noise Bq/mL", job, config)
    identities = [
        replace(first, sop_instance_uid=named_uid(first.series_uid, str(n)), instance_number=n)
        for n in range(1, len(noise.deviations) + 1)
    ]
    contents = write_activity_noise(noise, made.patient, identities, sources=images)
    for identity, content in zip(identities, contents, strict=True):
        role = f"spect-noise-{made.label}-{identity.instance_number:04d}"
        yield role, content, PARAMETRIC_MAP_STORAGE, identity.sop_instance_uid


def _identity(label: str, kind: str, what: str, job: Job, config: Config) -> ObjectIdentity:
    from dicomnode.dicom.uids import revision_uid
    from dicomnode.dicom.write.modules import ObjectIdentity

    role = f"{kind}-{label}"
    return ObjectIdentity(
        sop_instance_uid=revision_uid(job.revision_id, role),
        series_uid=revision_uid(job.revision_id, f"{role}/series"),
        series_number=SERIES[kind] + int(label.removeprefix("T")) - 1,
        description=f"{what}, {label}, {job.administration.nuclide}, revision {job.number}",
        created_at=job.created_at.astimezone(ZoneInfo(config.node.zone)),
    )
