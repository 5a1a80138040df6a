"""The verbs of a running node: serve it, ask it, decide, and prove what it did."""
