"""DICOM objects that we write, one file per object; ``modules`` has what they share."""
