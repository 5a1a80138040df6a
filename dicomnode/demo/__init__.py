"""A simulated patient through a real node, over DICOM, to a small PACS on loopback."""
