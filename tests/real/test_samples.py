"""Every NM, PT, CT, RTSTRUCT and SEG sample of shared/real sent at a running node: each is used, or the node
says why not. The table is printed (pytest -s), and written to the file that DICOMNODE_TABLE names."""

from __future__ import annotations

import os
import re
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from dicomnode.receive.acceptance import STORAGE_CLASSES
from tests.helpers.part10_files import identity, sendable
from tests.helpers.running_node import SYNTAXES
from tests.helpers.what_the_node_says import settled, verdicts

MODALITIES = {"NM", "PT", "CT", "RTSTRUCT", "SEG"}
NO_PARTNER = (
    "waiting: no emission series of its frame of reference has arrived yet"
    "|waiting: the series that it is drawn on, [0-9.]+, has not arrived"
)
NO_PATIENT = "quarantined: PatientID is empty"
PLANAR = "unused: a planar image holds no volume"
NO_CT = "no CT of the frame of reference"
NOT_TOLD = "nobody has told when and how much was administered"
# beginning of the name -> a part of what the node must say of it; the longest beginning counts
EXPECTED = {
    "pet_raw_sts": f"used; cycle HELD: T1 .*: 2 emission series belong to one acquisition: .*{NOT_TOLD}",
    "ct_lung_ibsi_NONCOMMERCIAL": NO_PARTNER,
    "ct_series": NO_PARTNER,
    # the same PET again, cut to 59 slices, under the same identity
    "ct_series/sts_petct_ge/sts_petct_ge/STS_001/CT/image": "used; cycle HELD: T1 .*: 2 emission series",
    "ct_series/sts_petct_ge/sts_petct_ge/STS_001/PET/image": "unused: another series of the acquisition",
    "ct_series/sts_petct_ge/sts_petct_ge/STS_001/PET/mask": "used; cycle HELD: T1 .*: 2 emission series",
    "ct_series/sts_petct_ge/sts_petct_ge/STS_001/CT/mask": "used; cycle HELD: T1 .*: 2 emission series",
    "ct_series/totalseg_dicom_siemens_mct": "no context: transfer syntax JPEG 2000",
    "ct_series/lungmask_2slices": NO_PATIENT,
    "nm_vendors/acme_recon": NO_PATIENT,
    "nm_vendors/ge_infinia": PLANAR,
    "nm_vendors/ge_millennium": "no context: SOP class Secondary Capture",
    "nm_vendors/mediso_anyscan": PLANAR,
    "nm_vendors/mediso_interview_recon": f"used; cycle HELD: {NOT_TOLD}.*{NO_CT}",
    "nm_vendors/mediso_nucline_dynamic": "unused: a dynamic planar acquisition holds no volume",
    "nm_vendors/mediso_nucline_static": PLANAR,
    "nm_vendors/siemens_encore2_static": PLANAR,
    "nm_vendors/siemens_ip2": PLANAR,
    "nm_vendors/siemens_encore2_tomo": "unused: raw projections, which this node does not reconstruct",
    "nm_vendors/siemens_encore2_wholebody": "unused: a planar whole-body image holds no volume",
    "rt_objects": NO_PARTNER,
    "rt_objects/enhanced_ct/CT0012.not_fragmented_bot_jpeg_ls": "no context: transfer syntax JPEG-LS",
    "rt_objects/enhanced_ct/CT0012.not_fragmented_bot_rle": "no context: transfer syntax RLE",
    "rt_objects/pt_single_slices": f"used; cycle HELD: .*{NO_CT}",
    "rt_objects/pt_single_slices/fo-dicom_GH184": "no context: transfer syntax JPEG Lossless",
    "rt_objects/pt_single_slices/orthanc_2021-02-19": "no context: transfer syntax JPEG-LS",
    "rt_objects/pt_single_slices/orthanc_Comunix": "no context: transfer syntax JPEG 2000",
    "rt_objects/pt_single_slices/orthanc_Issue94": "unused: AcquisitionDateTime and .* are absent",
    "rt_objects/pydicom_data/eCT_Supplemental": "unused: ImageType .*PERFUSION.* is no CT number image",
    "rt_objects/pydicom_data/liver_nonbyte_aligned_rle": "no context: transfer syntax RLE",
    "rt_objects/rt_utils": f"{NO_PARTNER}|{NO_PATIENT}",
    "spect_raw/nm_samples/mediso": NO_PATIENT,
    "spect_raw/nm_samples/siemens_spect_stored_as_PT": f"used; cycle HELD: T1: {NO_CT}",
    "spect_raw/synthetic_nema_lu177/CT": "unused: its emission series .* raw projections",
    "spect_raw/synthetic_nema_lu177/nm_tomo": "unused: raw projections, which this node does not reconstruct",
}
ARCHIVES = (
    "pet_raw_sts/STS_001",
    "ct_lung_ibsi_NONCOMMERCIAL/image",
    "ct_series/sts_petct_ge",
    "ct_series/totalseg_dicom_siemens_mct",
    "ct_series/crlm_abdomen_ge",
    "ct_series/ge_hispeed_tilt_varspacing",
    "ct_series/lungmask_2slices",
    "ct_series/geant4_philips_brilliance",
)
FOLDERS = ("nm_vendors", "rt_objects", "spect_raw", "ct_lung_ibsi_NONCOMMERCIAL/mask")


