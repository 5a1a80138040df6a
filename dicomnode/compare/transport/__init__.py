"""Optimal transport between dose maps, mm and Gy mm."""
