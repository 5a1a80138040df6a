"""Objects that contradict themselves as those of the field do, with the values that a sentence names."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.header.headers import read_header
from dicomnode.dicom.header.radiopharmaceutical import read_nuclide
from dicomnode.dicom.volumes import read_emission
from dicomnode.dicom.write.nm_modules import put_isotope
from dicomnode.dicom.write.scan_modules import radiopharmaceutical
from dicomnode.model import Administration, Severity
from dicomnode.model.series import Role
from dicomnode.physics.nuclide_names import KNOWN
from dicomnode.physics.nuclides import nuclide

STORED = np.full((3, 4, 4), 100)


def told(volume) -> dict[str, tuple[Severity, str]]:
    return {f.rule: (f.severity, f.sentence) for f in volume.findings}


@pytest.mark.parametrize(("between", "said"), [(2.0, "2 mm"), (8.0, "8 mm"), (1.0, "1 mm")])
def test_slices_of_4_mm_that_are_stated_2_8_or_1_mm_apart_hold(make_nm, save, zone, between, said) -> None:
    ds = make_nm(STORED, spacing=between, PixelSpacing=[4.0, 4.0], SliceThickness=4.0)
    severity, sentence = told(read_emission([save(ds)], zone))["slice-distance-contradicts"]
    assert severity is Severity.HOLD
    assert f"{said} by SpacingBetweenSlices (0018,0088) and 4 mm by SliceThickness" in sentence


def test_a_date_and_time_one_day_off_holds(make_nm, save, zone) -> None:
    """The curve began 24 h late: kidneys -31 %."""
    ds = make_nm(STORED, AcquisitionDateTime="20240309101500")
    severity, sentence = told(read_emission([save(ds)], zone))["acquisition-times-differ"]
    assert severity is Severity.HOLD
    assert "2024-03-09 10:15:00 by AcquisitionDateTime" in sentence
    assert "2024-03-10 10:15:00 by AcquisitionDate and AcquisitionTime" in sentence
    header = read_header(save(ds), zone)
    assert "acquisition-times-differ" in {f.rule for f in header.findings}


def mapping(sq, code: str, slope: float):
    unit = sq(CodeValue=code, CodingSchemeDesignator="UCUM", CodeMeaning=code)
    item = sq(MeasurementUnitsCodeSequence=[unit], RealWorldValueSlope=slope, RealWorldValueIntercept=0.0)
    item.add_new(0x00409216, "US", 0)
    item.add_new(0x00409211, "US", 65535)
    return item


def test_a_mapping_of_the_first_slice_in_every_slice_holds(make_pt, save, sq, zone) -> None:
    """100 stored: the mapping says 1000 Bq/mL in every slice, Rescale Slope 1000, 2000 and 3000."""
    rows = [mapping(sq, "Bq/ml", 10.0)]
    slices = [
        save(make_pt(4.0 * k, slope=10.0 * (k + 1), RealWorldValueMappingSequence=rows)) for k in range(3)
    ]
    severity, sentence = told(read_emission(slices, zone))["scale-contradicts"]
    assert severity is Severity.HOLD
    assert "1000 Bq/mL at the largest stored value by RealWorldValueMappingSequence" in sentence
    assert "2000 Bq/mL at the largest stored value by Units" in sentence
    assert sentence.endswith("(so 2 objects say)")


def test_a_mapping_in_kbq_beside_units_in_bq_holds(make_nm, save, sq, zone) -> None:
    """A factor of 500: 100 stored are 100 kBq/mL by the one and 200 Bq/mL by the other."""
    rows = [mapping(sq, "kBq/ml", 1.0)]
    ds = make_nm(STORED, RealWorldValueMappingSequence=rows, Units="BQML", RescaleSlope=2, RescaleIntercept=0)
    severity, sentence = told(read_emission([save(ds)], zone))["scale-contradicts"]
    assert severity is Severity.HOLD
    assert "1e+05 Bq/mL" in sentence
    assert "200 Bq/mL" in sentence
    ds = make_nm(STORED, RealWorldValueMappingSequence=rows, Units="BQML", RescaleSlope=1000)
    assert "scale-contradicts" not in told(read_emission([save(ds)], zone))


@pytest.mark.parametrize(
    ("views", "heads", "frame_ms", "rule"),
    [
        (30, 1, 15000, "acquisition-arc-contradicts"),  # 30 views of 6 degrees are 180, not 360
        (30, 2, 15000, ""),  # of two heads they are
        (60, 1, 15000, ""),
        (60, 1, 15, "acquisition-duration"),  # 15 ms a view: 0.9 s for the whole SPECT
    ],
)
def test_views_and_durations_that_make_no_scan_hold_counts(
    make_nm, save, sq, zone, views, heads, frame_ms, rule
) -> None:
    turn = sq(ActualFrameDuration=frame_ms, NumberOfFramesInRotation=views, AngularStep=6.0, ScanArc=360.0)
    ds = make_nm(STORED, RotationInformationSequence=[turn], NumberOfDetectors=heads)
    found = {r: s for r, (s, _) in told(read_emission([save(ds)], zone)).items() if r.startswith("acq")}
    assert found == ({rule: Severity.HOLD} if rule else {})


def test_beds_that_pass_midnight_under_one_date_hold(make_pt, save, zone) -> None:
    """23:50 and 00:10 of one date are up to 23.8 h apart, which no scan is."""
    times = {0.0: "235000", 4.0: "000000", 8.0: "001000"}
    paths = [save(make_pt(z, AcquisitionTime=t, SeriesTime="234900")) for z, t in times.items()]
    severity, sentence = told(read_emission(paths, zone))["scan-of-many-hours"]
    assert severity is Severity.HOLD
    assert "23.8 h apart" in sentence
    good = [
        save(make_pt(z, AcquisitionTime=t, AcquisitionDate="20240310" if t > "2" else "20240311"))
        for z, t in times.items()
    ]
    assert "scan-of-many-hours" not in told(read_emission(good, zone))


def test_a_transmission_image_holds_no_activity(make_pt, save, zone) -> None:
    header = read_header(save(make_pt(0.0, ImageType=["ORIGINAL", "PRIMARY", "TRANSMISSION"])), zone)
    assert (header.role, header.unused_because) == (Role.UNUSED, "a transmission image holds no activity")


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_nuclide_that_we_write_is_read_back(sq, name) -> None:
    """161Tb, 225Ac, 166Ho, 212Pb and 211At were lost: PS3.16 CID 18 has no SNOMED code for them."""
    ds = sq()
    put_isotope(ds, name, 1.0, agent="DOTATATE")
    told_mbq = Administration(name, 7400.0, datetime(2026, 3, 2, 9, tzinfo=UTC), "DOTATATE")
    of_scan = radiopharmaceutical(told_mbq, becquerel=False)
    for item in (ds.RadiopharmaceuticalInformationSequence[0], of_scan):
        assert read_nuclide((Attributes(item),), "1.2") == (name, ())
    assert float(of_scan.RadionuclideHalfLife) == pytest.approx(nuclide(name).half_life_s, rel=1e-9)