def samples(real: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each sample of those modalities."""
    for name in ARCHIVES:
        with tarfile.open(real / f"{name}.tar.xz") as tar:
            tar.extractall(folder / name, filter="data")
        yield from _dicom(folder / name, name)
    for name in FOLDERS:
        yield from _dicom(real / name, name)


def _dicom(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix in (".txt", ".md", ".json"):
            continue
        sop_class, _, modality = identity(path)
        if modality in MODALITIES or STORAGE_CLASSES.get(sop_class, "").startswith("CT"):
            yield f"{name}/{path.relative_to(folder)}", path


def test_each_sample_is_used_or_the_node_says_why_not(run_node: Any, shared: Path, tmp_path: Path) -> None:
    node = run_node(expected=1)
    wrapped = tmp_path / "wrapped"
    wrapped.mkdir()
    found = samples(shared / "real", tmp_path / "samples")
    sent = {name: sendable(path, wrapped) for name, path in found}
    answers = node.store(list(sent.values()))
    settled(node)
    said = verdicts(node)
    table = []
    for name, path in sent.items():
        if answers[path] is None:
            verdict = _not_accepted(path)
        elif answers[path] != 0:
            verdict = f"refused with status {answers[path]:#06x}"
        else:
            verdict = said[str(read_file_meta_info(path).MediaStorageSOPInstanceUID)]
        table.append((name, verdict))
    text = "\n".join(_grouped(table))
    sys.stdout.write(text + "\n")
    Path(os.environ.get("DICOMNODE_TABLE", tmp_path / "table.txt")).write_text(text)
    misfits = [(name, verdict) for name, verdict in table if not re.match(_expected(name), verdict)]
    assert list(_grouped(misfits)) == []
    assert len(table) > 550
    assert node.is_well()
    assert node.audit_is_whole()


def _expected(name: str) -> str:
    return EXPECTED[max((k for k in EXPECTED if name.startswith(k)), key=len)]


def _not_accepted(path: Path) -> str:
    """Which of the two was not accepted (PS3.8: no presentation context)."""
    meta = read_file_meta_info(path)
    if meta.MediaStorageSOPClassUID not in STORAGE_CLASSES:
        return f"no context: SOP class {UID(meta.MediaStorageSOPClassUID).name}"
    assert meta.TransferSyntaxUID not in SYNTAXES
    return f"no context: transfer syntax {UID(meta.TransferSyntaxUID).name}"


def _grouped(table: list[tuple[str, str]]) -> Iterator[str]:
    """One line for each folder and verdict."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, verdict in table:
        folder, _, file = name.rpartition("/")
        groups[folder, verdict].append(file)
    for (folder, verdict), files in groups.items():
        which = files[0] if len(files) == 1 else f"({len(files)} files)"
        yield f"{folder}/{which} | {verdict}"
