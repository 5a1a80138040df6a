"""A PDF report as Encapsulated PDF Storage (PS3.3 A.45.1, C.24.2)."""

from __future__ import annotations

from collections.abc import Sequence

from dicomnode.dicom.reference import PatientStudy, SourceImage
from dicomnode.dicom.write.modules import (
    ObjectIdentity,
    code,
    encoded,
    new_object,
    reference,
)
from dicomnode.errors import Inconsistent

ENCAPSULATED_PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"


def write_encapsulated_pdf(
    pdf: bytes,
    patient: PatientStudy,
    identity: ObjectIdentity,
    *,
    title: str,
    sources: Sequence[SourceImage] = (),
) -> bytes:
    """The report as a DICOM file.

    Raises
    ------
    Inconsistent
        where ``pdf`` is not a PDF.
    """
    if not pdf.startswith(b"%PDF-"):
        raise Inconsistent("the report is not a PDF", attribute="EncapsulatedDocument")
    ds = new_object(ENCAPSULATED_PDF_STORAGE, "DOC", patient, identity)
    ds.ConversionType = "WSD"
    ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "YES"  # the report names the patient
    ds.DocumentTitle = title[:1024]
    ds.ConceptNameCodeSequence = [code("18748-4", "LN", "Diagnostic imaging study")]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(pdf)
    if sources:
        ds.SourceInstanceSequence = [reference(s) for s in sources]
    ds.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return encoded(ds)
