"""SPECT reconstruction: from raw projections to calibrated activity. Usable alone, without the node."""
