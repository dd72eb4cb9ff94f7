"""Pictures are put through trained cells by a process of its own, one for each backend, that this one waits for."""

from __future__ import annotations

import json
import math
import os
import selectors
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from benchmark import layout
from benchmark.errors import BenchError, UserError
from benchmark.events import Exited
from benchmark.files import temporary_folder
from benchmark.matrix.cell import Cell
from benchmark.scheduling.decisions.verdicts import signal_name
from benchmark.scheduling.processes.environment import python_command, require_backends, worker_environment
from benchmark.scheduling.processes.guarded_process import GuardedProcess, log_tail, start_guardian

COMMAND = python_command("benchmark.training.programs.predict")
"""Is given two paths: of the request, and of the answer that it writes."""

_LOG_TAIL_BYTES = 4 << 10


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished cell with the weights that it kept and their digest."""

    cell: Cell
    weights: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class CellPrediction:
    """What one cell makes of the images: a row of probabilities for each, in the order of the classes."""

    cell: Cell
    class_names: tuple[str, ...]
    probabilities: list[list[float]]


def predict(
    trained: Sequence[Trained], images: Sequence[Path], views: int = 0, *, allow_plugins: bool = False
) -> list[CellPrediction]:
    """What each cell makes of each image, on the CPU.

    Args:
        trained: At least one, of any backends that are installed.
        images: PNG or JPEG files of any size.
        views: Augmented views to average each image over, beside the plain one.
        allow_plugins: Whether plug-ins may make networks that the trust file does not name.

    Raises:
        UserError: An image or the weights of a cell are missing or damaged, or its backend is not installed.
        BenchError: The process ended without an answer.

    Side effects: starts processes, and ends them when it is interrupted.
    """
    require_backends(one.cell for one in trained)
    check_images(images)
    backends: dict[str, list[Trained]] = {}
    for one in trained:
        backends.setdefault(one.cell.backend, []).append(one)
    found: dict[str, CellPrediction] = {}
    for backend, cells in backends.items():
        request = {
            "cells": [
                {"cell": one.cell.to_dict(), "weights": str(one.weights.absolute()), "sha256": one.sha256}
                for one in cells
            ],
            "images": [str(image.absolute()) for image in images],
            "views": views,
            "allow_plugins": allow_plugins,
        }
        answers = ask(COMMAND, request, backend, max(one.cell.threads for one in cells))
        for one, answer in zip(cells, answers, strict=True):
            names = tuple(answer["class_names"])
            found[one.cell.cell_id] = CellPrediction(one.cell, names, answer["probabilities"])
    return [found[one.cell.cell_id] for one in trained]


def check_images(paths: Sequence[Path]) -> None:
    """Reads images before a process is started that takes seconds to be ready for them.

    Raises:
        UserError: One is no whole JPEG or PNG; the process itself would say the same of it.
    """
    from PIL import Image

    for path in paths:
        try:
            with Image.open(path, formats=("JPEG", "PNG")) as image:
                image.load()
        except Exception as error:  # whatever a decoder of strange bytes raises, the file must be named
            reason = str(error).replace(f" '{path}'", "") or type(error).__name__
            raise UserError(f"IMAGE: {path} cannot be read as JPEG or PNG: {reason:.200}") from error


def ask(
    command: Sequence[str], request: Mapping[str, Any], backend: str, threads: int, limit_seconds: float | None = None
) -> list[dict[str, Any]]:
    """What a program answers that is given the paths of a request and of its answer, both JSON.

    Raises:
        UserError: It says what is wrong: its answer is an object with `error`. Or it took longer than the limit.
        BenchError: It ended without an answer.

    Side effects: starts the process, and ends it when this one is interrupted.
    """
    with temporary_folder() as folder:
        asked, answered, log = (Path(folder) / name for name in ("request.json", "answer.json", layout.LOG))
        asked.write_text(json.dumps(request), encoding="utf-8")
        environment = worker_environment(os.environ, backend, threads=threads, gpu=None)
        exited = _wait(start_guardian([*command, str(asked), str(answered)], environment, log), limit_seconds)
        try:
            answer: Any = json.loads(answered.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            by = f" by {signal_name(exited.signal)}" if exited is not None and exited.signal else ""
            words = log_tail(log, _LOG_TAIL_BYTES).decode(errors="replace").strip()
            raise BenchError(f"the process was ended{by} before it answered" + (words and f":\n{words}")) from error
    if isinstance(answer, dict):
        raise UserError(str(answer["error"]))
    return list(answer)


def _wait(process: GuardedProcess, limit_seconds: float | None) -> Exited | None:
    """How the process ended, as its guardian saw it; None when the guardian is gone.

    Raises:
        UserError: It took longer than the limit, and was ended.
    """
    until = math.inf if limit_seconds is None else monotonic() + limit_seconds
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.report.fd, selectors.EVENT_READ)
            while not process.is_over:
                left = until - monotonic()
                if left <= 0:
                    raise UserError(f"the process was ended: it gave no answer within {limit_seconds:g} s")
                selector.select(None if left == math.inf else left)
                process.hear_guardian()
    finally:
        process.close()
    return process.exited
