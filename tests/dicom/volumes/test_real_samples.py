"""Every NM, PT, CT, RTSTRUCT and SEG sample is used, with its README's numbers, or refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dicomnode.dicom.header.headers import read_header
from dicomnode.dicom.regions.structures import read_structures
from dicomnode.dicom.volumes import read_ct, read_emission
from dicomnode.errors import Refused
from dicomnode.model import Grid, Severity
from dicomnode.model.series import Role

Files = Callable[[str], list[Path]]
MICHIGAN = "lu177_michigan_NONCOMMERCIAL/SCAN_00{}.tar.xz!{}/*.dcm"

REFUSED_EMISSION = {
    "nm_vendors/acme_recon_tomo_heart_13frames.dcm": "where it lies in the patient",
    "nm_vendors/ge_millennium_wholebody_NM1_UNC.dcm": "of no use to a dose calculation",
    "nm_vendors/mediso_nucline_dynamic_maxcountrate.dcm": "dynamic planar",
    "nm_vendors/mediso_nucline_static_uniformity.dcm": "planar image",
    "nm_vendors/siemens_encore2_static_lung_kidney.dcm": "planar image",
    "nm_vendors/siemens_encore2_tomo_projections.dcm": "raw projections; reconstruct first",
    "nm_vendors/siemens_encore2_wholebody.dcm": "planar whole-body",
    "nm_vendors/siemens_ip2_static_background.dcm": "planar image",
    "nm_vendors/siemens_ip2_static_petridish.dcm": "planar image",
    "nm_vendors/ge_infinia_dmsa_patA/31946123204185778161.dcm": "planar image",
    "nm_vendors/ge_infinia_dmsa_patA/01524809458371604088.dcm": "planar image",
    "nm_vendors/ge_infinia_dmsa_patA/82656100484285268630.dcm": "planar image",
    "nm_vendors/mediso_anyscan_s_dmsa_patA/IM1.dcm": "planar image",
    "nm_vendors/mediso_anyscan_s_dmsa_patA/IM1_(1).dcm": "planar image",
    "nm_vendors/mediso_anyscan_s_dmsa_patA/IM1_(2).dcm": "planar image",
    "nm_vendors/mediso_anyscan_s_dmsa_patA/IM2.dcm": "planar image",
    "nm_vendors/mediso_anyscan_s_dmsa_patA/IM2_(1).dcm": "planar image",
    "nm_vendors/mediso_anyscan_s_dmsa_patA/IM2_(2).dcm": "planar image",
    "spect_raw/nm_samples/mediso_maxcountrate_DYNAMIC_LinaQA.dcm": "dynamic planar",
    "spect_raw/nm_samples/siemens_spect_stored_as_PT_mirp.dcm": "1 of 199 slices",
    "spect_raw/synthetic_nema_lu177/nm_tomo.dcm": "raw projections; reconstruct first",
    "rt_objects/pt_single_slices/NM-PetIm-GE.dcm": "1 of 313 slices",
    "rt_objects/pt_single_slices/NM-PetIm-Siemens.dcm": "1 of 476 slices",
    "rt_objects/pt_single_slices/orthanc_Issue94.dcm": "1 of 213 slices",
    "rt_objects/pt_single_slices/fo-dicom_GH184_ge_discovery_st.dcm": "transfer syntax",
    "rt_objects/pt_single_slices/orthanc_2021-02-19-MalaterreCP246.dcm": "transfer syntax",
    "rt_objects/pt_single_slices/orthanc_Comunix_Pet_IM-0001-0001.dcm": "transfer syntax",
    "ct_series/sts_petct_ge.tar.xz!PET/image/*": "standardised uptake values, not Bq/mL",
}

# files -> shape (z, y, x), spacing (x, y, z), lowest and highest HU
USED_CT = {
    "ct_series/crlm_abdomen_ge.tar.xz!*.dcm": ((41, 512, 512), (0.796875, 0.796875, 5.0)),
    "ct_series/geant4_philips_brilliance.tar.xz!*": ((3, 512, 512), (0.765625, 0.765625, 5.0)),
    "ct_series/sts_petct_ge.tar.xz!CT/image/*": ((59, 202, 198), (0.976562, 0.976562, 3.27)),
    "ct_lung_ibsi_NONCOMMERCIAL/image.tar.xz!*": ((60, 201, 204), (0.977, 0.977, 3.0)),
    "rt_objects/dcmqi/segmentations__23x38x3__image*": ((3, 38, 23), (0.7, 0.7, 2.5)),
    "rt_objects/dcmqi/segmentations__23x38x3__multiframe*": ((3, 38, 23), (0.7, 0.7, 2.5)),
    "rt_objects/dcmqi/segmentations__24x38x3__image*": ((3, 38, 24), (0.7, 0.7, 2.5)),
    "rt_objects/dcmqi/segmentations__24x38x3__multiframe*": ((3, 38, 24), (0.7, 0.7, 2.5)),
    "rt_objects/dcmqi/segmentations__ct-3slice*": ((3, 512, 512), (0.810547, 0.810547, 1.0)),
    "rt_objects/rt_utils/[012].dcm": ((3, 50, 100), (2.5, 3.5, 4.5)),
    "spect_raw/synthetic_nema_lu177/CT": ((48, 64, 64), (4.8, 4.8, 4.8)),
}
REFUSED_CT = {
    "ct_series/ge_hispeed_tilt_varspacing.tar.xz!*": "slice distances run from 1.081 to 6.999 mm",
    "ct_series/lungmask_2slices.tar.xz!*": "2 slices make no volume",
    "ct_series/totalseg_dicom_siemens_mct.tar.xz!*": "it has no SOPClassUID, SOPInstanceUID",
    "rt_objects/pydicom_data/eCT_Supplemental.dcm": "PERFUSION.* is no CT number image",
    "rt_objects/enhanced_ct/CT0012.not_fragmented_bot_rle.dcm": "PERFUSION.* is no CT number image",
    "rt_objects/enhanced_ct/CT0012.not_fragmented_bot_jpeg_ls.80.dcm": "PERFUSION.* is no CT number image",
    "rt_objects/rt_utils/ct_*.dcm": "2 slices make no volume",
    "rt_objects/highdicom/ct_image.dcm": "1 slices make no volume",
    "rt_objects/dicompyler_core/ct.0.dcm": "1 slices make no volume",
}

# files -> region -> volume as drawn, mL, with the grid that holds it (origin, spacing, shape)
WIDE = Grid((160, 160, 200), (3.0, 3.0, 3.0), (-300.0, -240.0, -240.0))
HIGH = Grid((160, 160, 200), (3.0, 3.0, 3.0), (-300.0, -320.0, 150.0))
LOW = Grid((160, 180, 200), (3.0, 3.0, 3.0), (-300.0, -500.0, -660.0))
PELVIS = Grid((40, 128, 128), (3.54, 3.54, 3.375), (-226.4, -430.8, -150.0))
FINE = Grid((12, 32, 32), (0.488281, 0.488281, 1.25), (-125.0, -128.1, 98.02))
THICK = Grid((3, 128, 128), (0.661468, 0.661468, 5.0), (-158.1358, -179.0358, -80.7))
FLAT = Grid((5, 256, 256), (1.62, 1.62, 1.0), (-235.2, -226.8, -129.69))
TINY = Grid((12, 60, 60), (0.7, 0.7, 2.5), (40.0, 0.0, -190.0))
USED_STRUCTURES = {
    "rt_objects/dicompyler_core/rtss.dcm": (WIDE, {"Heart": 439.7, "Lt Lung": 2004.8}),
    "rt_objects/orthanc/RT.dcm": (LOW, {"SpinalCord": 62.7, "Lung_R": 2139.0}),
    "rt_objects/pancreas_rtstruct_mim/1-1.dcm": (HIGH, {"LUNG_L": 1381.3, "LUNG_R": 1393.1}),
    "rt_objects/rt_utils/dummy_rt.dcm": (WIDE, {"ROI-1": 6.51, "ROI-4": 10.98}),
    "rt_objects/rt_utils/invalid_reference_rt.dcm": (WIDE, {"ROI-2": 6.03}),
    "rt_objects/rt_utils/non_existent_reference_rt.dcm": (WIDE, {"ROI-3": 5.75}),
    "rt_objects/dcmqi/segmentations__23x38x3__seg__label.seg": (TINY, {"Liver": 0.394}),
    "rt_objects/dcmqi/segmentations__24x38x3__seg__label.seg": (TINY, {"Liver": 0.386}),
    "rt_objects/dcmqi/segmentations__sparse-labelmap-noppv.dcm": (TINY, {"Liver": 0.771}),
    "rt_objects/dcmqi/segmentations__sparse-labelmap-ppv5.dcm": (TINY, {"Liver": 0.771}),
    "rt_objects/dcmqi/segmentations__liver.dcm": (FLAT, {"Liver": 70.4}),
    "rt_objects/pydicom_data/liver.dcm": (FLAT, {"Liver": 70.4}),
    "rt_objects/dcmqi/segmentations__partial_overlaps.dcm": (FLAT, {"GREEN": 6.31, "ORANGE": 7.81}),
    "rt_objects/dcmqi/sr-example__seg.dcm": (PELVIS, {"Neoplasm, Primary": 33.58}),
    "rt_objects/highdicom/seg_image_ct_binary.dcm": (FINE, {"first segment": 0.19}),
    "rt_objects/highdicom/seg_image_ct_binary_fractional.dcm": (FINE, {"first segment": 0.19}),
    "rt_objects/highdicom/seg_image_ct_binary_overlap.dcm": (FINE, {"first segment": 0.02}),
    "rt_objects/highdicom/seg_image_ct_binary_single_frame.dcm": (THICK, {"first segment": 4.01}),
}
REFUSED_STRUCTURES = {
    "rt_objects/rt_utils/rt.dcm": "a single contour plane states no thickness",
    "rt_objects/highdicom/seg_image_cr_binary.dcm": "do not name their frame of reference",
    "rt_objects/highdicom/seg_image_sm_control_labelmap.dcm": "no place in the patient",
    "rt_objects/highdicom/seg_image_sm_control_labelmap_palette_color.dcm": "no place in the patient",
    "rt_objects/highdicom/seg_image_sm_dots.dcm": "no place in the patient",
    "rt_objects/highdicom/seg_image_sm_dots_tiled_full.dcm": "1250 frames have 0 functional groups",
    "rt_objects/highdicom/seg_image_sm_numbers.dcm": "no place in the patient",
    "rt_objects/pydicom_data/liver_nonbyte_aligned_rle.dcm": "transfer syntax",
}


@pytest.mark.parametrize(("sample", "reason"), REFUSED_EMISSION.items())
def test_an_unusable_emission_sample_is_refused_with_its_reason(
    unpacked: Files, zone: ZoneInfo, sample: str, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        read_emission(unpacked(sample), zone)


def test_no_nm_or_pt_sample_is_left_out_of_the_tables(unpacked: Files, zone: ZoneInfo, shared: Path) -> None:
    named = {*REFUSED_EMISSION, "nm_vendors/mediso_interview_recon_tomo_jaszczak.dcm"}
    for folder in ("nm_vendors", "rt_objects/pt_single_slices", "spect_raw/nm_samples"):
        for path in unpacked(folder):
            if path.suffix == ".dcm":
                assert str(path.relative_to(shared / "real")) in named


@pytest.mark.parametrize(("sample", "expected"), USED_CT.items())
def test_a_whole_ct_series_is_used(
    unpacked: Files, sample: str, expected: tuple[tuple[int, ...], tuple[float, ...]]
) -> None:
    ct, _ = read_ct(unpacked(sample))
    assert ct.grid.shape_zyx == expected[0]
    assert ct.grid.spacing_mm == pytest.approx(expected[1], rel=1e-5)
    assert -1024 <= ct.hu.min() <= ct.hu.max() < 4100


@pytest.mark.parametrize(("sample", "reason"), REFUSED_CT.items())
def test_an_unusable_ct_sample_is_refused_with_its_reason(unpacked: Files, sample: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read_ct(unpacked(sample))


@pytest.mark.parametrize(("sample", "expected"), USED_STRUCTURES.items())
def test_a_structure_sample_has_the_volume_of_its_contours(
    unpacked: Files, zone: ZoneInfo, sample: str, expected: tuple[Grid, dict[str, float]]
) -> None:
    grid, volumes = expected
    path = unpacked(sample)[0]
    regions, _ = read_structures([path], grid, read_header(path, zone).frame_of_reference_uid)
    for name, volume_ml in volumes.items():
        assert regions.volume_ml[name] == pytest.approx(volume_ml, rel=0.02, abs=0.006)
        assert regions.masks[name].any()


@pytest.mark.parametrize(("sample", "reason"), REFUSED_STRUCTURES.items())
def test_an_unusable_structure_sample_is_refused_with_its_reason(
    unpacked: Files, zone: ZoneInfo, sample: str, reason: str
) -> None:
    path = unpacked(sample)[0]
    with pytest.raises(Refused, match=reason):
        read_structures([path], WIDE, read_header(path, zone).frame_of_reference_uid)


@pytest.mark.parametrize(
    ("scan", "total_mbq", "hours", "expected_factor"),
    [(1, 1350.5, 3.741, 1.0173), (2, 996.05, 27.725, 1.129)],
)
def test_michigan_scans_have_the_activity_of_their_readme_and_hold_for_their_decay_reference(
    unpacked: Files, scan: int, total_mbq: float, hours: float, expected_factor: float
) -> None:
    volume = read_emission(unpacked(MICHIGAN.format(scan, "image")), ZoneInfo("America/Detroit"))
    assert volume.values.sum(dtype=np.float64) * volume.grid.voxel_ml / 1e6 == pytest.approx(
        total_mbq, rel=5e-5
    )
    assert volume.grid.shape_zyx == (199, 256, 256)
    assert (volume.unit, volume.nuclide, volume.half_life_s) == ("Bq/mL", "Lu-177", 574300.0)
    assert volume.decay_reference == "ADMIN"
    assert volume.decay_reference_at is not None
    assert (volume.started_at - volume.decay_reference_at).total_seconds() / 3600 == pytest.approx(
        hours, abs=1e-3
    )
    (hold,) = [f for f in volume.findings if f.severity is Severity.HOLD]
    assert hold.rule == "decay-reference-contradiction"
    assert '[[cycle.calibration]] decay_reference = "START"' in hold.sentence
    assert (hold.measured, hold.limit) == pytest.approx((1.0, expected_factor), rel=1e-3)


@pytest.mark.parametrize(
    ("scan", "region", "drawn_ml", "voxel_ml", "mean_kbq_ml", "max_kbq_ml", "mbq"),
    [
        (1, "lesion1 liver R lobe", 106.93, 107.02, 1142.5, 2252.8, 122.27),
        (1, "lesion2 liver L lateral", 2.80, 2.86, 1474.7, 2281.2, 4.22),
        (2, "lesion1 liver R lobe", 107.78, 107.90, 1446.8, 2958.5, 156.11),
        (2, "lesion2 liver L lateral", 2.88, 2.91, 2159.0, 3471.0, 6.27),
    ],
)
def test_michigan_lesions_have_the_numbers_of_their_readme(
    unpacked: Files,
    scan: int,
    region: str,
    drawn_ml: float,
    voxel_ml: float,
    mean_kbq_ml: float,
    max_kbq_ml: float,
    mbq: float,
) -> None:
    volume = read_emission(unpacked(MICHIGAN.format(scan, "image")), ZoneInfo("America/Detroit"))
    paths = unpacked(MICHIGAN.format(scan, "mask"))
    regions, _ = read_structures(paths, volume.grid, volume.frame_of_reference_uid)
    share = regions.shares[region].astype(np.float64)
    inside = volume.values[regions.masks[region]].astype(np.float64)
    assert regions.volume_ml[region] == pytest.approx(drawn_ml, rel=0.008)
    assert regions.voxel_volume_ml(region) == pytest.approx(voxel_ml, rel=0.015)
    # The README's mean is over voxels at least half filled: by shares 2 mL differ by 0.6 %.
    assert np.average(volume.values, weights=share) / 1e3 == pytest.approx(mean_kbq_ml, rel=0.01)
    assert inside.max() / 1e3 == pytest.approx(max_kbq_ml, rel=1e-4)
    assert (volume.values * share).sum() * volume.grid.voxel_ml / 1e6 == pytest.approx(mbq, rel=0.02)


def test_lesions_keep_their_volume_on_a_spect_grid(unpacked: Files) -> None:
    grid = Grid((90, 115, 115), (4.42, 4.42, 4.42), (-249.0, -410.0, 1156.9))
    path = unpacked(MICHIGAN.format(1, "mask"))[0]
    regions, findings = read_structures(
        [path], grid, read_header(path, ZoneInfo("UTC")).frame_of_reference_uid
    )
    assert regions.voxel_volume_ml("lesion1 liver R lobe") == pytest.approx(106.93, rel=0.02)
    assert any("106.95 mL as drawn" in f.sentence for f in findings)


def test_whole_body_pet_keeps_its_own_slope_per_slice_and_its_beds(unpacked: Files, zone: ZoneInfo) -> None:
    import pydicom

    paths = unpacked("pet_raw_sts/STS_001.tar.xz!image/*.dcm")
    volume = read_emission(paths, zone)
    assert volume.grid.shape_zyx == (267, 128, 128)
    assert volume.grid.spacing_mm == pytest.approx((4.6875, 4.6875, 3.27), abs=1e-6)
    assert (volume.facts["bed_positions"], volume.decay_reference) == ("6", "START")
    assert volume.duration_s == pytest.approx(1215 + 240)
    assert {f.rule for f in volume.findings} == {"uneven-slices", "administration-without-date"}
    assert not [f for f in volume.findings if f.severity is Severity.HOLD]  # every DecayFactor agrees
    for path in paths[::40]:
        ds = pydicom.dcmread(path)
        k = round((float(ds.ImagePositionPatient[2]) - volume.grid.origin_mm[2]) / volume.grid.spacing_mm[2])
        expected = ds.pixel_array * float(ds.RescaleSlope)
        np.testing.assert_allclose(volume.values[k], expected, rtol=1e-6)


def test_mediso_negative_spacing_lies_where_itk_puts_it(unpacked: Files, zone: ZoneInfo) -> None:
    import SimpleITK as sitk  # noqa: N813

    path = unpacked("nm_vendors/mediso_interview_recon_tomo_jaszczak.dcm")[0]
    volume = read_emission([path], zone)
    stored = np.fromfile(path, dtype="<u2")[-45 * 128 * 128 :].reshape(45, 128, 128)
    # ITK 5.4 has no reader for NM positions; its image is the array as stored with the direction that
    # plastimatch 1.9.4 finds: offset (0, -264.32, -165.2), z axis (0, 0, -1), 4.13 mm
    image = sitk.GetImageFromArray(stored.astype(np.float32))
    image.SetOrigin((0.0, -264.319977, -165.199986))
    image.SetSpacing((4.12999964,) * 3)
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    for index in ((0, 0, 0), (5, 60, 80), (44, 127, 127)):
        x, y, z = volume.grid.to_patient_mm(index[::-1])
        there = image.TransformPhysicalPointToIndex((float(x), float(y), float(z)))
        assert image[there] == volume.values[index]
    assert volume.grid.spacing_mm[2] == pytest.approx(4.13, abs=1e-4)
    assert np.linalg.det(volume.grid.axes) == pytest.approx(1.0)
    assert (volume.unit, volume.nuclide, volume.decay_reference) == ("counts", "Tc-99m", "")
    assert volume.duration_s is None  # "45 views" are its 45 slices: the arc says 128


def test_overlapping_segments_keep_their_overlap(unpacked: Files, zone: ZoneInfo) -> None:
    path = unpacked("rt_objects/dcmqi/segmentations__partial_overlaps.dcm")[0]
    regions, _ = read_structures([path], FLAT, read_header(path, zone).frame_of_reference_uid)
    together = sum(mask.astype(int) for mask in regions.masks.values())
    assert together.max() >= 2


def test_legacy_converted_ct_equals_its_single_slices(unpacked: Files) -> None:
    one, _ = read_ct(unpacked("rt_objects/dcmqi/segmentations__23x38x3__image*"))
    other, _ = read_ct(unpacked("rt_objects/dcmqi/segmentations__23x38x3__multiframe*"))
    assert one.grid.matches(other.grid)
    np.testing.assert_array_equal(one.hu, other.hu)


def test_every_odd_file_gives_a_header_or_a_refusal(unpacked: Files, zone: ZoneInfo) -> None:
    outcome = {"header": 0, "refused": 0}
    for path in unpacked("odd_files"):
        if path.suffix in (".md", ".tsv", ".txt"):
            continue
        try:
            header = read_header(path, zone)
        except Refused:
            outcome["refused"] += 1
            continue
        outcome["header"] += 1
        assert header.role is not Role.UNUSED or header.unused_because
    assert outcome["header"] + outcome["refused"] == 182
    assert outcome["refused"] == 13  # two of them by a SOP Instance UID that is none


def test_header_of_a_pt_stored_spect_says_emission_and_lutetium(unpacked: Files, zone: ZoneInfo) -> None:
    header = read_header(unpacked("spect_raw/nm_samples/siemens_spect_stored_as_PT_mirp.dcm")[0], zone)
    assert (header.role, header.nuclide, header.units) == (Role.EMISSION, "Lu-177", "BQML")
    assert header.administered_mbq == pytest.approx(7210.43, abs=0.01)  # 7210425599.6 Bq
    assert header.facts["CollimatorType"] == "PARA"


def test_nm_dose_is_read_in_mbq(unpacked: Files, zone: ZoneInfo) -> None:
    header = read_header(unpacked("nm_vendors/siemens_encore2_tomo_projections.dcm")[0], zone)
    assert (header.role, header.administered_mbq) == (Role.PROJECTIONS, 320.0)
    assert header.unused_because == "raw projections; reconstruct first"


def test_frame_of_reference_of_a_structure_set_is_that_of_its_rois(unpacked: Files, zone: ZoneInfo) -> None:
    header = read_header(unpacked("rt_objects/orthanc/RT.dcm")[0], zone)
    assert header.frame_of_reference_uid == "1.3.6.1.4.1.14519.5.2.1.7014.4598.171234424242155356682733155977"
    assert len(header.referenced_series_uids) == 1
