"""Bringing every time point onto one grid, and saying how well that went."""
