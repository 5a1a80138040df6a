"""Gates that add up to pass, fail or undecided."""
