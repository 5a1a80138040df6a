"""Organ doses as a DICOM structured report.

Which template: TID 1500 (Measurement Report) in a Comprehensive SR, and not the Patient Radiation Dose
SR (TID 10030, Supplement 191), although the latter was made for organ doses of radiopharmaceuticals.
Reasons: TID 1500 carries mean, D2/D50/D98, volume, mass, TIA, BED and the uncertainty of each as plain
measurements with UCUM units, and general readers (highdicom, dcmqi, OHIF, 3D Slicer) show them; no
reader of TID 10030 is known to us, it has no place for dose-volume figures, and many archives refuse
its SOP class. The concepts are those of PS3.16 CID 10061 ("Mean Absorbed Radiation Dose", DCM 128533),
so that a later TID 10030 writer would say the same. No 3-D coordinates occur, hence Comprehensive SR
(88.33), which old archives take, and not Comprehensive 3D SR (88.34).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicomnode.dicom.reference import PatientStudy, SourceImage
from dicomnode.dicom.uids import named_uid
from dicomnode.dicom.write.modules import (
    CODING_SCHEME,
    MANUFACTURER,
    MODEL,
    ObjectIdentity,
    code,
    encoded,
    put_as_is,
    put_patient_study,
)
from dicomnode.model import OrganDose, Severity, Verdict, each_once, line_of
from dicomnode.model.text import printable

COMPREHENSIVE_SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.33"

GY = Code("Gy", "UCUM", "gray")
ML = Code("mL", "UCUM", "milliliter")
GRAM = Code("g", "UCUM", "gram")
RATIO = Code("1", "UCUM", "no units")
MBQ_S = Code("MBq.s", "UCUM", "megabecquerel second")

MEAN_DOSE = Code("128533", "DCM", "Mean Absorbed Radiation Dose")
MAX_DOSE = Code("128531", "DCM", "Maximum Absorbed Radiation Dose")
MEDIAN_DOSE = Code("128539", "DCM", "Median Absorbed Radiation Dose")
VOLUME = Code("118565006", "SCT", "Volume")
MASS = Code("118538004", "SCT", "Mass")
D2 = Code("D2", CODING_SCHEME, "Near-maximum absorbed dose D2%")
D98 = Code("D98", CODING_SCHEME, "Near-minimum absorbed dose D98%")
TIA_IN_REGION = Code("TIA", CODING_SCHEME, "Time-integrated activity")
BED = Code("BED", CODING_SCHEME, "Biologically effective dose")
EQD2 = Code("EQD2", CODING_SCHEME, "Equivalent dose in 2 Gy fractions")
LOW = Code("DOSE-LOW", CODING_SCHEME, "Lower end of the interval (k=2) of the mean absorbed dose")
HIGH = Code("DOSE-HIGH", CODING_SCHEME, "Upper end of the interval (k=2) of the mean absorbed dose")
RECOVERY = Code("RECOVERY", CODING_SCHEME, "Recovery coefficient")
RECOVERED = Code("DOSE-RECOVERED", CODING_SCHEME, "Mean absorbed dose, partial-volume corrected (GTM, RBV)")

MEASURED: tuple[tuple[str, Code, Code], ...] = (
    ("mean_gy", MEAN_DOSE, GY),
    ("max_gy", MAX_DOSE, GY),
    ("d2_gy", D2, GY),
    ("d50_gy", MEDIAN_DOSE, GY),
    ("d98_gy", D98, GY),
    ("volume_ml", VOLUME, ML),
    ("mass_g", MASS, GRAM),
    ("tia_mbq_s", TIA_IN_REGION, MBQ_S),
    ("bed_gy", BED, GY),
    ("eqd2_gy", EQD2, GY),
    ("low_gy", LOW, GY),
    ("high_gy", HIGH, GY),
    ("recovery", RECOVERY, RATIO),
    ("recovered_gy", RECOVERED, GY),
)
"""Field of OrganDose, concept, unit: what is written of each region, and read back."""

SITES: Mapping[str, Code] = {
    "kidney": Code("64033007", "SCT", "Kidney"),
    "liver": Code("10200004", "SCT", "Liver"),
    "spleen": Code("78961009", "SCT", "Spleen"),
    "lung": Code("39607008", "SCT", "Lung"),
    "heart": Code("80891009", "SCT", "Heart"),
    "parotid": Code("45289007", "SCT", "Parotid gland"),
    "salivary": Code("385294005", "SCT", "Salivary gland"),
    "adrenal": Code("23451007", "SCT", "Adrenal gland"),
    "pituitary": Code("56329008", "SCT", "Pituitary"),
}
VERDICT = Code("VERDICT", CODING_SCHEME, "Outcome of the checks")
FINDING = Code("121071", "DCM", "Finding")
LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
LESION = Code("52988006", "SCT", "Lesion")


def write_organ_dose_sr(
    organs: Sequence[OrganDose],
    patient: PatientStudy,
    identity: ObjectIdentity,
    *,
    sources: Sequence[SourceImage],
    tia_sigma_mbq_s: Mapping[str, float] | None = None,
    supersedes: SourceImage | None = None,
    verdict: Verdict | None = None,
) -> bytes:
    """The doses of all regions as a DICOM file; the same arguments give the same bytes.

    Parameters
    ----------
    sources : evidence: the RT Dose, and the images; at least one
    tia_sigma_mbq_s : region -> standard uncertainty of its TIA
    supersedes : the report of the revision before
    verdict : what the checks found, as text beside the measurements
    """
    sigma = tia_sigma_mbq_s or {}
    groups = [_group(o, identity, sigma.get(o.region)) for o in organs]
    content = hd.sr.MeasurementReport(
        observation_context=_observer(identity),
        procedure_reported=Code("ORGANDOSE", CODING_SCHEME, "Dosimetry of radionuclide therapy"),
        imaging_measurements=groups,
        title=Code("126000", "DCM", "Imaging Measurement Report"),
    )
    ds = hd.sr.ComprehensiveSR(
        evidence=[_stub(s, patient) for s in sources],
        content=content,
        series_instance_uid=identity.series_uid,
        series_number=identity.series_number,
        sop_instance_uid=identity.sop_instance_uid,
        instance_number=identity.instance_number,
        manufacturer=MANUFACTURER,
        is_complete=True,
        previous_versions=[_stub(supersedes, patient)] if supersedes else None,
        specific_character_set="ISO_IR 192",
    )
    if verdict is not None:
        ds.ContentSequence = [*ds.ContentSequence, *_texts(verdict)]
    return encoded(_settled(ds, patient, identity))


def _texts(verdict: Verdict) -> list[Dataset]:
    """The verdict and its findings, the gravest first, each sentence once. TID 1500 is extensible."""
    order = (Severity.HOLD, Severity.WARNING, Severity.NOTE)
    findings = each_once(sorted(verdict.findings, key=lambda f: order.index(f.severity)))
    lines = [f"{f.severity.value.upper()}: {line_of(f.sentence, n)}" for f, n in findings]
    return [_text(VERDICT, verdict.words), *(_text(FINDING, line) for line in lines)]


def _text(concept: Code, text: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = [code(concept.value, concept.scheme_designator, concept.meaning)]
    item.TextValue = text
    return item


def read_findings(ds: Dataset) -> list[str]:
    """The verdict and the findings of a report written here."""
    named = {VERDICT.value, FINDING.value}
    return [
        str(item.TextValue)
        for item in ds.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue in named
    ]


def read_organ_doses(ds: Dataset) -> dict[str, dict[str, float]]:
    """Region -> field of ``OrganDose`` (and ``sigma_gy``) -> value, from a report written here."""
    field_of = {(c.value, c.scheme_designator): name for name, c, _ in MEASURED}
    report = hd.sr.MeasurementReport.from_sequence([ds])
    found: dict[str, dict[str, float]] = {}
    for group in report.get_image_measurement_groups():
        values: dict[str, float] = {}
        for measurement in group.get_measurements():
            name = field_of[(measurement.name.value, measurement.name.scheme_designator)]
            values[name] = float(measurement.value)
            if name == "mean_gy":
                values["sigma_gy"] = _stated_sigma(measurement)
        found[str(group.tracking_identifier)] = values
    return found


def _stated_sigma(measurement: Any) -> float:
    for item in measurement[0].ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeValue == UPPER:
            return float(item.MeasuredValueSequence[0].NumericValue)
    return 0.0


UPPER = "371886008"
"""SCT "+, range of upper measurement uncertainty" (PS3.16 TID 310)."""


def _group(organ: OrganDose, identity: ObjectIdentity, tia_sigma: float | None) -> Any:
    """One TID 1501 measurement group; the region's name identifies it, whatever its language."""
    uncertainty = {
        "mean_gy": organ.sigma_gy,
        "tia_mbq_s": tia_sigma,
        "recovered_gy": organ.recovered_sigma_gy,
    }
    measurements = [
        _measurement(concept, float(value), unit, uncertainty.get(name))
        for name, concept, unit in MEASURED
        if (value := getattr(organ, name)) is not None
    ]
    site, finding = finding_site(organ.region)
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=named_uid("region", identity.sop_instance_uid, organ.region),
            identifier=printable(organ.region),
        ),
        finding_type=finding,
        finding_sites=[site] if site is not None else None,
        measurements=measurements,
    )


