"""bench: a benchmark-matrix orchestrator for image classifiers, with a results database.

In Python, `benchmark.results(db)`, `.history(db)`, `.predictions(db)`, `.report(db)` and `.compare(a, b, db)` give what is
recorded as pandas DataFrames; `.learning_curves(db)`, `.accuracy_by_time(db)`, `.heat_map(db)`, `.effect_sizes(db)`,
`.time_by_phase(db)` and `.forecasts(db)` draw it. See docs/python.md.
"""

# nothing but what every interpreter has imported already: with `python -m benchmark` the working folder is still searched
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from benchmark.frames.plots import (
        accuracy_by_time,
        effect_sizes,
        forecasts,
        heat_map,
        learning_curves,
        time_by_phase,
    )
    from benchmark.frames.report_frames import compare, report
    from benchmark.frames.view_frames import history, predictions, results

    __all__ = [
        "accuracy_by_time",
        "compare",
        "effect_sizes",
        "forecasts",
        "heat_map",
        "history",
        "learning_curves",
        "predictions",
        "report",
        "results",
        "time_by_phase",
    ]
else:
    import benchmark.results

__version__ = "0.1.0"

_IMPORTED_LATE = {
    "accuracy_by_time": "benchmark.frames.plots",
    "compare": "benchmark.frames.report_frames",
    "effect_sizes": "benchmark.frames.plots",
    "forecasts": "benchmark.frames.plots",
    "heat_map": "benchmark.frames.plots",
    "history": "benchmark.frames.view_frames",
    "learning_curves": "benchmark.frames.plots",
    "predictions": "benchmark.frames.view_frames",
    "report": "benchmark.frames.report_frames",
    "time_by_phase": "benchmark.frames.plots",
}
"""Functions by the module that has them: pandas is imported by the first call, never by `import benchmark`."""


def __getattr__(name: str) -> "Any":
    if name not in _IMPORTED_LATE:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_IMPORTED_LATE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_IMPORTED_LATE})


class _CallableModule(type(sys)):  # type: ignore[misc] # the type of modules
    """The part `benchmark.results`, which has the name of the function that reads the view `results`, and so is both."""

    def __call__(self, *args: "Any", **kwargs: "Any") -> "Any":
        """The view `results` as a DataFrame: `help(benchmark.frames.view_frames.results)` describes the arguments."""
        from benchmark.frames.view_frames import results

        return results(*args, **kwargs)


sys.modules["benchmark.results"].__class__ = _CallableModule

if os.environ.get("BENCH_TESTING") == "1":
    import benchmark.testing  # noqa: F401  registers what tests need, in every process of a run
