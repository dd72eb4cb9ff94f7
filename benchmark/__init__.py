"""bench: a benchmark-matrix orchestrator for image classifiers, with a results database."""

__version__ = "0.1.0"
