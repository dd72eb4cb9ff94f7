"""bench: a benchmark-matrix orchestrator for image classifiers, with a results database."""

import os

__version__ = "0.1.0"

if os.environ.get("BENCH_TESTING") == "1":
    import benchmark.testing  # noqa: F401  registers what tests need, in every process of a run
