"""Of many images and classes the best probabilities are stored, and what depends on all is computed before they are dropped."""

from __future__ import annotations

import io
from hashlib import sha256

import numpy as np
import pytest
from reporting_samples import row

from benchmark.prediction_metrics import log_loss, prediction_metrics
from benchmark.reporting.predictions.answers import read_answers
from benchmark.reporting.predictions.best_probabilities import BestProbabilities
from benchmark.reporting.predictions.stored_predictions import average_scores, decode
from benchmark.reporting.report import build_report
from benchmark.reporting.rows.grouping import group_cells
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.results.records import PredictionRow
from benchmark.results.write.encoded_outcomes import CONFIDENCES, encoded_outcomes
from benchmark.results.write.stored_metrics import metric_columns
from benchmark.training.artifacts.prediction_file import WHOLE_BYTES, pack_predictions

CLASSES = 256
IMAGES = WHOLE_BYTES // 2 // CLASSES + 1
"""One image more than all probabilities are kept of."""


def answers(seed, images=IMAGES):
    generator = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, CLASSES, images)
    scores = generator.normal(size=(images, CLASSES)).astype(np.float32)
    scores[np.arange(images), labels] += 3
    powers = np.exp(scores)
    return labels, powers / powers.sum(axis=1, keepdims=True)


def stored(seed, *, views=False):
    labels, probabilities = answers(seed)
    averaged = answers(seed + 100)[1] if views else None
    content = pack_predictions(np.arange(len(labels)), labels, probabilities, averaged)
    return PredictionRow(len(labels), tuple(map(str, range(CLASSES))), sha256(content).hexdigest(), content)


@pytest.fixture(scope="module")
def rows():
    return {seed: stored(seed) for seed in (1, 2)}


def test_all_are_kept_up_to_four_mebibytes():
    labels, probabilities = answers(1, IMAGES - 1)
    with np.load(io.BytesIO(pack_predictions(np.arange(len(labels)), labels, probabilities))) as archive:
        assert archive["probabilities"].shape == (IMAGES - 1, CLASSES)


@pytest.mark.parametrize("views", [False, True])
def test_as_many_of_the_best_are_kept_as_fit_into_four_megabytes(views):
    with np.load(io.BytesIO(stored(1, views=views).content)) as archive:
        arrays = dict(archive)
    size = sum(array.nbytes for array in arrays.values())
    assert "probabilities" not in arrays
    assert 3_900_000 < size < 4_000_000
    for prefix, seed in {"": 1, "tta_": 101}.items() if views else {"": 1}.items():
        labels, probabilities = answers(seed)
        best = arrays[f"{prefix}best_classes"]
        assert np.array_equal(best, np.argsort(-probabilities, axis=1, kind="stable")[:, : best.shape[1]])
        assert np.array_equal(best[:, 0], arrays[f"{prefix}predicted"])
        expected = np.take_along_axis(probabilities, best.astype(int), axis=1).astype(np.float16)
        assert np.array_equal(arrays[f"{prefix}best_probabilities"], expected)
        assert np.array_equal(arrays[f"{prefix}label_probabilities"], probabilities[np.arange(IMAGES), labels])


def test_more_images_leave_fewer_classes_and_never_none():
    probabilities = np.full((70_000, 100), 0.01, np.float32)
    content = pack_predictions(np.arange(70_000), np.zeros(70_000, int), probabilities)
    with np.load(io.BytesIO(content)) as archive:
        assert archive["best_classes"].shape == (70_000, 15)
        assert (archive["best_classes"][:, 0] == 0).all()


def test_metrics_are_of_the_exact_probabilities(rows):
    labels, probabilities = answers(1)
    exact = prediction_metrics(labels, probabilities.argmax(axis=1), probabilities)
    assert metric_columns(rows[1].content) == {f"test_{name}": value for name, value in exact.items()}
    assert decode(rows[1]).probabilities.metrics == exact


def test_a_metric_that_is_not_defined_stays_so():
    labels, probabilities = answers(1)
    content = pack_predictions(np.arange(IMAGES), np.zeros_like(labels), probabilities)
    assert metric_columns(content)["test_auroc"] is None


def test_what_was_dropped_is_shared_out_and_the_rest_is_as_it_was(rows):
    labels, probabilities = answers(1)
    found = decode(rows[1])
    filled = found.probabilities[:]
    assert isinstance(found.probabilities, BestProbabilities)
    assert filled.shape == found.probabilities.shape == probabilities.shape
    assert np.allclose(filled.sum(axis=1), 1, atol=2e-3)
    assert (filled.argmax(axis=1) == probabilities.argmax(axis=1)).mean() > 0.999
    assert np.array_equal(filled[np.arange(IMAGES), labels], probabilities[np.arange(IMAGES), labels])
    assert log_loss(filled, labels) == log_loss(probabilities, labels)
    assert np.abs(filled - probabilities).max() < 0.01
    assert np.allclose(found.confidence, probabilities.max(axis=1), atol=1e-3)


def test_probabilities_that_do_not_sum_to_one_are_divided_where_that_is_asked_for():
    labels, probabilities = answers(1)
    sigmoids = probabilities / probabilities.max(axis=1, keepdims=True) * 0.8
    content = pack_predictions(np.arange(IMAGES), labels, sigmoids)
    found = decode(PredictionRow(IMAGES, tuple(map(str, range(CLASSES))), sha256(content).hexdigest(), content))
    stored = found.probabilities
    assert stored.metrics == prediction_metrics(labels, sigmoids.argmax(axis=1), sigmoids)
    assert np.allclose(stored[:].sum(axis=1), sigmoids.sum(axis=1), rtol=2e-3)
    assert np.abs(stored.divided()[:] - probabilities).max() < 0.01
    best = -np.sort(-probabilities, axis=1)[:, : stored.best.shape[1]]
    assert np.allclose(stored.divided().values, best, rtol=2e-3)


def test_the_view_reads_the_answer_and_its_confidence(rows):
    labels, probabilities = answers(1)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1).astype(np.float16)
    parts = np.rint(confidence.astype(float) * (CONFIDENCES - 1)).astype(int)
    expected = ((labels * CLASSES + predicted) * CONFIDENCES + parts).tolist()
    assert encoded_outcomes(rows[1].content, CLASSES) == str(expected).replace(" ", "")


def test_ensembles_calibration_and_doubts_say_what_they_go_by(rows):
    labels, first = answers(1)
    mean = (first + answers(2)[1]) / 2
    members = {seed: decode(each) for seed, each in rows.items()}
    scores = average_scores([each.probabilities for each in members.values()], labels)
    assert scores == pytest.approx(((mean.argmax(axis=1) == labels).mean(), log_loss(mean, labels)), abs=2e-4)

    load = lambda ids: {number: members[number] for number in ids if number in members}  # noqa: E731
    results = [{**row(seed=seed), "execution_id": seed} for seed in members]
    options = ReportOptions(tables=("summary", "calibration"), ensembles=True)
    summary, calibration, *_ = build_report(results, (), None, options, predictions=load).tables
    brier = np.mean([each.probabilities.metrics["brier"] for each in members.values()])
    assert calibration.rows[0].cells["brier"].mean == pytest.approx(brier)
    notes = [*summary.notes, *calibration.notes, *read_answers(group_cells(results, ()), load, "test").notes]
    said = "Of each image the best 118 of 256 probabilities are stored, and that of its label; "
    assert sum(note.startswith(said) for note in notes) == 3