def _measurement(concept: Code, value: float, unit: Code, sigma: float | None) -> Any:
    properties = None
    if sigma is not None:
        properties = hd.sr.MeasurementProperties(
            upper_measurement_uncertainty=_seven(sigma), lower_measurement_uncertainty=_seven(sigma)
        )
    measurement = hd.sr.Measurement(name=concept, value=_seven(value), unit=unit, properties=properties)
    for item in measurement[0].get("ContentSequence", []):
        # highdicom writes uncertainties as pure numbers, which would read as relative: they are absolute
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [
            code(unit.value, unit.scheme_designator, unit.meaning)
        ]
    return measurement


def _seven(value: float) -> float:
    """Seven digits are float32's; more would only fill the 16 characters of a decimal string."""
    return float(f"{value:.7g}")


def finding_site(region: str) -> tuple[Any, Code | None]:
    """Coded site and finding of a region by the words in its name; None where the name says neither."""
    words = region.casefold().replace("_", " ").replace("-", " ")
    finding = LESION if any(w in words for w in ("lesion", "tumor", "tumour", "metast")) else None
    site = next((c for word, c in SITES.items() if word in words), None)
    if site is None or finding is not None:
        return None, finding
    side = LEFT if "left" in words else RIGHT if "right" in words else None
    return hd.sr.FindingSite(anatomic_location=site, laterality=side), None


