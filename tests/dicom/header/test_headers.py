"""Nuclide names, administered activity, roles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnode.dicom.header.administration import read_administrations
from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.header.headers import read_header
from dicomnode.dicom.header.radionuclide import nuclides_of_text
from dicomnode.dicom.header.radiopharmaceutical import administered_mbq, read_nuclide
from dicomnode.errors import Inconsistent, MissingAttribute, Refused
from dicomnode.model import Severity
from dicomnode.model.series import Role
from dicomnode.physics.nuclide_names import nuclide_of_code

NM, PET = "1.2.840.10008.5.1.4.1.1.20", "1.2.840.10008.5.1.4.1.1.128"
Build = Callable[..., Dataset]
Save = Callable[[Dataset], Path]


@pytest.mark.parametrize(
    ("text", "nuclide"),
    [
        ("177 Lutetium", "Lu-177"),
        ("^177^Lutetium", "Lu-177"),
        ("Yodo 131", "I-131"),
        ("99m Technetium", "Tc-99m"),
        ("^99m^Technetium", "Tc-99m"),
        ("F^18^[^18^Fluorine]", "F-18"),
        ("18F", "F-18"),
        ("Lu177", "Lu-177"),
        ("[177Lu]Lu-PSMA-617", "Lu-177"),
        ("177Lu-DOTATATE", "Lu-177"),
        ("I-131 MIBG", "I-131"),
        ("99mTc", "Tc-99m"),
        ("TC99M", "Tc-99m"),
        ("Yttrium-90 SIR-Spheres", "Y-90"),
        ("Y90", "Y-90"),
        ("Ac-225", "Ac-225"),
        ("Fluorodeoxyglucose F^18^", "F-18"),
        ("Jod 131", "I-131"),
        ("Terbium-161", "Tb-161"),
        ("^177m^Lutetium", "Lu-177m"),
    ],
)
def test_a_nuclide_is_known_by_its_many_names(text: str, nuclide: str) -> None:
    assert nuclides_of_text(text) == (nuclide,)


@pytest.mark.parametrize("text", ["", "In 24 h", "PSMA-617", "DOTATATE", "FDG", "Lu", "177"])
def test_what_names_no_nuclide_gives_none(text: str) -> None:
    assert nuclides_of_text(text) == ()


def test_codes_of_cid_18_are_known_and_foreign_schemes_are_not() -> None:
    assert nuclide_of_code("C-114B1", "99SDM") == "I-131"
    assert nuclide_of_code("447553000", "SCT") == "Lu-177"
    assert nuclide_of_code("447553000", "99LOCAL") == ""


def test_a_code_that_contradicts_its_meaning_holds(sq: Build) -> None:
    code = sq(CodeValue="C-162A7", CodingSchemeDesignator="SRT", CodeMeaning="^177^Lutetium")
    nuclide, (finding,) = read_nuclide((Attributes(sq(RadionuclideCodeSequence=[code])),), "1.2")
    assert (nuclide, finding.severity) == ("", Severity.HOLD)
    assert "Y-90 by the code value" in finding.sentence
    assert "Lu-177 by its code meaning; neither is used" in finding.sentence


@pytest.mark.parametrize(
    ("stated", "sop_class", "mbq", "held"),
    [
        (7.4e9, PET, 7400.0, False),
        (7400.0, NM, 7400.0, False),
        (7400.0, PET, 7400.0, True),
        (7.4e9, NM, 7400.0, True),
        (0.0, NM, None, False),
        (None, PET, None, False),
        (1e15, NM, None, True),
        (370.0, NM, 370.0, False),
    ],
)
def test_administered_activity_is_read_in_the_unit_of_its_class_and_checked(
    stated: float | None, sop_class: str, mbq: float | None, held: bool
) -> None:
    activity, findings = administered_mbq(stated, sop_class, "1.2")
    assert activity == (pytest.approx(mbq) if mbq is not None else None)
    assert [f.severity for f in findings] == ([Severity.HOLD] if held else [])


def test_a_time_of_day_without_a_date_is_never_completed(make_pt: Build, save: Save, zone: ZoneInfo) -> None:
    ds = make_pt(0.0)
    item = ds.RadiopharmaceuticalInformationSequence[0]
    del item.RadiopharmaceuticalStartDateTime
    item.RadiopharmaceuticalStartTime = "091500"
    header = read_header(save(ds), zone)
    assert header.administered_at is None
    assert [f.rule for f in header.findings] == ["administration-without-date"]
    assert "dicomnode administer" in header.findings[0].sentence


def test_header_times_are_read_in_the_objects_own_offset(make_pt: Build, save: Save, zone: ZoneInfo) -> None:
    header = read_header(save(make_pt(0.0, TimezoneOffsetFromUTC="-0500")), zone)
    assert header.acquired_at == datetime(2024, 3, 10, 15, 15, tzinfo=UTC)
    assert header.administered_at == datetime(2024, 3, 10, 14, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("image_type", "role", "because"),
    [
        (["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"], Role.EMISSION, ""),
        (["DERIVED", "SECONDARY", "RECON_TOMO", "EMISSION"], Role.EMISSION, ""),
        (["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"], Role.PROJECTIONS, "reconstruct first"),
        (["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"], Role.UNUSED, "gated reconstruction"),
        (["ORIGINAL", "PRIMARY", "RECON TOMO", "TRANSMISSION"], Role.UNUSED, "transmission"),
        (["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"], Role.UNUSED, "planar whole-body"),
        (["ORIGINAL"], Role.UNUSED, "not that of a reconstruction"),
    ],
)
def test_the_role_of_an_nm_image_follows_its_type(
    make_nm: Build, save: Save, zone: ZoneInfo, image_type: list[str], role: Role, because: str
) -> None:
    header = read_header(save(make_nm(np.zeros((2, 3, 4)), ImageType=image_type)), zone)
    assert header.role is role
    assert because in header.unused_because


def test_pet_without_attenuation_correction_and_localisers_are_unused(
    make_pt: Build, make_ct: Build, save: Save, zone: ZoneInfo
) -> None:
    pet = read_header(save(make_pt(0.0, CorrectedImage=["DECY"])), zone)
    assert (pet.role, "not corrected for attenuation" in pet.unused_because) == (Role.UNUSED, True)
    scout = read_header(save(make_ct((0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])), zone)
    assert (scout.role, scout.unused_because) == (Role.UNUSED, "a localiser is no slice of the volume")


def nested(depth: int) -> Dataset:
    ds = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = Sequence([ds])
        ds = outer
    return ds


def test_what_is_no_dicom_or_nests_too_deeply_is_refused(tmp_path: Path, zone: ZoneInfo) -> None:
    empty, text = tmp_path / "empty", tmp_path / "text"
    empty.write_bytes(b"")
    text.write_bytes(b"GET / HTTP/1.1\r\n\r\n" * 40)
    for path in (empty, text):
        with pytest.raises(Refused, match="cannot be parsed as DICOM"):
            read_header(path, zone)
    meta = (
        b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0\x1a\0\0\0\x02\0\x10\0UI\x12\x001.2.840.10008.1.2\0"
    )  # implicit VR: 3000 open sequences and items of undefined length, never closed
    bomb = tmp_path / "bomb"
    bomb.write_bytes(meta + b"\x40\0\x30\xa7\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 3000)
    with pytest.raises(Refused, match=r"nested too deeply|cannot be parsed"):
        read_header(bomb, zone)


def concept(sq: Build, value: str, scheme: str = "DCM") -> Dataset:
    return sq(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning="x")


def report(sq: Build, unit: str = "GBq", **numbers: float) -> Dataset:
    """A Radiopharmaceutical Radiation Dose SR with one administration of lutetium."""
    content = [
        sq(ValueType="DATETIME", ConceptNameCodeSequence=[concept(sq, "123003")], DateTime="20240310091500"),
        sq(
            ValueType="CODE",
            ConceptNameCodeSequence=[concept(sq, "349358000", "SCT")],
            ConceptCodeSequence=[
                sq(CodeValue="1", CodingSchemeDesignator="L", CodeMeaning="Lu-177 DOTATATE")
            ],
        ),
    ]
    for code, value in numbers.items():
        units = [sq(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)]
        measured = sq(NumericValue=value, MeasurementUnitsCodeSequence=units)
        content.append(
            sq(
                ValueType="NUM",
                ConceptNameCodeSequence=[concept(sq, code.removeprefix("c"))],
                MeasuredValueSequence=[measured],
            )
        )
    event = sq(ConceptNameCodeSequence=[concept(sq, "113502")], ContentSequence=content)
    return sq(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.68",
        SOPInstanceUID="1.2.77",
        SeriesInstanceUID="1.2.7",
        StudyInstanceUID="1.2",
        Modality="SR",
        PatientID="T",
        ContentSequence=[event],
    )


def test_a_dose_report_in_gbq_gives_the_administration(sq: Build, save: Save, zone: ZoneInfo) -> None:
    path = save(report(sq, c113507=7.4, c113509=0.05))
    (given,), findings = read_administrations(path, zone)
    assert (given.nuclide, given.activity_mbq, given.residual_mbq) == ("Lu-177", 7400.0, 50.0)
    assert (given.at, given.source) == (datetime(2024, 3, 10, 8, 15, tzinfo=UTC), "1.2.77")
    assert findings == ()
    header = read_header(path, zone)
    assert (header.role, header.administered_mbq) == (Role.ADMINISTRATION, 7400.0)


def test_a_syringe_measured_twice_gives_the_difference_with_a_warning(
    sq: Build, save: Save, zone: ZoneInfo
) -> None:
    (given,), (finding,) = read_administrations(save(report(sq, c113508=7.4, c113509=0.1)), zone)
    assert given.activity_mbq == pytest.approx(7300.0)
    assert (finding.rule, finding.severity) == ("activity-from-syringe", Severity.WARNING)


def test_a_report_without_activity_or_in_a_strange_unit_is_refused(
    sq: Build, save: Save, zone: ZoneInfo
) -> None:
    with pytest.raises(MissingAttribute, match="does not state one activity"):
        read_administrations(save(report(sq)), zone)
    with pytest.raises(Refused, match="unknown unit"):
        read_administrations(save(report(sq, unit="mL", c113507=7.4)), zone)


def test_a_report_that_states_two_activities_of_one_administration_is_refused(
    sq: Build, save: Save, zone: ZoneInfo
) -> None:
    ds, other = report(sq, c113507=7.4), report(sq, c113507=3.7)
    ds.ContentSequence[0].ContentSequence.append(other.ContentSequence[0].ContentSequence[-1])
    with pytest.raises(Inconsistent, match=r"two values of an activity .* \(7400 MBq and 3700 MBq\)"):
        read_administrations(save(ds), zone)


def test_the_siemens_dose_report_gives_394_mbq(shared: Path, zone: ZoneInfo) -> None:
    path = shared / "real/rt_objects/openrem/NM-RRDSR-Siemens.dcm"
    (given,), _ = read_administrations(path, zone)
    assert (given.nuclide, given.activity_mbq) == ("F-18", 394.0)
    assert given.at == datetime(2022, 2, 24, 9, 40, 30, tzinfo=UTC)
    assert given.radiopharmaceutical == "Fluorodeoxyglucose F^18^"


def test_unreadable_values_count_as_absent_and_are_named(make_nm: Build, save: Save, zone: ZoneInfo) -> None:
    path = save(make_nm(np.zeros((2, 3, 4)), SeriesDescription="x" * 8))
    blob = path.read_bytes()
    at = blob.index(b"\x28\x00\x08\x00IS")  # NumberOfFrames
    path.write_bytes(blob[: at + 8] + b"?!" + blob[at + 10 :])
    header: Any = read_header(path, zone)
    assert header.frames == 1
    assert "NumberOfFrames" in header.findings[-1].sentence
