"""Calibration from stored predictions: planted errors are recovered, by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from reporting_samples import row

from benchmark.prediction_metrics import BINS, brier_score, calibration_error, reliability
from benchmark.reporting.predictions.stored_predictions import Predictions
from benchmark.reporting.report import build_report
from benchmark.reporting.tables.shown import ReportOptions


def planted(gap, images=20_000, classes=4, seed=0):
    """Predictions whose confidence is too high by `gap`."""
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.5, 0.95, images)
    labels = generator.integers(0, classes, images)
    right = generator.random(images) < confidence - gap
    predicted = np.where(right, labels, (labels + 1) % classes)
    probabilities = np.repeat(((1 - confidence) / (classes - 1))[:, None], classes, axis=1)
    probabilities[np.arange(images), predicted] = confidence
    return Predictions(np.arange(images), labels, predicted, probabilities.astype(np.float32), tuple("abcd"))


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.3])
def test_a_planted_miscalibration_is_recovered(gap):
    member = planted(gap)
    error = calibration_error(reliability(member.confidence, member.predicted == member.labels))
    assert error == pytest.approx(gap, abs=0.015)


def test_the_bins_are_fifteen_of_equal_width_and_hold_every_image():
    bins = reliability(np.array([0.0, 1 / BINS, 0.5, 1.0]), np.array([True, False, True, True]))
    assert len(bins) == BINS
    assert [each.images for each in bins if each.images] == [2, 1, 1]
    assert (bins[0].low, bins[-1].high) == (0, 1)
    assert (bins[0].accuracy, bins[1].accuracy) == (0.5, None)


def test_the_brier_score_is_summed_over_the_classes():
    assert brier_score(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])) == 1.0
    assert brier_score(np.array([[0.5, 0.25, 0.25]]), np.array([0])) == pytest.approx(0.375)


def test_the_table_has_means_over_seeds_and_the_bins_of_each_group():
    rows = [{**row(seed=seed), "execution_id": seed + 1} for seed in range(3)]
    members = {number: planted(0.2, images=2000, seed=number) for number in (1, 2, 3)}
    report = build_report(
        rows, (), None, ReportOptions(tables=("calibration",)),
        predictions=lambda ids: {number: members[number] for number in ids},
    )  # fmt: skip
    scores, bins = report.tables
    assert scores.rows[0].cells["ece"].n == 3
    assert scores.rows[0].cells["ece"].mean == pytest.approx(0.2, abs=0.03)
    assert scores.rows[0].cells["overconfidence"].mean == pytest.approx(0.2, abs=0.03)
    assert 0 < scores.rows[0].cells["brier"].mean < 2
    assert (bins.name, len(bins.rows)) == ("calibration", BINS)
    assert sum(each.cells["images"] for each in bins.rows) == 6000


def test_results_without_predictions_are_counted():
    report = build_report([row()], (), None, ReportOptions(tables=("calibration",)))
    assert report.tables == ()
    assert any("have no test predictions" in note for note in report.notes)
