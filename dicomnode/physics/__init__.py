"""Nuclides, tissues and kernels: data with their sources."""
