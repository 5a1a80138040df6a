"""From a dose map to organ doses, DVH, pictures and the report."""
