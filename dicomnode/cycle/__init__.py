"""From series to time points and cycles: grouping, administration, calibration, readiness."""
