"""Voxelwise errors, organ doses, dose-volume histograms, gamma."""