def _observer(identity: ObjectIdentity) -> Any:
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=named_uid("observer"), name=MODEL, manufacturer_name=MANUFACTURER, model_name=MODEL
    )
    context = hd.sr.ObserverContext(
        observer_type=Code("121007", "DCM", "Device"), observer_identifying_attributes=device
    )
    return hd.sr.ObservationContext(observer_device_context=context)


def _stub(source: SourceImage, patient: PatientStudy) -> Dataset:
    """What highdicom wants of an evidence object."""
    ds = Dataset()
    put_patient_study(ds, patient)
    put_as_is(ds, "SOPClassUID", source.sop_class_uid)
    put_as_is(ds, "SOPInstanceUID", source.sop_instance_uid)
    put_as_is(ds, "SeriesInstanceUID", source.series_uid)
    put_as_is(ds, "StudyInstanceUID", source.study_uid)
    return ds


def _settled(ds: Dataset, patient: PatientStudy, identity: ObjectIdentity) -> Dataset:
    """Replace what highdicom takes from the clock, and put back what it copied from the evidence."""
    put_patient_study(ds, patient)
    ds.SeriesDescription = identity.description[:64]
    ds.ManufacturerModelName = MODEL
    for keyword in ("ContentDate", "SeriesDate", "InstanceCreationDate"):
        setattr(ds, keyword, identity.date)
    for keyword in ("ContentTime", "SeriesTime", "InstanceCreationTime"):
        setattr(ds, keyword, identity.time)
    for item in ds.get("ContributingEquipmentSequence", []):
        item.ContributionDateTime = identity.date + identity.time
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in ds.get(keyword, []):
            _put_in_order(study)
    return ds


def _put_in_order(study: Dataset) -> None:
    """Evidence by series and instance: highdicom collects it in sets, whose order varies by process."""
    series = sorted(study.ReferencedSeriesSequence, key=lambda s: str(s.SeriesInstanceUID))
    for item in series:
        item.ReferencedSOPSequence = sorted(
            item.ReferencedSOPSequence, key=lambda r: str(r.ReferencedSOPInstanceUID)
        )
    study.ReferencedSeriesSequence = series
