"""For every pair of places of every fact: a disagreement holds or is refused, an agreement says nothing.

Each fact has one function that states it at the places named, in version 0 or 1, in an otherwise good object
and reads that with the product's own reader. A fact or a place without one fails the test.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from dicomnode.cycle import patient, photopeaks
from dicomnode.dicom.header import instants, orientation, radiopharmaceutical
from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.header.times import Clock
from dicomnode.dicom.volumes import decay, nm, read_ct, read_emission, rtdose, scale, stack
from dicomnode.dicom.write.rtdose import write_rtdose
from dicomnode.errors import Refused
from dicomnode.files import dicom_folder, nifti, volumes
from dicomnode.model import ActivityMap, DoseMap, EnergyBalance, Finding, Grid, Severity
from dicomnode.model.statements import Fact
from tests.cycle.test_patient import scan
from tests.dicom.volumes.test_rtdose_reader import IDENTITY, PATIENT, changed
from tools.make_facts_page import facts

HERE = Path(__file__).resolve().parents[2]
FACTS: dict[str, Fact[Any]] = {fact.rule: fact for _, fact in facts()}
PAIRS = [(rule, *pair) for rule, fact in FACTS.items() for pair in combinations(fact.places, 2)]
Said = Mapping[str, int]
STATE: dict[str, Callable[..., Iterable[Finding]]] = {}


def states(*rules: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The function states these facts."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        STATE.update(dict.fromkeys(rules, function))
        return function

    return register


class Bench:
    """What the functions build with."""

    def __init__(self, request: pytest.FixtureRequest, rule: str) -> None:
        self.rule, self.fact = rule, FACTS[rule]
        for name in ("sq", "save", "make_nm", "make_pt", "make_ct", "zone", "tmp_path"):
            setattr(self, name, request.getfixturevalue(name))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def day(number: int) -> str:
    return f"202403{10 + number:02d}"


@states("acquisition-times-differ")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    values: dict[str, Any] = {}
    for place, version in said.items():
        if place == instants._DATE_TIME:
            values["AcquisitionDateTime"] = f"{day(version)}101500"
        elif place == instants._FRAMES:
            content = b.sq(FrameAcquisitionDateTime=f"{day(version)}101500")
            values["PerFrameFunctionalGroupsSequence"] = [b.sq(FrameContentSequence=[content])]
        else:
            values |= {"AcquisitionDate": day(version), "AcquisitionTime": "101500"}
    return instants.acquired_at(Attributes(b.sq(**values)), Clock(b.zone)).findings


@states("acquisition-after-series", "acquisition-after-content", "acquisition-before-study")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    kind = b.rule.rpartition("-")[2].capitalize()
    moved = {"Study": 2}.get(kind, -2) * said[b.fact.places[1]]
    values = {
        "AcquisitionDate": day(0),
        "AcquisitionTime": "101500",
        f"{kind}Date": f"202403{10 + moved:02d}",
    }
    obj = Attributes(b.sq(**values, **{f"{kind}Time": "101500"}))
    return instants.acquired_at(obj, Clock(b.zone)).findings


@states("scale-contradicts")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    def mapping(version: int) -> tuple[Attributes, ...]:
        unit = b.sq(CodeValue=("Bq/ml", "kBq/ml")[version], CodingSchemeDesignator="UCUM", CodeMeaning="x")
        item = b.sq(MeasurementUnitsCodeSequence=[unit], RealWorldValueSlope=2.0, RealWorldValueIntercept=0.0)
        item.add_new(0x00409216, "US", 0)
        item.add_new(0x00409211, "US", 100)
        return (Attributes(item),)

    mappings = {place: mapping(version) for place, version in said.items() if place != scale.UNITS}
    factor = {0: 2.0, 1: 4.0}.get(said.get(scale.UNITS, -1))
    obj = Attributes(b.sq(RescaleSlope=factor or 1.0))
    stored = np.array([[0, 100]])
    return scale.scaling_of(obj, mappings, obj, "BQML" if factor else "", stored).findings


@states("slice-distance-contradicts", "acquisition-arc-contradicts", "position-contradicts")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    ds = b.make_nm(np.ones((3, 4, 4)), PixelSpacing=[4.0, 4.0])
    if b.rule.startswith("slice"):
        mm = {place: (4.0, 8.0)[version] for place, version in said.items()}
        ds.SpacingBetweenSlices = mm.get(nm.SPACING)
        ds.SliceThickness = mm.get(nm.THICKNESS)
        ds.PixelSpacing = [mm[nm.PIXELS]] * 2 if nm.PIXELS in mm else [4.0, 3.0]
    elif b.rule.startswith("acquisition"):
        views, arc = (60, 30)[said[nm.VIEWS]], (360, 180)[said[nm.ARC]]
        turn = b.sq(ActualFrameDuration=20000, AngularStep=6, NumberOfFramesInRotation=views, ScanArc=arc)
        ds.RotationInformationSequence = [turn]
    else:
        ds.ImagePositionPatient = [-10, -20, (30, 34)[said[nm.OTHER_PLACE]]]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    return read_emission([b.save(ds)], b.zone).findings


@states("plane-distance-contradicts")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    mm = (4.0, 2.0)[said[stack.BY_SPACING]]
    slices = [b.save(b.make_ct([0, 0, z], SpacingBetweenSlices=mm)) for z in (0, 4, 8)]
    pet = [b.save(b.make_pt(z, SpacingBetweenSlices=mm)) for z in (0, 4, 8)]
    of_ct, of_pet = read_ct(slices)[1], read_emission(pet, b.zone).findings
    assert {f.rule for f in of_ct} == {f.rule for f in of_pet}
    return of_pet


@states("decay-correction-contradicts")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    listed = (["DECY", "ATTN", "SCAT"], ["ATTN", "SCAT"])[said[decay.CORRECTED]]
    word = ("START", "NONE")[said[decay.CORRECTION]]
    pet = [b.save(b.make_pt(z, DecayCorrection=word, CorrectedImage=listed)) for z in (0, 4, 8)]
    return read_emission(pet, b.zone).findings


@states("mixed-nuclides")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    codes = {p: ("447553000", "14691008")[v] for p, v in said.items()}
    names = {p: ("177Lu-DOTATATE", "90Y-DOTATATE")[v] for p, v in said.items()}
    code = b.sq(
        CodeValue=codes.get(radiopharmaceutical.BY_CODE, "X"), CodingSchemeDesignator="SCT",
        CodeMeaning=names.get(radiopharmaceutical.BY_MEANING, "-"),
    )  # fmt: skip
    agent = b.sq(CodeValue="X", CodeMeaning=names.get(radiopharmaceutical.BY_AGENT, "-"))
    item = b.sq(
        RadionuclideCodeSequence=[code], RadiopharmaceuticalCodeSequence=[agent],
        Radiopharmaceutical=names.get(radiopharmaceutical.BY_NAME, "-"),
    )  # fmt: skip
    return radiopharmaceutical.read_nuclide((Attributes(item),), "1.2")[1]


@states("patient-position-contradicts")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    way = ("102540008", "102541007")[said[orientation._CODES]]
    lies = b.sq(PatientOrientationModifierCodeSequence=[b.sq(CodeValue="40199007", CodeMeaning="supine")])
    obj = b.sq(
        PatientPosition=("HFS", "FFS")[said[orientation._TEXT]], PatientOrientationCodeSequence=[lies],
        PatientGantryRelationshipCodeSequence=[b.sq(CodeValue=way, CodeMeaning="x")],
    )  # fmt: skip
    return orientation.stated_position(Attributes(obj)).findings


@states(*(fact.rule for fact in patient.PATIENT.values()))
def _(b: Bench, said: Said) -> Iterable[Finding]:
    keyword = next(k for k, fact in patient.PATIENT.items() if fact.rule == b.rule)
    two = [("T1", scan("1", **{keyword: "A"})), ("T2", scan("2", **{keyword: "AB"[max(said.values())]}))]
    return patient.one_person(two)


@states("patient-orientation-differs")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    one, two = (scan(str(n), PatientPosition=("HFS", "FFS")[said[p]]) for n, p in enumerate(b.fact.places))
    return patient.lies_as_its_ct("T1", one, two)


@states("energy-windows-contradict")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    """208 keV of 177Lu in 187 to 229 keV; neither it nor 113 keV in 328 to 400 keV, the window of 131I."""
    name, windows = ("Lu-177", "I-131")[said[b.fact.places[0]]], ("187.2-228.8", "328-400")
    of_both = replace(scan("1", EnergyWindows=windows[said[b.fact.places[1]]]), nuclide=name)
    return photopeaks.photopeak_is_seen("T1", of_both)


@states("dose-plane-contradicts", "dose-type-contradicts", "dose-summation-contradicts")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    grid = Grid((3, 4, 5), (2.0, 3.0, 4.0), (10.0, -20.0, 30.0))
    zero = np.zeros(grid.shape_zyx)
    one, other = b.tmp_path / "one.dcm", b.tmp_path / "other.dcm"
    for path in (one, other):
        path.write_bytes(write_rtdose(DoseMap(grid, zero, zero, EnergyBalance(1, 1, 0)), PATIENT, IDENTITY))
    if b.rule.startswith("dose-plane"):
        first = (30.0, 10.0)[said[rtdose.FIRST_OFFSET]]
        changed(one, GridFrameOffsetVector=[first, first + 4, first + 8])
        if said[rtdose.POSITION_Z]:
            changed(one, ImagePositionPatient=[10.0, -20.0, 50.0])
        rtdose.read_rtdose(one)
        return ()
    keyword = "DoseType" if b.rule.startswith("dose-type") else "DoseSummationType"
    values = {"DoseType": ("PHYSICAL", "EFFECTIVE"), "DoseSummationType": ("PLAN", "BEAM")}[keyword]
    for path, place in zip((one, other), b.fact.places, strict=True):
        changed(path, **{keyword: values[said[place]]})
    rtdose.refuse_other_kind(rtdose.kind_of_dose(one), rtdose.kind_of_dose(other))
    return ()


@states("file-unit-contradicts", "file-place-contradicts")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    array = np.ones((3, 4, 5), np.float32)
    if b.rule.startswith("file-unit"):
        image = sitk.GetImageFromArray(array)
        image.SetMetaData("unit", ("Bq/mL", "MBq s/mL")[said[volumes.FIELD]])
        image.SetMetaData("ITK_FileNotes", ("Bq/mL", "MBq s/mL")[said[volumes.DESCRIP]])
        sitk.WriteImage(image, str(b.tmp_path / "a.nrrd"))
        volumes.read_activity(b.tmp_path / "a.nrrd")
        return ()
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.set_sform(np.diag([1, 1, (1, 2)[said[nifti.SFORM]], 1]), code=1)
    image.set_qform(np.diag([1, 1, (1, 2)[said[nifti.QFORM]], 1]), code=1)
    nibabel.save(image, b.tmp_path / "a.nii")
    volumes.read_activity(b.tmp_path / "a.nii", lambda *_: True)
    return ()


@states("hours-contradict")
def _(b: Bench, said: Said) -> Iterable[Finding]:
    at = datetime(2026, 3, 3, 9, tzinfo=UTC)
    activity = ActivityMap(Grid((2, 2, 2), (4.0, 4.0, 4.0)), np.ones((2, 2, 2), np.float32))
    by_header = dicom_folder.Scan(activity, at, at - timedelta(hours=(24, 48)[said[dicom_folder.BY_HEADER]]))
    dicom_folder.hours_of(by_header, (24.0, 48.0)[said[dicom_folder.BY_OPTION]], b.tmp_path)
    return ()


def stopped(bench: Bench, said: Said) -> list[str]:
    """Sentences with which the fact holds or is refused."""
    try:
        found = STATE[bench.rule](bench, said)
    except Refused as refusal:
        return [str(refusal)]
    return [f.sentence for f in found if f.rule == bench.rule and f.severity is not Severity.NOTE]


@pytest.mark.parametrize(("rule", "one", "other"), PAIRS)
def test_two_places_that_differ_hold_or_are_refused(request, rule, one, other) -> None:
    bench = Bench(request, rule)
    assert stopped(bench, {one: 0, other: 1}) != []


SIGN_IS_MISSING = ("slice-distance-contradicts", nm.THICKNESS, nm.PIXELS)
"""Without SpacingBetweenSlices an NM volume is refused whatever else agrees: its direction is not stated."""


@pytest.mark.parametrize(("rule", "one", "other"), [pair for pair in PAIRS if pair != SIGN_IS_MISSING])
def test_two_places_that_agree_say_nothing(request, rule, one, other) -> None:
    assert stopped(Bench(request, rule), {one: 0, other: 0}) == []


def test_every_fact_is_stated_here_and_the_pairs_are_counted() -> None:
    assert set(STATE) == set(FACTS)
    assert len(PAIRS) == 35


def test_the_page_of_facts_is_that_of_the_code() -> None:
    """Regenerate with: python tools/make_facts_page.py > docs/facts.md"""
    made = subprocess.run(
        [sys.executable, "tools/make_facts_page.py"], cwd=HERE, capture_output=True, text=True, check=True
    )
    assert made.stdout == (HERE / "docs/facts.md").read_text(encoding="utf-8")
