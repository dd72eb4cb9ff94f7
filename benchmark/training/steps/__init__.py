"""One training step and one prediction, on each backend."""
