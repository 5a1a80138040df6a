"""Two people under one Patient ID, and a patient who lies otherwise in the SPECT than in its CT."""

from __future__ import annotations

import pytest

from dicomnode.cycle.patient import lies_as_its_ct, one_person, one_person_in, same_name
from dicomnode.model import Severity
from dicomnode.model.series import Role
from tests.cycle.test_gather import header, series

DOE = {"PatientName": "Doe^Jane", "PatientBirthDate": "19500102", "PatientSex": "F", "IssuerOfPatientID": "A"}


def scan(uid: str, **facts: str):
    return series(uid, Role.EMISSION, 4, f"5.{uid}", facts=DOE | facts, series_description="SPECT")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientName", "Roe^Jane"),
        ("PatientBirthDate", "19500201"),
        ("PatientSex", "M"),
        ("IssuerOfPatientID", "B"),
    ],
)
def test_another_person_under_one_patient_id_holds(keyword, value) -> None:
    (finding,) = one_person([("T1", scan("1")), ("T2", scan("2")), ("T3", scan("3", **{keyword: value}))])
    assert finding.severity is Severity.HOLD
    assert finding.sentence.startswith("T1 (SPECT) and T3 (SPECT): the patient's ")
    assert keyword in finding.sentence
    assert value not in finding.sentence  # a finding leaves the node, identity does not
    mixed = [header("1", Role.EMISSION, 4, "5", facts=DOE | extra) for extra in ({}, {keyword: value})]
    assert [f.severity for f in one_person_in(mixed)] == [Severity.HOLD]


@pytest.mark.parametrize("name", ["DOE^JANE", "Doe ^ Jane^^", "Doe^Jane^Mary", "D\u00f6e^Jane=\u6771"])
def test_one_persons_name_in_another_spelling_is_one_person(name) -> None:
    assert same_name("Doe^Jane", name)
    assert one_person([("T1", scan("1")), ("T2", scan("2", PatientName=name)), ("T2", scan("3"))]) == ()


def test_what_one_series_leaves_out_contradicts_nothing() -> None:
    blank = dict.fromkeys(DOE, "")
    assert one_person([("T1", scan("1")), ("T2", scan("2", **blank))]) == ()


def test_a_spect_whose_patient_lies_otherwise_than_in_its_ct_holds() -> None:
    emission = scan("1", PatientPosition="FFS")
    (finding,) = lies_as_its_ct("T2", emission, scan("2", PatientPosition="HFS"))
    assert finding.severity is Severity.HOLD
    assert "T2: " in finding.sentence
    assert "FFS by" in finding.sentence
    assert "HFS by PatientPosition" in finding.sentence
    assert lies_as_its_ct("T2", emission, scan("2", PatientPosition="FFS")) == ()
    assert lies_as_its_ct("T2", emission, scan("2")) == ()
