"""Transport of photons, electrons and positrons in voxels, on CPU and GPU from one source.

``random``    counter-based random numbers, one stream per history
``world``     the tables and the geometry that the transport reads
``electron``  condensed histories; ``photon`` Woodcock tracking; ``history`` one leg at a time
``source``    what a decay emits, and how decays are spread over voxels
``cpu``, ``gpu``  loops around ``history`` for threads and for CUDA
``batches``   batches of histories of one problem, and their sums; ``cluster`` hands them to Dask workers
``simulate``  stopping, uncertainty, energy balance
``radial``    dose-point kernels in a homogeneous medium
``gate``      the same problem by GATE 10, in a process of its own
"""
