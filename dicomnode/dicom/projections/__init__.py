"""Raw SPECT projections from DICOM: frames, gantry, energy windows, geometry."""
