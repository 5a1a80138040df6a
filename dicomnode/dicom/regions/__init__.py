"""Regions from RT Structure Sets and Segmentations, on a grid."""
