"""Emission and CT volumes from DICOM objects: pixels, geometry, unit, time and decay reference."""

from dicomnode.dicom.volumes.ct import read_ct
from dicomnode.dicom.volumes.emission import read_emission

__all__ = ["read_ct", "read_emission"]
