"""A trained cell is explained by a process of its own, which this one waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.catalog.backends import BACKENDS
from benchmark.catalog.facts import KERAS
from benchmark.catalog.image_names import TEST
from benchmark.matrix.cell import Cell
from benchmark.scheduling.processes.environment import python_command
from benchmark.scheduling.programs.inference import Trained, ask, check_images

COMMAND = python_command("benchmark.training.programs.explain")
"""Is given two paths: of the request, and of the answer that it writes."""

USUAL_BACKEND = "tensorflow"
"""In which networks of Keras are explained, whatever they were trained with."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained.

    Attributes:
        trained: The cell.
        images: `test:N` and paths of PNG or JPEG files; empty for a few test images.
        class_name: The class to explain; None for the one that the network says.
        data_directory: The prepared dataset of the cell; None when it is not in the cache.
        data_fingerprint: That of the data that the cell was tested on; None when nobody knows.
        allow_plugins: Whether a plug-in may make the network that the trust file does not name.
    """

    trained: Trained
    images: Sequence[str]
    class_name: str | None
    data_directory: Path | None
    data_fingerprint: str | None
    allow_plugins: bool = False


def explain(question: Question, result: Path) -> list[dict[str, Any]]:
    """Computes Grad-CAM maps into the file `result` (.npz, see `training/programs/explain.py`) and tells of each image.

    Raises:
        UserError: An image, the dataset or the weights are missing or damaged, or the network cannot be explained.
        BenchError: The process ended without an answer.

    Side effects: starts a process, and ends it when it is interrupted.
    """
    check_images([Path(name) for name in question.images if not name.startswith(TEST)])
    trained = question.trained
    request = {
        "cell": trained.cell.to_dict(),
        "weights": str(trained.weights.absolute()),
        "sha256": trained.sha256,
        "images": [name if name.startswith(TEST) else str(Path(name).absolute()) for name in question.images],
        "class_name": question.class_name,
        "data_directory": question.data_directory and str(question.data_directory.absolute()),
        "data_fingerprint": question.data_fingerprint,
        "result": str(result.absolute()),
        "allow_plugins": question.allow_plugins,
    }
    return ask(COMMAND, request, _backend_for(trained.cell), threads=1)


def _backend_for(cell: Cell) -> str:
    """The backend to explain a cell in: maps of Keras's networks are compared best where all come from one."""
    usual = cell.architecture.framework == KERAS and BACKENDS[USUAL_BACKEND].is_installed
    return USUAL_BACKEND if usual else cell.backend
