"""One function per rule; each number beside its source."""
