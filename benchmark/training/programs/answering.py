"""How a program is asked and answers: a request and an answer in files of JSON, from and to `scheduling/programs/inference.py`."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import DataError
from benchmark.files import write_whole
from benchmark.training.process.failures import EXIT_DATA_ERROR
from benchmark.training.process.plugin_code import PluginError


def run_program(arguments: Sequence[str], answer: Callable[[Mapping[str, Any]], list[dict[str, Any]]]) -> int:
    """Reads a request from a file of JSON and writes the answer to another; started by `scheduling/programs/inference.py`.

    Args:
        arguments: Paths of the request and of the answer.
        answer: Computes the answer; a `DataError` or `PluginError` becomes `{"error": …}`.

    Returns:
        The exit status: 0, or `EXIT_DATA_ERROR`.

    Side effects: what there is already is never collected.
    """
    # what the imports left stays to the end, and each `clear_session` would look through all of it: 0.3 s for a network
    gc.freeze()
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    result: Any
    try:
        result, code = answer(request), 0
    except (DataError, PluginError) as error:
        result, code = {"error": str(error)}, EXIT_DATA_ERROR
    content = json.dumps(result).encode()
    write_whole(Path(arguments[1]), content)
    return code
