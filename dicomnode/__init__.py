"""dicomnode: SPECT/CT series in, absorbed dose (RTDOSE) back in the PACS, every step on record."""

__version__ = "0.1.0"
