"""Small objects written with pydicom alone, and the real samples unpacked once."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

NM = "1.2.840.10008.5.1.4.1.1.20"
PET = "1.2.840.10008.5.1.4.1.1.128"
CT = "1.2.840.10008.5.1.4.1.1.2"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"

Build = Callable[..., Dataset]
Save = Callable[[Dataset], Path]


def item(**values: Any) -> Dataset:
    """A data set of the given keywords; a list of data sets becomes a sequence."""
    ds = Dataset()
    for key, value in values.items():
        setattr(ds, key, Sequence(value) if isinstance(value, list) and value and _sq(value) else value)
    return ds


def _sq(value: list[Any]) -> bool:
    return isinstance(value[0], Dataset)


def new(sop_class: str, modality: str, **values: Any) -> Dataset:
    ds = item(
        SOPClassUID=sop_class,
        SOPInstanceUID=generate_uid(),
        SeriesInstanceUID="1.2.3.4",
        StudyInstanceUID="1.2.3",
        FrameOfReferenceUID="1.2.9",
        Modality=modality,
        PatientID="T",
        PatientName="Test^Patient",
    )
    for key, value in values.items():
        setattr(ds, key, Sequence(value) if isinstance(value, list) and value and _sq(value) else value)
    return ds


def pixels(ds: Dataset, stored: np.ndarray) -> Dataset:
    stored = np.asarray(stored)
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated = ds.BitsStored = 8 * stored.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(stored.dtype.kind == "i")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    return ds


@pytest.fixture(scope="session")
def zone() -> ZoneInfo:
    return ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="session")
def sq() -> Callable[..., Dataset]:
    return item


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write an object as an explicit little endian file; returns its path."""

    def write(ds: Dataset) -> Path:
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "") or NM
        ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        path = tmp_path / f"{ds.file_meta.MediaStorageSOPInstanceUID}.dcm"
        ds.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture(scope="session")
def make_nm() -> Build:
    """NM RECON TOMO of ``stored`` (frames, rows, columns) with the position in the detector item."""

    def make(
        stored: np.ndarray, spacing: float | None = 4.0, iop: Any = (1, 0, 0, 0, 1, 0), **values: Any
    ) -> Dataset:
        ds = new(
            NM,
            "NM",
            ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
            NumberOfFrames=len(stored),
            NumberOfSlices=len(stored),
            SliceVector=list(range(1, len(stored) + 1)),
            FrameIncrementPointer=0x00540080,
            PixelSpacing=[4.0, 3.0],
            SpacingBetweenSlices=spacing,
            AcquisitionDate="20240310",
            AcquisitionTime="101500",
            DetectorInformationSequence=[
                item(ImagePositionPatient=[-10, -20, 30], ImageOrientationPatient=list(iop))
            ],
        )
        pixels(ds, np.asarray(stored, dtype=np.uint16))
        for key, value in values.items():
            setattr(ds, key, Sequence(value) if isinstance(value, list) and value and _sq(value) else value)
        return ds

    return make


@pytest.fixture(scope="session")
def make_pt() -> Build:
    """One PET slice of 3 x 4 pixels, all ``stored``, at height ``z``."""

    def make(z: float, stored: int = 100, slope: float = 2.0, count: int = 3, **values: Any) -> Dataset:
        ds = new(
            PET,
            "PT",
            ImageType=["ORIGINAL", "PRIMARY"],
            SeriesType=["WHOLE BODY", "IMAGE"],
            Units="BQML",
            DecayCorrection="START",
            CorrectedImage=["DECY", "ATTN", "SCAT"],
            NumberOfSlices=count,
            ImagePositionPatient=[0, 0, z],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[4, 4],
            RescaleSlope=slope,
            RescaleIntercept=0,
            SeriesDate="20240310",
            SeriesTime="101500",
            AcquisitionDate="20240310",
            AcquisitionTime="101500",
            ActualFrameDuration=600000,
            RadiopharmaceuticalInformationSequence=[
                item(
                    RadionuclideHalfLife=574300,
                    RadionuclideTotalDose=7.4e9,
                    RadiopharmaceuticalStartDateTime="20240310091500",
                    RadionuclideCodeSequence=[
                        item(CodeValue="447553000", CodingSchemeDesignator="SCT", CodeMeaning="^177^Lutetium")
                    ],
                )
            ],
        )
        pixels(ds, np.full((3, 4), stored, dtype=np.uint16))
        for key, value in values.items():
            setattr(ds, key, value)
        return ds

    return make


@pytest.fixture(scope="session")
def make_ct() -> Build:
    """One CT slice of 3 x 4 pixels, all ``stored``, at ``position``."""

    def make(position: Any, stored: int = 1024, iop: Any = (1, 0, 0, 0, 1, 0), **values: Any) -> Dataset:
        ds = new(
            CT,
            "CT",
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            ImagePositionPatient=list(position),
            ImageOrientationPatient=list(iop),
            PixelSpacing=[1, 1],
            RescaleSlope=1,
            RescaleIntercept=-1024,
        )
        pixels(ds, np.full((3, 4), stored, dtype=np.int16))
        for key, value in values.items():
            setattr(ds, key, value)
        return ds

    return make


@pytest.fixture(scope="session")
def make_rtstruct() -> Build:
    """RTSTRUCT of ``rois``: (name, [contour points (n, 3)], geometric type)."""

    def make(rois: Any, frame_of_reference: str = "1.2.9") -> Dataset:
        ds = new(RTSTRUCT, "RTSTRUCT")
        ds.StructureSetROISequence = Sequence(
            item(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frame_of_reference)
            for n, (name, _, _) in enumerate(rois, 1)
        )
        ds.ROIContourSequence = Sequence(
            item(
                ReferencedROINumber=n,
                ContourSequence=[
                    item(
                        ContourGeometricType=kind,
                        NumberOfContourPoints=len(points),
                        ContourData=[f"{v:.6f}" for v in np.asarray(points, dtype=float).ravel()],
                    )
                    for points in contours
                ],
            )
            for n, (_, contours, kind) in enumerate(rois, 1)
        )
        return ds

    return make


@pytest.fixture(scope="session")
def unpacked(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """Files of a set below ``shared/real``: "folder", "folder/pattern" or, of an archive,
    "folder/archive.tar.xz!pattern"."""
    done: dict[str, Path] = {}

    def files(name: str) -> list[Path]:
        archive, _, pattern = name.partition("!")
        if not pattern:
            found = shared / "real" / name
            paths = found.rglob("*") if found.is_dir() else found.parent.glob(found.name)
            return sorted(p for p in paths if p.is_file())
        if archive not in done:
            done[archive] = tmp_path_factory.mktemp("set")
            with tarfile.open(shared / "real" / archive) as tar:
                tar.extractall(done[archive], filter="data")
        return sorted(p for p in done[archive].rglob(pattern) if p.is_file() and "LICENSE" not in p.name)

    yield files
    for folder in done.values():
        shutil.rmtree(folder)
