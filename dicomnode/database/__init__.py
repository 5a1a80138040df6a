"""Engine, tables and migrations. Below the doors, which share it."""
