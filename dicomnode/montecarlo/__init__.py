"""Transport of particles through voxels: our own on CPU and GPU, and GATE."""
