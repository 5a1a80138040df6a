"""DICOM objects to and from nouns."""
