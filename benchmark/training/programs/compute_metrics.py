"""Computes users' own metrics of stored predictions: `python -m benchmark.training.programs.compute_metrics REQUEST ANSWER`.

REQUEST is a file of JSON: `{"metrics": [{"name", "code", "file"}, …], "predictions": [PATH, …], "allow_plugins": …}`; each path is
an `.npz` with labels [n] and probabilities [n, classes].
ANSWER is written as JSON, for each metric `{"higher_is_better": …, "values": [number or null, …]}`; or `{"error": …}` with exit
status 3.

    def g_mean(labels, probabilities):        # integers [n], numbers 0..1 [n, classes]
        ...
        return 0.5

    g_mean.higher_is_better = False           # True where it is not written
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from benchmark.training.process.offline import forbid_network
from benchmark.training.process.plugin_code import PluginError, naming_plugin_line, plugin_function
from benchmark.training.programs.answering import run_program


def _answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    forbid_network()
    answers = []
    for metric in request["metrics"]:
        name, code, file = metric["name"], metric["code"], metric["file"]
        function, place = plugin_function(name, "metrics", code, file, allowed=request["allow_plugins"])
        values = []
        for path in request["predictions"]:
            with np.load(path, allow_pickle=False) as stored:
                labels, probabilities = stored["labels"], stored["probabilities"]
            with naming_plugin_line(file, place):
                value = function(labels, probabilities)
            values.append(_number(value, name, place))
        answers.append({"higher_is_better": bool(getattr(function, "higher_is_better", True)), "values": values})
    return answers


def _number(value: Any, name: str, place: str) -> float | None:
    """What a metric returned as a float; None where it is not finite, which says that it is not defined."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise PluginError(f"{place}: expected {name} to return a number, found {type(value).__name__}")
    return float(value) if math.isfinite(value) else None


main = partial(run_program, answer=_answer)
"""Runs the program with its arguments; returns its exit status."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
