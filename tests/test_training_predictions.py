from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import StorageError
from benchmark.prediction_metrics import log_loss as loss
from benchmark.reporting.predictions.stored_predictions import average_scores, decode, share_test_set
from benchmark.results.records import PredictionRow
from benchmark.training.artifacts.prediction_file import pack_predictions
from benchmark.training.evaluation import compute_scores


def row_of(content: bytes, classes: int) -> PredictionRow:
    return PredictionRow(0, tuple(map(str, range(classes))), sha256(content).hexdigest(), content)


def softmax(rows: np.ndarray) -> np.ndarray:
    powers = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([2, 10, 300]), st.booleans())
def test_what_is_written_is_read_and_counts_to_the_same_accuracy(seed, n, classes, averaged):
    random = np.random.default_rng(seed)
    indices, labels = random.permutation(n), random.integers(0, classes, n)
    probabilities, views = softmax(random.normal(size=(n, classes))), softmax(random.normal(size=(n, classes)))
    found = decode(row_of(pack_predictions(indices, labels, probabilities, views if averaged else None), classes))
    assert np.array_equal(found.indices, indices)
    assert np.array_equal(found.labels, labels)
    assert np.array_equal(found.predicted, probabilities.argmax(axis=-1))
    assert np.allclose(found.probabilities, probabilities, rtol=1e-3, atol=1e-7)
    assert (found.predicted == found.labels).mean() == compute_scores(probabilities, labels).accuracy
    assert loss(found.probabilities, labels) == pytest.approx(
        compute_scores(probabilities, labels).loss, rel=1e-2, abs=1e-3
    )
    assert (found.tta_predicted is not None) == averaged
    if averaged:
        assert np.array_equal(found.tta_predicted, views.argmax(axis=-1))


def test_the_predicted_class_does_not_suffer_from_rounding():
    close = np.array([[0.49999, 0.50001]], dtype=np.float32)
    found = decode(row_of(pack_predictions(np.array([0]), np.array([1]), close), 2))
    assert found.probabilities.argmax() == 0
    assert found.predicted.tolist() == [1]


def test_not_a_number_stays_not_a_number():
    found = decode(row_of(pack_predictions(np.array([0]), np.array([1]), np.full((1, 2), np.nan, np.float32)), 2))
    assert np.isnan(found.probabilities).all()


def test_the_same_predictions_are_the_same_bytes_and_few_of_them():
    random = np.random.default_rng(0)
    probabilities = softmax(random.normal(size=(10_000, 10)) * 8)
    labels = random.integers(0, 10, 10_000)
    content = pack_predictions(np.arange(10_000), labels, probabilities)
    assert content == pack_predictions(np.arange(10_000), labels, probabilities)
    assert len(content) < 240_000


def test_damaged_content_is_refused():
    row = row_of(pack_predictions(np.array([0]), np.array([0]), np.ones((1, 1), np.float32)), 1)
    with pytest.raises(StorageError, match="bench db check"):
        decode(PredictionRow(row.examples, row.class_names, row.sha256, row.content[:-1] + b"x"))


def test_mistakes_come_with_the_most_confident_first():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], dtype=np.float32)
    found = decode(row_of(pack_predictions(np.arange(3), np.array([0, 0, 0]), probabilities), 2))
    assert found.wrong.tolist() == [2, 1]
    assert np.allclose(found.confidence, [0.9, 0.6, 0.8], atol=1e-3)


def test_averages_are_of_the_same_images_only():
    one, two = (np.array(rows, dtype=np.float32) for rows in ([[0.9, 0.1], [0.6, 0.4]], [[0.3, 0.7], [0.1, 0.9]]))
    labels = np.array([0, 1])
    members = [decode(row_of(pack_predictions(np.arange(2), labels, rows), 2)) for rows in (one, two)]
    assert share_test_set(members)
    right, entropy = average_scores([each.probabilities for each in members], labels)
    assert right == 1.0
    assert entropy == pytest.approx(-np.log([0.6, 0.65]).mean(), abs=1e-3)
    other = decode(row_of(pack_predictions(np.arange(1, 3), labels, one), 2))
    assert not share_test_set([members[0], other])
