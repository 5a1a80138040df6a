"""The objects of a revision: made by the rooms, written to the store, named by deterministic UIDs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from dicomnode import __version__
from dicomnode.calculation import shown
from dicomnode.calculation.files import Files
from dicomnode.calculation.job import Job, Product, Step
from dicomnode.calculation.spect import MadeSpect, spect_objects
from dicomnode.config import Config
from dicomnode.delivery.settings import DoseVariant, dose_variants, reported_doses
from dicomnode.dose.engine import EngineIdentity
from dicomnode.model import (
    Anatomy,
    DoseMap,
    HuMap,
    LabelMap,
    Nuclide,
    OrganDose,
    Provenance,
    RegisteredCycle,
    TiaFit,
    Verdict,
)
from dicomnode.model.volumes import Float32
from dicomnode.results.voxel_uncertainty import whole_sigma_gy

if TYPE_CHECKING:
    from dicomnode.dicom.reference import PatientStudy, SourceImage
    from dicomnode.dicom.write.modules import ObjectIdentity

RAISED_SHARE = 1e-4
"""An RT Dose says so where voxels set to zero add more than this to its sum."""
SERIES = {"rtdose": 9100, "rtplan": 9101, "tia-map": 9102, "sigma-map": 9103, "sr": 9104, "pdf": 9105}
"""Series numbers: high, so that viewers list the results after the images."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Everything that was computed for a cycle.

    Attributes
    ----------
    registered : all time points on one grid, with the CT and what registration found
    body : density (g/cm3), tissues and outline on that grid
    regions : regions on that grid, "body" among them
    fit : time-integrated activity per voxel (MBq s/mL) and per region, with the curves
    dose : absorbed dose per voxel and its standard uncertainty, Gy
    organs : dose of each region, Gy
    engine : name, version and data digests of the dose engine
    verdict : all findings; ``release`` is false where one of them holds
    nuclide : of the administration
    made : SPECT that were reconstructed here
    ct : of the reference time point, as it came
    steps : what every step computed, by SHA-256 digest
    """

    registered: RegisteredCycle
    body: Anatomy
    regions: LabelMap
    fit: TiaFit
    dose: DoseMap
    organs: tuple[OrganDose, ...]
    engine: EngineIdentity
    verdict: Verdict
    nuclide: Nuclide
    made: tuple[MadeSpect, ...] = ()
    ct: HuMap | None = None
    steps: tuple[Step, ...] = ()


def write_objects(job: Job, config: Config, files: Files, answer: Answer) -> tuple[Product, ...]:
    """Make and keep every object that some peer may want; the same job gives the same bytes."""
    context = _context(job, config, files, answer)
    return tuple(
        Product(role, files.put(content), sop_class_uid, sop_instance_uid)
        for role, content, sop_class_uid, sop_instance_uid in _objects(context, config, answer)
    )


@dataclass(frozen=True, eq=False)
class _Context:
    job: Job
    zone: ZoneInfo
    patient: PatientStudy
    sources: tuple[SourceImage, ...]

    def identity(self, role: str, what: str) -> ObjectIdentity:
        from dicomnode.dicom.uids import revision_uid
        from dicomnode.dicom.write.modules import ObjectIdentity

        return ObjectIdentity(
            sop_instance_uid=revision_uid(self.job.revision_id, role),
            series_uid=revision_uid(self.job.revision_id, f"{role}/series"),
            series_number=SERIES[role if role in SERIES else role.partition("-")[0]],
            description=f"{what}, {self.job.administration.nuclide}, revision {self.job.number}",
            created_at=self.job.created_at.astimezone(self.zone),
        )

    def superseded(self, role: str, sop_class_uid: str) -> SourceImage | None:
        """The object of this role in the released revision before: what went where this one goes."""
        from dicomnode.dicom.reference import SourceImage
        from dicomnode.dicom.uids import revision_uid

        older = self.job.supersedes
        if older is None or role not in older.objects:
            return None
        series = revision_uid(older.revision_id, f"{role}/series")
        return SourceImage(sop_class_uid, older.objects[role], series, self.patient.study_uid)


def _context(job: Job, config: Config, files: Files, answer: Answer) -> _Context:
    """Patient and study of the reference CT (of the reference SPECT where there is no CT)."""
    from pydicom import dcmread

    from dicomnode.dicom.reference import patient_study, source_image

    point = next(p for p in job.time_points if p.label == answer.registered.reference)
    of_reference = point.ct or point.emission
    first = dcmread(files.path(next(iter(of_reference.instances.values()))), stop_before_pixels=True)
    sources = []
    for p in job.time_points:
        for series in (p.emission, p.ct):
            for digest in series.instances.values() if series is not None else ():
                sources.append(source_image(dcmread(files.path(digest), stop_before_pixels=True)))
    return _Context(job, ZoneInfo(config.node.zone), patient_study(first), tuple(sources))


def _objects(context: _Context, config: Config, answer: Answer) -> Iterator[tuple[str, bytes, str, str]]:
    """(role, bytes, SOP Class UID, SOP Instance UID) of every object."""
    from dicomnode.dicom.write import encapsulated_pdf, parametric_map, rtdose, rtplan, structured_report

    plain = DoseVariant("rtdose", 32, "none")
    variants = {v.role: v for v in (plain, *dose_variants(config.delivery.peers))}
    plan_identity = context.identity("rtplan", "Companion plan")
    if any(v.plan == "companion" for v in variants.values()):
        label = f"{context.job.administration.nuclide} {context.job.number}"
        plan = rtplan.write_companion_plan(context.patient, plan_identity, label=label)
        yield "rtplan", plan, rtplan.RT_PLAN_STORAGE, plan_identity.sop_instance_uid
    for variant in variants.values():
        identity = context.identity(variant.role, "Absorbed dose")
        yield (
            variant.role,
            _rtdose(context, answer, variant, identity, plan_identity),
            rtdose.RT_DOSE_STORAGE,
            identity.sop_instance_uid,
        )
    tia = context.identity("tia-map", "Time-integrated activity")
    yield (
        "tia-map",
        parametric_map.write_tia_map(answer.fit.tia, context.patient, tia),
        parametric_map.PARAMETRIC_MAP_STORAGE,
        tia.sop_instance_uid,
    )
    sigma = context.identity("sigma-map", "Dose uncertainty")
    sigma_gy = whole_sigma_gy(answer.dose, answer.fit, config.results.resolution_fwhm_mm)
    yield (
        "sigma-map",
        parametric_map.write_dose_sigma(answer.dose.grid, sigma_gy, context.patient, sigma),
        parametric_map.PARAMETRIC_MAP_STORAGE,
        sigma.sop_instance_uid,
    )
    for role, dose_role in reported_doses(config.delivery.peers).items():
        report = context.identity(role, "Organ doses")
        content = _organ_dose_sr(context, answer, report, role, dose_role)
        yield role, content, structured_report.COMPREHENSIVE_SR_STORAGE, report.sop_instance_uid
    identity = context.identity("pdf", "Dosimetry report")
    pdf = _report(context, config, answer)
    yield (
        "pdf",
        encapsulated_pdf.write_encapsulated_pdf(
            pdf, context.patient, identity, title="Dosimetry of radionuclide therapy", sources=context.sources
        ),
        encapsulated_pdf.ENCAPSULATED_PDF_STORAGE,
        identity.sop_instance_uid,
    )
    yield "picture", picture(answer, config), "", ""
    yield from ((role, content, "", "") for role, content in _to_look_at(answer, sigma_gy))
    for spect in answer.made:
        yield from spect_objects(spect, context.job, config)


def _to_look_at(answer: Answer, sigma_gy: Float32) -> Iterator[tuple[str, bytes]]:
    """(role, bytes) of what stays here: for the review page, and for programs."""
    yield shown.CURVES, shown.curves(answer.fit, answer.nuclide)
    yield shown.DVH, shown.histograms(answer.dose, answer.regions)
    if shown.is_oblique(answer.dose.grid):
        return
    yield from shown.volumes(
        answer.dose, sigma_gy, answer.fit, answer.registered.points, answer.regions, answer.ct
    )


def _organ_dose_sr(
    context: _Context, answer: Answer, report: ObjectIdentity, role: str, dose_role: str
) -> bytes:
    """The organ doses, referring to the RTDOSE that goes where this report goes."""
    from dicomnode.dicom.reference import SourceImage
    from dicomnode.dicom.write import rtdose, structured_report

    dose = context.identity(dose_role, "")
    study = context.patient.study_uid
    of = SourceImage(rtdose.RT_DOSE_STORAGE, dose.sop_instance_uid, dose.series_uid, study)
    return structured_report.write_organ_dose_sr(
        answer.organs,
        context.patient,
        report,
        sources=(of, *context.sources),
        tia_sigma_mbq_s={c.region: c.sigma_tia_mbq_s for c in answer.fit.regions},
        supersedes=context.superseded(role, structured_report.COMPREHENSIVE_SR_STORAGE),
        verdict=answer.verdict,
    )


def _report(context: _Context, config: Config, answer: Answer) -> bytes:
    from dicomnode.results.course import course_doses
    from dicomnode.results.report import ReportContent, write_report

    job = context.job
    earlier = job.earlier
    course = (
        course_doses(
            [*([o.noun() for o in cycle] for cycle in earlier.organs), answer.organs],
            common_relative=config.results.course_common_relative,
            without_dose=len(earlier.without_dose),
        )
        if earlier.organs or earlier.without_dose
        else ()
    )
    # The instant of the job stands for both ends: a repeated calculation must make the same bytes.
    at = job.created_at.astimezone(context.zone)
    provenance = Provenance(
        version=__version__,
        config_digest=config.digest(),
        inputs=job.input_digests(),
        engine=f"{answer.engine.name} {answer.engine.version}",
        data_digests=answer.engine.digests,
        settings=config.dose.options,
        seed=config.dose.seed,
        started_at=at,
        ended_at=at,
    )
    content = ReportContent(
        patient=context.patient,
        cycle=answer.registered,
        nuclide=answer.nuclide,
        fit=answer.fit,
        dose=answer.dose,
        regions=answer.regions,
        organs=answer.organs,
        verdict=answer.verdict,
        provenance=provenance,
        revision_id=job.revision_id,
        revision=job.number,
        created_at=at,
        course=course,
        not_in_course=tuple(a.noun() for a in earlier.without_dose),
    )
    return write_report(content, config.results)


def picture(answer: Answer, config: Config) -> bytes:
    from dicomnode.results.pictures import Scene, focus_mm, png

    scene = Scene(
        tia=answer.fit.tia,
        dose=answer.dose,
        regions=answer.regions,
        ct=answer.registered.ct,
        focus_mm=focus_mm(answer.dose, answer.regions),
        ct_window_hu=config.results.ct_window_hu,
    )
    return png(scene)


def _rtdose(
    context: _Context, answer: Answer, variant: DoseVariant, identity: ObjectIdentity, plan: ObjectIdentity
) -> bytes:
    from dicomnode.dicom.reference import SourceImage
    from dicomnode.dicom.write import rtdose, rtplan

    reference = None
    if variant.plan == "companion":
        reference = rtplan.plan_reference(context.patient, plan)
    elif variant.plan == "existing":
        reference = SourceImage(
            rtplan.RT_PLAN_STORAGE, variant.plan_uid, variant.plan_uid, context.patient.study_uid
        )
    moved = any(p.quality.method != "identity" for p in answer.registered.points)
    return rtdose.write_rtdose(
        answer.dose,
        context.patient,
        identity,
        bits=variant.bits,
        plan=reference,
        sources=context.sources,
        supersedes=context.superseded(variant.role, rtdose.RT_DOSE_STORAGE),
        heterogeneity="IMAGE" if answer.dose.medium == "medium" else "WATER",
        spatial_transform="RIGID" if moved else "NONE",
        comment=dose_comment(context.job.administration.nuclide, answer.engine, answer.dose),
    )


def dose_comment(nuclide: str, engine: EngineIdentity, dose: DoseMap) -> str:
    """What an RT Dose says of itself (64 characters); of alpha particles first, whose dose a reader may
    think weighted."""
    from dicomnode.dicom.write.rtdose import raised_share

    alpha = " absorbed dose (RBE 1)," if dose.alpha_gy is not None else ""
    raised = raised_share(dose)
    noise = f", noise below 0 set to 0: +{100 * raised:.2g} %" if raised > RAISED_SHARE else ""
    return f"{nuclide}{alpha} {engine.name} {engine.version}, dicomnode {__version__}{noise}"
