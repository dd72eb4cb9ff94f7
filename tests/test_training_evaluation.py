from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.prediction_metrics import cross_entropies
from benchmark.training.data.dataset import ExampleSet
from benchmark.training.data.splits import Split
from benchmark.training.evaluation import evaluate


class Fixed:
    """Predicts for image i the row that pixel i says."""

    def __init__(self, rows):
        self.rows = np.array(rows, dtype=np.float32)

    def predict(self, images):
        return self.rows[images[:, 0, 0, 0]]


def test_scores_are_means_over_examples_whatever_the_batches():
    rows = [[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]]
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    examples = ExampleSet(images, Split(np.array([0, 1, 2]), np.array([0, 0, 1], dtype=np.int32)))
    beats = []
    for batch_size in (1, 2, 3):
        scores = evaluate(Fixed(rows), examples, batch_size, lambda: beats.append(1))
        assert scores.accuracy == pytest.approx(1 / 3)
        assert scores.loss == pytest.approx(-(math.log(0.7) + math.log(0.4) + math.log(0.1)) / 3)
    assert len(beats) == 3 + 2 + 1


def test_certainty_is_clipped_and_nan_stays():
    probabilities = np.array([[0, 1], [np.nan, np.nan]], dtype=np.float32)
    wrong, unknown = cross_entropies(probabilities, np.array([0, 0]))
    assert wrong == pytest.approx(-math.log(1e-7))
    assert np.isnan(unknown)
