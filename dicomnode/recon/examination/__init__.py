"""Whether a scan can be reconstructed: acquisition, body outline, CT."""
