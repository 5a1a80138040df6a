"""Learned reconstructions, and the acceptance that judges each of them."""
