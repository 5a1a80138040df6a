"""Files that no sender would take, made sendable without touching their data set."""

from __future__ import annotations

import warnings
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import split_dataset

from dicomnode.dicom.header.dataset import PARSE_FAULTS
from dicomnode.simulation.objects import uid

NEEDED = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
CT = "1.2.840.10008.5.1.4.1.1.2"


def identity(path: Path) -> tuple[str, str, str]:
    """SOP class, SOP instance and modality as far as they can be read; empty where not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = dcmread(path, force=True, specific_tags=["SOPClassUID", "SOPInstanceUID", "Modality"])
            return tuple(str(ds.get(k, "") or "") for k in ("SOPClassUID", "SOPInstanceUID", "Modality"))
        except PARSE_FAULTS:
            return "", "", ""


def sendable(path: Path, folder: Path, *, as_class: str = "", syntax: str = "") -> Path:
    """``path`` where its file meta is complete, else a copy with file meta before the same data set.

    ``as_class`` and ``syntax`` make a copy that pretends to be of that SOP class and transfer syntax.
    """
    if path.read_bytes()[:2] == b"\2\0":  # file meta without its preamble
        whole = folder / path.name
        whole.write_bytes(b"\0" * 128 + b"DICM" + path.read_bytes())
        path = whole
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta, offset = split_dataset(path)
    except (InvalidDicomError, EOFError, OSError, ValueError, AttributeError, NotImplementedError):
        meta, offset = FileMetaDataset(), 0
    if all(meta.get(k) for k in NEEDED) and not as_class and not syntax:
        return path
    sop_class, instance, _ = identity(path)
    made = FileMetaDataset()
    made.FileMetaInformationVersion = b"\0\1"
    made.MediaStorageSOPClassUID = as_class or meta.get("MediaStorageSOPClassUID") or sop_class or CT
    stated = UID(str(meta.get("MediaStorageSOPInstanceUID") or instance))
    made.MediaStorageSOPInstanceUID = stated if stated.is_valid and stated else uid(path.name)
    explicit = path.read_bytes()[offset + 4 : offset + 6].isalpha()
    guessed = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
    made.TransferSyntaxUID = syntax or meta.get("TransferSyntaxUID") or guessed
    made.ImplementationClassUID = "1.2.3"
    copy = folder / f"{path.name}.part10"
    with copy.open("wb") as file:
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, made)
        file.write(path.read_bytes()[offset:])
    return copy
