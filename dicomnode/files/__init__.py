"""Volumes and batches in files: MetaImage, NIfTI, NRRD, npz."""
