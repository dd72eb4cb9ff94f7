"""Computes users' own metrics of stored predictions: `python -m benchmark.training.programs.compute_metrics REQUEST ANSWER`.

REQUEST is a file of JSON: `{"metrics": [{"name", "code", "file"}, …], "predictions": [PATH, …], "allow_plugins": …}`; each path is
an `.npz` with labels [n] and probabilities [n, classes].
ANSWER is written as JSON, for each metric `{"higher_is_better": …, "values": [number or null, …]}`; or `{"error": …}` with exit
status 3.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmark.training.plugin_metrics import load_metric
from benchmark.training.process.offline import forbid_network
from benchmark.training.programs.answering import run_program


def _answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    forbid_network()
    answers = []
    for metric in request["metrics"]:
        own = load_metric(metric["name"], metric["code"], metric["file"], allowed=request["allow_plugins"])
        values = []
        for path in request["predictions"]:
            with np.load(path, allow_pickle=False) as stored:
                values.append(own.value(stored["labels"], stored["probabilities"]))
        answers.append({"higher_is_better": own.higher_is_better, "values": values})
    return answers


main = partial(run_program, answer=_answer)
"""Runs the program with its arguments; returns its exit status."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
