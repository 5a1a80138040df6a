"""The corridor: the only place that knows two rooms."""
