"""What the last word of a program comes to: its answers as arrays, checked against the dataset and scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.matrix.cell import Cell
from benchmark.training.data.dataset import Dataset
from benchmark.training.evaluation import Scores, compute_scores
from benchmark.training.losses import example_losses
from benchmark.training.scripts.script_answers import read_probabilities
from benchmark.training.scripts.script_lines import FinishLine, ScriptProtocolError

ACCURACY_TOLERANCE = 1e-3
"""How far the test accuracy that a program counts may be from the one that follows from its probabilities."""

_KEYS = {"test": "probabilities", "validation": "validation_probabilities", "lockbox": "lockbox_probabilities"}


@dataclass(frozen=True, slots=True)
class ScriptResults:
    """What a program has come to.

    Attributes:
        answers: Probabilities [n, classes] by the name of a split, those of `test` always.
        scores: Of the test images.
        best_epoch: Whose model has answered; None without epochs.
    """

    answers: Mapping[str, NDArray[np.float32]]
    scores: Scores
    best_epoch: int | None


def results_of(finish: FinishLine, epochs: int, cell: Cell, dataset: Dataset, folder: Path) -> ScriptResults:
    """Reads, checks and scores what a program has answered after so many epochs.

    Args:
        finish: Its last word.
        epochs: How many it has reported.
        cell: Whose it is.
        dataset: With the images that it has answered for.
        folder: Where relative paths of its files start.

    Raises:
        ScriptProtocolError: Its answers are none, or do not agree with what it says of them.
    """
    if finish.best_epoch is not None and not 1 <= finish.best_epoch <= epochs:
        raise ScriptProtocolError(
            f"finish: best_epoch: expected an epoch from 1 to {epochs}, found {finish.best_epoch}"
        )
    answers: dict[str, NDArray[np.float32]] = {}
    for split, key in _KEYS.items():
        given, examples = getattr(finish, key), getattr(dataset, split)
        if given is not None:
            shape = (len(examples), cell.data.num_classes)
            answers[split] = read_probabilities(given, folder, key, shape, multi_label=cell.data.multi_label)
    scores = compute_scores(answers["test"], dataset.test.split.labels, example_losses(cell.stages[-1]))
    if finish.test_accuracy is not None and abs(finish.test_accuracy - scores.accuracy) > ACCURACY_TOLERANCE:
        raise ScriptProtocolError(
            f"finish: test_accuracy = {finish.test_accuracy:.4f} was reported, but {scores.accuracy:.4f} follows from its "
            "probabilities: are they in the order of the test images? Where a model predicts by other numbers than its probabilities, as "
            "scikit-learn's SVC does, leave test_accuracy out"
        )
    return ScriptResults(answers, scores, finish.best_epoch or epochs or None)
