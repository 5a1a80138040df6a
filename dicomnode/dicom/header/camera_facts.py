"""What a calibration record is chosen by, from one emission object."""

from __future__ import annotations

from dicomnode.dicom.header.dataset import Attributes

_FACTS = {
    "manufacturer": ("Manufacturer",),
    "model": ("ManufacturerModelName",),
    "station": ("StationName",),
    "serial": ("DeviceSerialNumber",),
    "software": ("SoftwareVersions",),
    "reconstruction": ("ReconstructionMethod", "ConvolutionKernel", "ProcessingFunction"),
    "collimator": ("CollimatorGridName", "CollimatorType"),
    "corrected_image": ("CorrectedImage",),
    "attenuation_correction": ("AttenuationCorrectionMethod",),
    "scatter_correction": ("ScatterCorrectionMethod",),
    "decay_factor": ("DecayFactor",),
    "sop_class": ("SOPClassUID",),
    "series_description": ("SeriesDescription",),
}


def facts_of(obj: Attributes) -> dict[str, str]:
    """Facts by name, absent where not stated; several attributes of one fact are joined by "; "."""
    detector = obj.first("DetectorInformationSequence")
    facts: dict[str, str] = {}
    for name, keywords in _FACTS.items():
        texts = [text for key in keywords if (text := obj.text(key) or detector.text(key))]
        if texts:
            facts[name] = "; ".join(texts)
    return facts
