"""Moments of the difference of two maps, and what follows from them."""
