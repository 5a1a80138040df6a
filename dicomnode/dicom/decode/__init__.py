"""Emission and CT volumes from DICOM objects: pixels, geometry, unit, time and decay reference."""

from dicomnode.dicom.decode.ct import read_ct
from dicomnode.dicom.decode.emission import read_emission

__all__ = ["read_ct", "read_emission"]
