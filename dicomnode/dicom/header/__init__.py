"""What headers say: identity, times, radiopharmaceutical, administration, camera."""
