"""GATE 10 in a process of its own: data, volumes, sources, the job and its run."""
