"""Cells on many computers: the run's own process decides and places, an agent on each node runs attempts."""
